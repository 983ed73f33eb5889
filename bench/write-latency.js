// @ts-check
/**
 * What a write waits for while packing runs in the background, beside the same writes to a store that does not pack.
 *
 *     node write-latency.js [--quick] [--rounds 10] [--writes 2000] [--keys 500]
 */
import { join } from 'node:path'
import { createPersistence } from 'varve'
import { entriesOf, keyOf, recordOf } from './lib/filled-store.js'
import { count, milliseconds, ratio } from './lib/format.js'
import { interleave } from './lib/interleave.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { untilQuiet } from './lib/quiet.js'
import { goals, heading, table } from './lib/report.js'
import { median, quantile } from './lib/statistics.js'
import { withTempFolder } from './lib/temp.js'

const MAX_RATIO = 2
const WARM_UP = 1
/** So many versions of a key are packed without being asked for. */
const SNAPSHOTS = 40

const { numbers } = readOptions({
  rounds: { full: 10, quick: 3 },
  writes: { full: 2_000, quick: 500 },
  keys: { full: 500, quick: 200 },
})

const samples = await withTempFolder(async folder => {
  const packing = await createPersistence({ basePath: join(folder, 'packing') })
  const none = await createPersistence({ basePath: join(folder, 'none'), delta: 'none' })
  const measured = await interleave({
    rounds: numbers.rounds,
    warmUp: WARM_UP,
    sides: { packing: roundOf(packing), none: roundOf(none) },
    onRound: progress('rounds', WARM_UP + numbers.rounds),
  })
  await packing.close()
  await none.close()
  return measured
})

const sides = { packing: together(samples.packing), none: together(samples.none) }
heading(
  'Writes beside packing',
  `Each of ${numbers.rounds} rounds changes ${count(numbers.keys)} keys before each of ${SNAPSHOTS} snapshots, by which packing becomes due, and then awaits ${count(numbers.writes)} calls of set(), one after the other. The stores take turns; each is left alone until it has nothing to do before the other has its turn. With packing, ${count(sides.packing.packed)} versions were packed during the writes; without, ${count(sides.none.packed)}.`,
)
table(
  ['set()', 'p50', 'p99', 'p99.9'],
  Object.entries(sides).map(([name, { times }]) => [
    name === 'none' ? 'packing off' : 'packing on',
    milliseconds(median(times)),
    milliseconds(quantile(times, 0.99)),
    milliseconds(quantile(times, 0.999)),
  ]),
)
const cost = quantile(sides.packing.times, 0.99) / quantile(sides.none.times, 0.99)
goals([
  {
    what: 'p99 of set() while packing runs, against packing off',
    goal: `≤ ${ratio(MAX_RATIO)}`,
    figure: ratio(cost),
    met: cost <= MAX_RATIO,
  },
])

/**
 * @param {import('./lib/filled-store.js').Store} store
 * @returns {(round: number) => Promise<{ times: number[], packed: number }>}
 */
function roundOf(store) {
  const changed = Array.from({ length: numbers.keys }, (_, i) => i)
  return async round => {
    for (let i = 0; i < SNAPSHOTS; i++) {
      await store.setMany(entriesOf(changed, round * SNAPSHOTS + i + 1))
      await store.createSnapshot()
    }
    const before = await packedVersions(store)
    /** @type {number[]} */
    const times = []
    for (let i = 0; i < numbers.writes; i++) {
      const key = keyOf(numbers.keys + (i % 1000))
      const value = recordOf(i, round + i)
      const start = performance.now()
      await store.set(key, value)
      times.push(performance.now() - start)
    }
    const packed = (await packedVersions(store)) - before
    await untilQuiet()
    return { times, packed }
  }
}

/** @param {import('./lib/filled-store.js').Store} store */
async function packedVersions(store) {
  const { packed } = (await store.getMetrics()).delta
  return Object.values(packed).reduce((sum, { versions }) => sum + versions, 0)
}

/** @param {readonly { times: readonly number[], packed: number }[]} rounds */
function together(rounds) {
  return {
    times: rounds.flatMap(({ times }) => times),
    packed: rounds.reduce((sum, { packed }) => sum + packed, 0),
  }
}
