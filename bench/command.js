// @ts-check
/**
 * How soon the command `varve` answers: its start, against Node.js by itself and against git, and the first line of a
 * `diff` in a large store.
 *
 *     node command.js [--quick] [--keys 1000000] [--changes 1000] [--rounds 25]
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createPersistence } from 'varve'
import { keyOf, openFilled, recordOf } from './lib/filled-store.js'
import { count, millisecondRange, milliseconds, ratio } from './lib/format.js'
import { interleave } from './lib/interleave.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { untilQuiet } from './lib/quiet.js'
import { distinctIntegers, seededRandom } from './lib/random.js'
import { goals, heading, table } from './lib/report.js'
import { median, middleHalf } from './lib/statistics.js'
import { withTempFolder } from './lib/temp.js'

const MAX_START = 150
const MAX_FIRST_LINE = 50
const WARM_UP = 3

const { numbers } = readOptions({
  keys: { full: 1_000_000, quick: 100_000 },
  changes: { full: 1_000, quick: 1_000 },
  rounds: { full: 25, quick: 10 },
})

const COMMAND = fileURLToPath(new URL('../dist/command/main.js', import.meta.url))

const samples = await withTempFolder(async folder => {
  const small = join(folder, 'small')
  const large = join(folder, 'large')
  await fillSmall(small)
  await fillLarge(large)
  /** @param {string[]} args */
  const varve = (...args) => ran(process.execPath, [COMMAND, ...args])
  const programs = await interleave({
    rounds: numbers.rounds,
    warmUp: WARM_UP,
    sides: {
      'node -e 0': ran(process.execPath, ['-e', '0']),
      'git --version': ran('git', ['--version']),
      'varve --help': varve('--help'),
      'varve get': varve('get', 'user', '--store', small),
      'varve get, large store': varve('get', keyOf(0), '--store', large),
      'varve diff, first line': firstLine(['diff', 'v1', 'v2', '--store', large]),
    },
    onRound: progress('starts', WARM_UP + numbers.rounds),
  })
  const store = await createPersistence({ basePath: large })
  const inside = await interleave({
    rounds: numbers.rounds,
    warmUp: WARM_UP,
    sides: { first: () => firstDifference(store) },
  })
  await store.close()
  return { programs, inside: inside.first }
})

const { programs, inside } = samples
heading(
  'The command: from its start to its end, or to its first line',
  `In turns, ${numbers.rounds} times each. The large store has ${count(numbers.keys)} keys, and two snapshots ` +
    `${count(numbers.changes)} changes apart.`,
)
const bare = median(programs['node -e 0'])
table(
  ['program', 'median', 'middle half', 'against node -e 0', 'against git --version'],
  Object.entries(programs).map(([name, times]) => [
    name,
    milliseconds(median(times)),
    millisecondRange(middleHalf(times)),
    ratio(median(times) / bare),
    ratio(median(times) / median(programs['git --version'])),
  ]),
)
const added = median(programs['varve diff, first line']) - median(programs['varve get, large store'])
table(
  ['first difference', 'median'],
  [
    ['diff() in a store that is open', milliseconds(median(inside))],
    ['the command: its first line, less the time of a whole varve get', milliseconds(Math.max(0, added))],
  ],
)
goals([
  start('varve --help'),
  start('varve get'),
  {
    what: 'varve diff: first line, the store being open',
    goal: `≤ ${milliseconds(MAX_FIRST_LINE)}`,
    figure: milliseconds(median(inside)),
    met: median(inside) <= MAX_FIRST_LINE,
  },
])

/** @param {'varve --help' | 'varve get'} name */
function start(name) {
  const time = median(programs[name])
  return {
    what: name,
    goal: `≤ ${milliseconds(MAX_START)}`,
    figure: milliseconds(time),
    met: time <= MAX_START,
  }
}

/** @param {string} folder */
async function fillSmall(folder) {
  const store = await createPersistence({ basePath: folder })
  await store.set('user', { name: 'Ada' })
  await store.createSnapshot()
  await store.close()
}

/** @param {string} folder */
async function fillLarge(folder) {
  const store = await openFilled(folder, numbers.keys)
  const random = seededRandom(1)
  for (const index of distinctIntegers(random, numbers.changes, numbers.keys)) {
    await store.set(keyOf(index), recordOf(index, 1))
  }
  await store.createSnapshot()
  await untilQuiet()
  await store.close()
}

/**
 * Runs a program to its end.
 *
 * @param {string} program
 * @param {readonly string[]} args
 * @returns {() => Promise<number>} how long it took
 */
function ran(program, args) {
  return () =>
    new Promise((resolve, reject) => {
      const started = performance.now()
      const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] })
      child.on('error', reject)
      child.on('exit', code => {
        if (code === 0) resolve(performance.now() - started)
        else reject(new Error(`${program} ${args.join(' ')} ended with ${code}`))
      })
    })
}

/**
 * Runs the command, and reads it to its end.
 *
 * @param {readonly string[]} args
 * @returns {() => Promise<number>} how long it took to write anything
 */
function firstLine(args) {
  return () =>
    new Promise((resolve, reject) => {
      const started = performance.now()
      const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', 'pipe', 'ignore'] })
      let first = Number.NaN
      child.stdout.on('data', () => {
        if (Number.isNaN(first)) first = performance.now() - started
      })
      child.on('error', reject)
      child.on('close', () => resolve(first))
    })
}

/** @param {import('./lib/filled-store.js').Store} store */
async function firstDifference(store) {
  const started = performance.now()
  for await (const _ of store.diff('v1', 'v2')) break
  return performance.now() - started
}
