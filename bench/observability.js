// @ts-check
/**
 * What counting calls costs, and asking whether anybody traces them, while nobody does: `get` and `set` of a store,
 * against the same work without it.
 *
 *     node observability.js [--quick] [--keys 10000] [--calls 5000] [--rounds 300]
 */
import { join } from 'node:path'
import { createPersistence } from 'varve'
import { lmdb } from 'varve/engine'
// What createPersistence() is made of: the package exports none of it.
import { encodeKey } from '../dist/core/key.js'
import { encodeValue } from '../dist/core/value-codec.js'
import { History } from '../dist/history/history.js'
import { toPayload } from '../dist/history/record.js'
// @ts-expect-error it is internal, and left out of the types
import { StateReader } from '../dist/snapshot/state-reader.js'
import { entriesOf, keyOf, recordOf } from './lib/filled-store.js'
import { count } from './lib/format.js'
import { interleave } from './lib/interleave.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { untilQuiet } from './lib/quiet.js'
import { goals, heading, table } from './lib/report.js'
import { median, middleHalf } from './lib/statistics.js'
import { withTempFolder } from './lib/temp.js'

/** At most so much of the throughput may be lost. */
const MAX_LOSS = 0.03
const WARM_UP = 20
/** Writes that are asked for together. */
const TOGETHER = 500

const { numbers } = readOptions({
  keys: { full: 10_000, quick: 10_000 },
  calls: { full: 5_000, quick: 5_000 },
  rounds: { full: 300, quick: 60 },
})

let edition = 0

/** @typedef {{ get: (key: string) => Promise<unknown>, set: (key: string, value: unknown) => Promise<unknown> }} Side */

const losses = await withTempFolder(async folder => {
  const path = join(folder, 'store')
  const store = await createPersistence({ basePath: path })
  const history = await History.open(lmdb(path))
  const reader = new StateReader(history, () => 'head')
  /** @type {Side} */
  const bare = {
    get: async key => reader.read(key),
    async set(key, value) {
      const bytes = encodeKey(key)
      const payload = toPayload(encodeValue(value), true)
      await history.mutate({ keys: [bytes], apply: draft => draft.set(bytes, payload) })
    },
  }
  await store.setMany(
    entriesOf(
      Array.from({ length: numbers.keys }, (_, i) => i),
      0,
    ),
  )
  await untilQuiet()
  const measured = {
    get: await compare('get', side => reads(side), store, bare),
    set: await compare('set', side => writes(side), store, bare),
  }
  await store.close()
  await history.close()
  return measured
})

heading(
  'get() and set() with metrics and channels, nobody listening',
  `Against the same work without them, on one LMDB store of ${count(numbers.keys)} keys, in turns: ${numbers.rounds} rounds ` +
    `of ${count(numbers.calls)} calls. Reads are awaited one by one, writes ${TOGETHER} at a time. Throughput is calls by ` +
    'second of processor time, which other programs of the machine disturb less.',
)
table(
  ['call', 'throughput lost, median of the pairs', 'middle half'],
  Object.entries(losses).map(([call, values]) => [
    call,
    percent(median(values)),
    middleHalf(values).map(percent).join(' – '),
  ]),
)
goals(
  Object.entries(losses).map(([call, values]) => ({
    what: `${call}(): throughput lost`,
    goal: `≤ ${percent(MAX_LOSS)}`,
    figure: percent(median(values)),
    met: median(values) <= MAX_LOSS,
  })),
)

/**
 * The share of the throughput that each pair of rounds lost.
 *
 * @param {string} name
 * @param {(side: Side) => Promise<void>} work
 * @param {Side} store
 * @param {Side} bare
 */
async function compare(name, work, store, bare) {
  /** @param {Side} side */
  const timed = side => async () => {
    const start = process.cpuUsage()
    await work(side)
    const { user, system } = process.cpuUsage(start)
    return user + system
  }
  const samples = await interleave({
    rounds: numbers.rounds,
    warmUp: WARM_UP,
    sides: { store: timed(store), bare: timed(bare) },
    onRound: progress(name, WARM_UP + numbers.rounds),
  })
  // Each pair ran one right after the other.
  return samples.store.map((time, i) => 1 - /** @type {number} */ (samples.bare[i]) / time)
}

/** @param {Side} side */
async function reads(side) {
  for (let i = 0; i < numbers.calls; i++) await side.get(keyOf(i % numbers.keys))
}

/** @param {Side} side */
async function writes(side) {
  edition++
  for (let start = 0; start < numbers.calls; start += TOGETHER) {
    const indices = Array.from({ length: TOGETHER }, (_, i) => (start + i) % numbers.keys)
    await Promise.all(indices.map(index => side.set(keyOf(index), recordOf(index, edition))))
  }
}

/** @param {number} share */
function percent(share) {
  return `${(share * 100).toFixed(1)} %`
}
