import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { lmdb } from '../../src/engine/lmdb.ts'
import { checkSequences } from '../support/persistence-model.ts'

const SEQUENCES = 1000

it(`agrees with a list of deep copies in ${SEQUENCES} random sequences, on lmdb`, {
  timeout: 300_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'varve-model-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  let places = 0
  const newPlace = () => {
    const path = join(folder, String(places++))
    return () => lmdb(path)
  }
  // Low limits make many commits, which take their time here; on memory they are low in most sequences.
  const options = { sequences: SEQUENCES, maxLength: 20, lowLimits: 40, smallPages: 0 }
  await expect(checkSequences(newPlace, options)).resolves.toBeUndefined()
})
