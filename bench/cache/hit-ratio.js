// @ts-check
/**
 * Hit ratios of the policies on traces, beside those of the literature and Belady's optimum.
 *
 *     node hit-ratio.js [--quick] [--length 500000] [recorded history]
 */
import { LRUCache } from 'lru-cache'
import { MemoryCache } from 'varve/cache'
import { readOptions } from '../lib/options.js'
import { goals, heading, table } from '../lib/report.js'
import { arc, belady, lirs, s3fifo, sieve } from './lib/policies.js'
import { recorded, shapes } from './lib/traces.js'

const MAX_GAP = 0.03

const { numbers, positionals } = readOptions({ length: { full: 500_000, quick: 100_000 } })

/** @type {Record<string, import('./lib/policies.js').Simulation>} */
const policies = {
  'lru-cache': (size, keys) => hitsOf(new LRUCache({ max: size }), keys),
  fifo: ofVarve('fifo'),
  lfu: ofVarve('lfu'),
  tinylfu: ofVarve('tinylfu'),
  SIEVE: sieve,
  'S3-FIFO': s3fifo,
  ARC: arc,
  LIRS: lirs,
  Belady: belady,
}
const names = Object.keys(policies)

let behindLru = 0
let largestGap = 0
/** @type {string[][]} */
const rows = []
for (const { name, keys, sizes } of [...shapes(numbers.length), ...recorded(positionals[0])]) {
  for (const size of sizes) {
    const ratios = new Map(names.map(policy => [policy, (policies[policy]?.(size, keys) ?? 0) / keys.length]))
    const own = ratios.get('tinylfu') ?? 0
    const best = Math.max(
      ...names.filter(policy => policy !== 'Belady').map(policy => ratios.get(policy) ?? 0),
    )
    behindLru = Math.max(behindLru, (ratios.get('lru-cache') ?? 0) - own)
    largestGap = Math.max(largestGap, best - own)
    rows.push([`${name}, ${size}`, ...names.map(policy => percent(ratios.get(policy) ?? 0))])
  }
}

heading(
  'Hit ratios',
  'Of each trace with caches of some sizes, in entries. The policies in lower case are those of MemoryCache.',
)
table(['trace, entries', ...names], rows)
goals([
  {
    what: 'tinylfu behind lru-cache, at most',
    goal: '0 points',
    figure: points(behindLru),
    met: behindLru <= 0,
  },
  {
    what: 'tinylfu behind the best policy, at most',
    goal: `≤ ${points(MAX_GAP)}`,
    figure: points(largestGap),
    met: largestGap <= MAX_GAP,
  },
])

/**
 * @param {'fifo' | 'lfu' | 'tinylfu'} policy
 * @returns {import('./lib/policies.js').Simulation}
 */
function ofVarve(policy) {
  return (size, keys) => hitsOf(new MemoryCache({ maxEntries: size, policy }), keys)
}

/**
 * @param {{ get(key: string): unknown, set(key: string, value: boolean): unknown }} cache
 * @param {readonly number[]} keys
 */
function hitsOf(cache, keys) {
  let hits = 0
  for (const number of keys) {
    const key = `key ${number}`
    if (cache.get(key) !== undefined) hits++
    else cache.set(key, true)
  }
  return hits
}

/** @param {number} ratio */
function percent(ratio) {
  return (100 * ratio).toFixed(1)
}

/** @param {number} ratio */
function points(ratio) {
  return `${(100 * ratio).toFixed(1)} points`
}
