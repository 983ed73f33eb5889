import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { bundleProgram, removeBundles } from '../support/bundle.ts'
import { temporaryFolder } from '../support/stores.ts'
import { crashStores } from './crash-lanes.ts'
import { newTally } from './crash-store.ts'
import { writeImportFiles } from './import-files.ts'

const KILLS = 100
const ROUNDS = 10
/** Stores that are killed at the same time: a killed process leaves its core to others. */
const AT_ONCE = 3

afterAll(removeBundles)

it(`survives ${KILLS} kills with all that was acknowledged, and nothing by halves`, {
  timeout: 600_000,
}, async () => {
  const folder = await temporaryFolder()
  const program = await bundleProgram(new URL('./writer.ts', import.meta.url))
  const files = await writeImportFiles(join(folder, 'files'))
  const tally = newTally()
  await crashStores(
    { kills: KILLS, firstSeed: 1, rounds: ROUNDS, atOnce: AT_ONCE, folder, program, files },
    tally,
  )
  expect(tally.kills).toBeGreaterThanOrEqual(KILLS)
  // They landed in calls of many kinds, and left work to do for whoever came next.
  expect(tally.doing.size).toBeGreaterThan(10)
  expect(tally.happened).toBeGreaterThan(0)
  expect(tally.vanished).toBeGreaterThan(0)
  expect(tally.traces.size).toBeGreaterThan(2)
})
