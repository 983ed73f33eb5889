// @ts-check
/**
 * What encryption costs: reads and writes of an encrypted store, beside the same to one that is not.
 *
 *     node encryption.js [--quick] [--rounds 10] [--keys 5000] [--awaited 1000]
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { createPersistence } from 'varve'
import { entriesOf, keyOf, recordOf } from './lib/filled-store.js'
import { count, ratio } from './lib/format.js'
import { interleave } from './lib/interleave.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { untilQuiet } from './lib/quiet.js'
import { heading, table } from './lib/report.js'
import { median } from './lib/statistics.js'
import { withTempFolder } from './lib/temp.js'

const WARM_UP = 1

const { numbers } = readOptions({
  rounds: { full: 10, quick: 3 },
  keys: { full: 5_000, quick: 2_000 },
  awaited: { full: 1_000, quick: 300 },
})

/** @typedef {import('./lib/filled-store.js').Store} Store */
/** @typedef {Record<string, number>} Times microseconds a call, by what was called */

const indices = Array.from({ length: numbers.keys }, (_, i) => i)

const { measured, bytes } = await withTempFolder(async folder => {
  const encryptionKey = randomBytes(32)
  const stores = {
    plain: await createPersistence({ basePath: join(folder, 'plain') }),
    values: await createPersistence({ basePath: join(folder, 'values'), encryptionKey }),
    keys: await createPersistence({ basePath: join(folder, 'keys'), encryptionKey, encryptKeys: true }),
  }
  for (const store of Object.values(stores)) await store.setMany(entriesOf(indices, 0))
  const measured = await interleave({
    rounds: numbers.rounds,
    warmUp: WARM_UP,
    sides: {
      plain: roundOf(stores.plain),
      values: roundOf(stores.values),
      keys: roundOf(stores.keys),
    },
    onRound: progress('rounds', WARM_UP + numbers.rounds),
  })
  /** @type {Record<string, number>} */
  const bytes = {}
  for (const [name, store] of Object.entries(stores)) {
    bytes[name] = (await store.compact()).bytesAfter
    await store.close()
  }
  return { measured, bytes }
})

heading(
  'Encryption',
  `A store of ${count(numbers.keys)} keys with records of about 120 bytes, on LMDB: microseconds a call, the median of ${numbers.rounds} rounds in which the stores take turns, and how many times that is what it takes without encryption.`,
)
const rows = Object.keys(/** @type {Times} */ (measured.plain[0]))
table(
  ['call', 'plain', 'values encrypted', '', 'keys too', ''],
  [
    ...rows.map(what => {
      const [plain, values, keys] = [measured.plain, measured.values, measured.keys].map(side =>
        median(side.map(times => /** @type {number} */ (times[what]))),
      )
      return row(what, Number(plain), Number(values), Number(keys), 1)
    }),
    row(
      'bytes a key, compacted',
      Number(bytes['plain']) / numbers.keys,
      Number(bytes['values']) / numbers.keys,
      Number(bytes['keys']) / numbers.keys,
      0,
    ),
  ],
)

/**
 * @param {string} what
 * @param {number} plain
 * @param {number} values
 * @param {number} keys
 * @param {number} digits
 */
function row(what, plain, values, keys, digits) {
  return [
    what,
    plain.toFixed(digits),
    values.toFixed(digits),
    ratio(values / plain),
    keys.toFixed(digits),
    ratio(keys / plain),
  ]
}

/**
 * @param {Store} store
 * @returns {(round: number) => Promise<Times>}
 */
function roundOf(store) {
  return async round => {
    /** @type {Times} */
    const times = {}
    /**
     * @param {string} what
     * @param {number} calls
     * @param {() => Promise<unknown>} run
     */
    const time = async (what, calls, run) => {
      const start = performance.now()
      await run()
      times[what] = ((performance.now() - start) * 1000) / calls
    }
    await time('get, awaited', numbers.keys, async () => {
      for (const i of indices) await store.get(keyOf(i))
    })
    await time('getMany of 100', numbers.keys, async () => {
      for (let i = 0; i < numbers.keys; i += 100) await store.getMany(indices.slice(i, i + 100).map(keyOf))
    })
    await time('set, awaited', numbers.awaited, async () => {
      for (let i = 0; i < numbers.awaited; i++) await store.set(keyOf(i), recordOf(i, round + 1))
    })
    await time('set, queued together', numbers.keys, async () => {
      await Promise.all(indices.map(i => store.set(keyOf(i), recordOf(i, round + 100))))
    })
    await store.createSnapshot()
    await time('overwrite after a snapshot, queued', numbers.keys, async () => {
      await Promise.all(indices.map(i => store.set(keyOf(i), recordOf(i, round + 200))))
    })
    await time('entries(), all', numbers.keys, async () => {
      for await (const _ of store.entries()) void _
    })
    await time('keys({ limit: 10 }), a call', 1, async () => {
      for await (const _ of store.keys({ limit: 10 })) void _
    })
    await untilQuiet()
    return times
  }
}
