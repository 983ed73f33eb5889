// @ts-check
/**
 * What a cache in front of a store is worth: before an engine that is 1 ms away, and before the embedded one.
 *
 *     node store-reads.js [--quick] [--keys 1000000] [--reads 50000] [--rounds 20]
 *
 * Who reads one key after the other waits for each miss. So with a hit ratio of h, reads can be at most 1 / (1 - h) times as
 * many as without a cache, be it for one client or for several: the table says how close it comes.
 */
import { join } from 'node:path'
import { createPersistence, memory } from 'varve'
import { MemoryCache } from 'varve/cache'
import { count, ratio } from '../lib/format.js'
import { interleave } from '../lib/interleave.js'
import { readOptions } from '../lib/options.js'
import { goals, heading, table } from '../lib/report.js'
import { median } from '../lib/statistics.js'
import { withTempFolder } from '../lib/temp.js'
import { remote } from './lib/remote.js'
import { zipf } from './lib/traces.js'

const { numbers } = readOptions({
  keys: { full: 1_000_000, quick: 200_000 },
  reads: { full: 50_000, quick: 10_000 },
  rounds: { full: 20, quick: 8 },
})
const CLIENTS = 16
const keyOf = (/** @type {number} */ i) => `user/${i}`

/** Reads a second of clients, each of which waits for one read before the next. */
async function readsPerSecond(
  /** @type {import('varve').Persistence} */ store,
  /** @type {readonly string[]} */ order,
  /** @type {number} */ clients,
) {
  let next = 0
  const start = performance.now()
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (next < order.length) await store.get(order[next++] ?? '')
    }),
  )
  return (order.length / (performance.now() - start)) * 1000
}

/**
 * @param {number} valueBytes
 * @param {number} keys
 * @param {number} reads
 * @param {number} clients
 */
async function behindNetwork(valueBytes, keys, reads, clients) {
  const engine = memory()
  await engine.open()
  const writer = await createPersistence({ engine, compression: false })
  const value = { data: 'x'.repeat(valueBytes) }
  for (let at = 0; at < keys; at += 500) {
    await writer.setMany(
      Array.from(
        { length: Math.min(500, keys - at) },
        (_, i) => /** @type {const} */ ([keyOf(at + i), value]),
      ),
    )
  }
  // The background work of loading is not to be measured.
  await writer.compact()
  await writer.close()
  const order = zipf(keys, 1, 2 * keys + reads).map(keyOf)
  /** @type {Record<string, number>} */
  const results = {}
  for (const mode of /** @type {const} */ (['none', 'strong', 'bounded'])) {
    const network = { near: true, reads: 0, bytes: 0 }
    const store = await createPersistence({
      engine: remote(engine, network),
      cache: mode === 'none' ? 'none' : new MemoryCache({ maxEntries: keys / 10, policy: 'tinylfu' }),
      cacheMode: mode === 'none' ? 'strong' : mode,
    })
    if (mode !== 'none') await readsPerSecond(store, order.slice(reads), clients)
    const before = (await store.getMetrics()).cache
    Object.assign(network, { near: false, reads: 0, bytes: 0 })
    const perSecond = await readsPerSecond(store, order.slice(0, reads), clients)
    const { hits, misses } = (await store.getMetrics()).cache
    const hitRatio = (hits - before.hits) / Math.max(1, hits + misses - before.hits - before.misses)
    results[mode] = perSecond
    rows.push([
      `${bytes(valueBytes)}, ${clients === 1 ? '1 client' : `${clients} clients`}, ${mode}`,
      count(Math.round(perSecond)),
      ratio(perSecond / (results['none'] ?? perSecond)),
      mode === 'none' ? '' : ratio(1 / (1 - hitRatio)),
      (network.reads / reads).toFixed(2),
      bytes(network.bytes / reads),
      mode === 'none' ? '' : `${(100 * hitRatio).toFixed(1)}%`,
    ])
    await store.close()
  }
  await engine.close()
  return results
}

/** @type {string[][]} */
const rows = []
const alone = await behindNetwork(100, numbers.keys, Math.ceil(numbers.reads / 10), 1)
const together = await behindNetwork(100, numbers.keys, numbers.reads, CLIENTS)
await behindNetwork(10_000, 10_000, numbers.reads, CLIENTS)
await behindNetwork(1_000_000, 100, 1_000, CLIENTS)

heading(
  'Reads behind a network of 1 ms',
  `Zipf 1 over ten times as many keys as the cache holds entries, after a warm-up: ${count(numbers.keys)} keys of 100 B, 10,000 of 10 kB, 100 of 1 MB. The network carries 1 Gbit/s.`,
)
table(
  [
    'values, clients, mode',
    'reads a second',
    'against none',
    '1 / (1 - hit ratio)',
    'questions a read',
    'bytes a read',
    'hit ratio',
  ],
  rows,
)

/** @type {string[][]} */
const local = []
for (const [name, value] of /** @type {const} */ ([
  ['100 B', { data: 'x'.repeat(90) }],
  ['2 kB of JSON', Array.from({ length: 60 }, (_, i) => ({ id: i, name: `user number ${i}` }))],
  ['20 kB of JSON', Array.from({ length: 600 }, (_, i) => ({ id: i, name: `user number ${i}` }))],
])) {
  await withTempFolder(async folder => {
    const options = { basePath: join(folder, 'store') }
    const [none, cached] = [
      await createPersistence({ ...options, cache: 'none' }),
      await createPersistence(options),
    ]
    await none.setMany(Array.from({ length: 1_000 }, (_, i) => /** @type {const} */ ([keyOf(i), value])))
    const order = zipf(1_000, 1, 5_000).map(keyOf)
    const run = (/** @type {import('varve').Persistence} */ store) => async () => {
      const start = performance.now()
      for (const key of order) await store.get(key)
      return performance.now() - start
    }
    const times = await interleave({
      rounds: numbers.rounds,
      warmUp: 2,
      sides: { none: run(none), cached: run(cached) },
    })
    const perSecond = (/** @type {number[]} */ samples) => (order.length / median(samples)) * 1000
    local.push([
      name,
      count(Math.round(perSecond(times.none))),
      count(Math.round(perSecond(times.cached))),
      ratio(perSecond(times.cached) / perSecond(times.none)),
    ])
    await none.close()
    await cached.close()
  })
}
heading(
  'Reads of the embedded engine',
  'get() of the same LMDB store with `cache: none` and by default, in turns.',
)
table(['values', 'none', 'default', 'gain'], local)

goals(
  Object.entries({ 'one client': alone, [`${CLIENTS} clients`]: together }).map(([who, results]) => {
    const gain = (results['bounded'] ?? 0) / (results['none'] ?? 1)
    return {
      what: `reads in bounded mode against none, ${who}`,
      goal: '≥ 5.0×',
      figure: ratio(gain),
      met: gain >= 5,
    }
  }),
)

/** @param {number} value */
function bytes(value) {
  return value < 10_000 ? `${Math.round(value)} B` : `${Math.round(value / 1000)} kB`
}
