/** `npm run test:crash -- --kills 5000`: kills writers until there have been so many kills, and tells what was seen. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bundleProgram, removeBundles } from '../support/bundle.ts'
import { crashStores } from './crash-lanes.ts'
import { newTally } from './crash-store.ts'
import { writeImportFiles } from './import-files.ts'

const { values } = parseArgs({
  options: {
    /** Stop after so many kills. */
    kills: { type: 'string', default: '1000' },
    /** Of the first store; each further one has the next. */
    seed: { type: 'string', default: '1' },
    /** How often each store is killed, at least. */
    rounds: { type: 'string', default: '20' },
    /** Stop after so many minutes. */
    minutes: { type: 'string', default: '60' },
    /** How many stores are written to at a time. */
    'at-once': { type: 'string', default: '1' },
  },
})
const numbers = [values.kills, values.seed, values.rounds, values.minutes, values['at-once']].map(Number)
if (!numbers.every(number => number >= 0)) throw new TypeError('All options take numbers.')
const [kills, firstSeed, rounds, minutes, atOnce] = numbers as [number, number, number, number, number]

const folder = await mkdtemp(join(tmpdir(), 'varve-crash-'))
const tally = newTally()
const begun = performance.now()
const deadline = begun + minutes * 60_000
let seed = firstSeed
try {
  const program = await bundleProgram(new URL('./writer.ts', import.meta.url))
  const files = await writeImportFiles(join(folder, 'files'))
  const onStore = (passed: number): void => {
    seed = Math.max(seed, passed + 1)
    if ((passed - firstSeed) % 10 === 9) console.log(`seed ${passed}: ${tally.kills} kills, ${seconds()} s`)
  }
  seed = await crashStores(
    { kills, firstSeed, rounds, atOnce, deadline, folder, program, files, onStore },
    tally,
  )
  await rm(folder, { recursive: true })
} catch (error) {
  // The store that failed stays where it is.
  console.error(error)
  process.exitCode = 1
} finally {
  await removeBundles()
  report()
}

function seconds(): string {
  return ((performance.now() - begun) / 1000).toFixed(0)
}

function report(): void {
  const outcome = process.exitCode === 1 ? 'FAILED' : 'survived'
  console.log(
    `\n${outcome}: ${tally.kills} kills, seeds ${firstSeed} to ${seed - 1}, ${rounds} rounds each, ${tally.shared} rounds with two writers, ${seconds()} s`,
  )
  console.log(
    `${tally.calls} answers checked; of the calls killed, ${tally.happened} had happened and ${tally.vanished} had not`,
  )
  console.log(`to go on: npm run test:crash -- --seed ${seed} --rounds ${rounds}`)
  table('killed in', tally.doing)
  table('left behind, and seen to by the next', tally.traces)
}

function table(title: string, counts: ReadonlyMap<string, number>): void {
  console.log(`\n${title}:`)
  for (const [name, number] of [...counts].sort((a, b) => b[1] - a[1])) {
    console.log(`  ${String(number).padStart(6)}  ${name}`)
  }
}
