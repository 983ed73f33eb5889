import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import { engineConformance, lmdb, memory } from '../../src/engine/index.ts'

describe('memory', () => {
  engineConformance(test, () => memory())
})

describe('lmdb', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'varve-engines-'))
  afterAll(() => rm(folder, { recursive: true }))
  let count = 0
  engineConformance(test, () => lmdb(join(folder, `store.${count++}`)))
})
