import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, test } from 'vitest'
import { engineConformance } from '../../src/engine/index.ts'
import { encrypted, lmdb, memory } from '../../src/index.ts'
import { remoteEngine } from '../support/remote-engine.ts'

const key = randomBytes(32)

describe('memory, encrypted', () => {
  engineConformance(test, () => encrypted(memory(), { key }))
})

describe('an engine far away, encrypted', () => {
  engineConformance(test, () => encrypted(remoteEngine(memory()), { key }))
})

describe('lmdb, encrypted', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'varve-encrypted-'))
  afterAll(() => rm(folder, { recursive: true }))
  let count = 0
  engineConformance(test, () => encrypted(lmdb(join(folder, `store.${count++}`)), { key }))
})
