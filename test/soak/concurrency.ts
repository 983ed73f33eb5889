/** `npm run test:concurrency`: processes and worker threads on one store, whose calls are checked; tells what was seen. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bundleProgram, removeBundles } from '../support/bundle.ts'
import { type ConcurrencyTally, concurrentStore } from './concurrent-store.ts'
import { writeImportFiles } from './import-files.ts'
import { overlapCalls } from './overlapping-store.ts'

const { values } = parseArgs({
  options: {
    /** How many stores, one after the other. */
    stores: { type: 'string', default: '20' },
    /** Of the first store; each further one has the next. */
    seed: { type: 'string', default: '1' },
    /** How many histories of each kind are made on each. */
    rounds: { type: 'string', default: '10' },
    /** How many times as long as in the quick test the histories of single keys and of transactions are. */
    length: { type: 'string', default: '4' },
    /** Stop after so many minutes. */
    minutes: { type: 'string', default: '60' },
  },
})
const numbers = [values.stores, values.seed, values.rounds, values.length, values.minutes].map(Number)
if (!numbers.every(number => number >= 0)) throw new TypeError('All options take numbers.')
const [stores, firstSeed, rounds, length, minutes] = numbers as [number, number, number, number, number]

/** So many stores in this process, on an engine that takes its time, for each in several processes. */
const OVERLAPPING = 20

const folder = await mkdtemp(join(tmpdir(), 'varve-concurrency-'))
const begun = performance.now()
const tally: ConcurrencyTally = { storeCalls: 0, keyCalls: 0, transactions: 0, sums: 0 }
let seed = firstSeed
try {
  const program = await bundleProgram(new URL('./client.ts', import.meta.url))
  const files = await writeImportFiles(join(folder, 'files'))
  for (; seed < firstSeed + stores && performance.now() - begun < minutes * 60_000; seed++) {
    for (let i = 0; i < OVERLAPPING; i++) {
      tally.storeCalls += await overlapCalls({ seed: seed * OVERLAPPING + i, rounds, files })
    }
    await concurrentStore({ seed, rounds, length, folder: join(folder, String(seed)), program, files }, tally)
  }
  await rm(folder, { recursive: true })
} finally {
  await removeBundles()
  const seconds = ((performance.now() - begun) / 1000).toFixed(0)
  console.log(
    `checked until seed ${seed} (not included), from ${firstSeed}: ${tally.storeCalls} calls of whole stores, ` +
      `${tally.keyCalls} of single keys, ${tally.transactions} transactions on lists, ${tally.sums} sums of accounts, ${seconds} s`,
  )
}
