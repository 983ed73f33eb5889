// @ts-check
/**
 * Speed of hits and memory an entry of MemoryCache against lru-cache's own, and reads of a TieredCache from disk.
 *
 *     node --expose-gc throughput.js [--quick] [--entries 100000] [--rounds 30]
 */
import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { MemoryCache, TieredCache } from 'varve/cache'
import { count, ratio } from '../lib/format.js'
import { interleave } from '../lib/interleave.js'
import { readOptions } from '../lib/options.js'
import { goals, heading, table } from '../lib/report.js'
import { median } from '../lib/statistics.js'
import { withTempFolder } from '../lib/temp.js'
import { zipf } from './lib/traces.js'

const { numbers } = readOptions({
  entries: { full: 100_000, quick: 10_000 },
  rounds: { full: 30, quick: 8 },
})
const size = numbers.entries
const keys = Array.from({ length: size }, (_, i) => `user/${i}`)
const order = zipf(size, 1, 500_000).map(rank => keys[rank] ?? '')

/** @type {Record<string, () => { get(key: string): unknown, set(key: string, value: object): unknown }>} */
const makers = {
  'lru-cache': () => new LRUCache({ max: size }),
  lru: () => new MemoryCache({ maxEntries: size }),
  tinylfu: () => new MemoryCache({ maxEntries: size, policy: 'tinylfu' }),
  lfu: () => new MemoryCache({ maxEntries: size, policy: 'lfu' }),
  fifo: () => new MemoryCache({ maxEntries: size, policy: 'fifo' }),
}
const names = Object.keys(makers)

let sink = 0
const times = await interleave({
  rounds: numbers.rounds,
  warmUp: 3,
  sides: Object.fromEntries(
    names.map(name => {
      const cache = /** @type {ReturnType<NonNullable<typeof makers[string]>>} */ (makers[name]?.())
      for (const key of keys) cache.set(key, { key })
      return [
        name,
        async () => {
          const start = performance.now()
          for (const key of order) if (cache.get(key) !== undefined) sink++
          return performance.now() - start
        },
      ]
    }),
  ),
})
const perSecond = (/** @type {string} */ name) => (order.length / median(times[name] ?? [])) * 1000

/** Memory of a full cache, of entries of 100 bytes, beyond what the keys and values take in an array each. */
function memoryOf(/** @type {string} */ name) {
  const before = settled()
  const held = Array.from({ length: size }, (_, i) => ({
    key: `session/${name}/${i}`,
    value: { data: `${i}`.padStart(100) },
  }))
  const cache = makers[name]?.()
  const bare = settled()
  for (const { key, value } of held) cache?.set(key, value)
  const bytes = settled() - bare
  if (cache?.get(held[0]?.key ?? '') === undefined) sink++
  return { structure: bytes / size, whole: (settled() - before) / size }
}
function settled() {
  for (let i = 0; i < 4; i++) globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
const memory = globalThis.gc === undefined ? undefined : new Map(names.map(name => [name, memoryOf(name)]))

const fromDisk = await withTempFolder(async folder => {
  const open = () => new TieredCache({ memory: { maxEntries: 1_000 }, disk: { path: join(folder, 'cache') } })
  const cache = open()
  for (const key of keys) await cache.set(key, { key, data: 'x'.repeat(100) })
  await cache.close()
  const again = open()
  const start = performance.now()
  await again.get(keys[0] ?? '')
  const first = performance.now() - start
  for (const key of keys) if ((await again.get(key)) === undefined) throw new Error(`${key} is gone`)
  const reads = (size / (performance.now() - start)) * 1000
  await again.close()
  return { first, reads }
})

heading(
  'Throughput and memory',
  `Hits in full caches of ${count(size)} entries, keys by Zipf's law, in turns; memory a entry with keys and values of 100 bytes, and of the cache alone.`,
)
table(
  ['cache', 'hits a second', 'against lru-cache', 'bytes a entry', 'of the cache alone'],
  names.map(name => [
    name,
    count(Math.round(perSecond(name))),
    ratio(perSecond(name) / perSecond('lru-cache')),
    memory ? (memory.get(name)?.whole ?? 0).toFixed(0) : '(--expose-gc)',
    memory ? (memory.get(name)?.structure ?? 0).toFixed(0) : '',
  ]),
)
const whole = (/** @type {string} */ name) => memory?.get(name)?.whole ?? Number.NaN
goals([
  ...['lru', 'tinylfu'].flatMap(name => [
    {
      what: `hits a second of ${name} against lru-cache`,
      goal: '≥ 0.9×',
      figure: ratio(perSecond(name) / perSecond('lru-cache')),
      met: perSecond(name) / perSecond('lru-cache') >= 0.9,
    },
    {
      what: `memory a entry of ${name} against lru-cache`,
      goal: '≤ 1.2×',
      figure: ratio(whole(name) / whole('lru-cache')),
      met: whole(name) / whole('lru-cache') <= 1.2,
    },
  ]),
  {
    what: `reads a second of a TieredCache after a restart (the first after ${fromDisk.first.toFixed(1)} ms)`,
    goal: '≥ 50,000',
    figure: count(Math.round(fromDisk.reads)),
    met: fromDisk.reads >= 50_000,
  },
])
if (sink < 0) process.exitCode = 1
