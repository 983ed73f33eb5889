// @ts-check
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { seededRandom } from '../../lib/random.js'

/**
 * A sequence of keys, as numbers, and the sizes of cache that it is run with.
 *
 * @typedef {{ name: string, keys: readonly number[], sizes: readonly number[] }} Trace
 */

/**
 * Keys by Zipf's law: the one of rank r comes with a chance of 1 / r to the power of `skew`.
 *
 * @param {number} distinct
 * @param {number} skew
 * @param {number} length
 */
export function zipf(distinct, skew, length) {
  const cumulative = new Float64Array(distinct)
  let total = 0
  for (let rank = 0; rank < distinct; rank++) {
    total += 1 / (rank + 1) ** skew
    cumulative[rank] = total
  }
  const random = seededRandom(1)
  return Array.from({ length }, () => {
    const wanted = random() * total
    let [low, high] = [0, distinct - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if (/** @type {number} */ (cumulative[middle]) < wanted) low = middle + 1
      else high = middle
    }
    return low
  })
}

/**
 * The shapes that are usual in the field.
 *
 * @param {number} length
 * @returns {Trace[]}
 */
export function shapes(length) {
  const base = zipf(20_000, 1, length)
  let fresh = 20_000
  const scans = base.flatMap((key, i) =>
    i % 5_000 === 4_999 ? [key, ...Array.from({ length: 3_000 }, () => fresh++)] : [key],
  )
  return [
    ...[0.8, 0.9, 1, 1.1, 1.2].map(skew => ({
      name: `Zipf ${skew}`,
      keys: zipf(100_000, skew, length),
      sizes: [1_000, 10_000],
    })),
    { name: 'Zipf 1 with scans', keys: scans, sizes: [1_000, 4_000] },
    {
      name: 'loop over 2,000',
      keys: Array.from({ length }, (_, i) => i % 2_000),
      sizes: [500, 1_000, 1_900],
    },
  ]
}

/**
 * Two traces of real data: which feature each commit of caniuse.com touched, and the words of what it wrote, one after
 * the other.
 *
 * @param {string | undefined} path a recorded history; the slice in the demo by default
 * @returns {Trace[]}
 */
export function recorded(path) {
  const file = path ?? fileURLToPath(new URL('../../../demo/data/caniuse-slice.jsonl.gz', import.meta.url))
  const lines = gunzipSync(readFileSync(file)).toString().split('\n').filter(Boolean)
  const features = numbering()
  const words = numbering()
  for (const line of lines) {
    const { put, del = [] } = JSON.parse(line)
    for (const name of [...Object.keys(put ?? {}), ...del]) features.add(name)
    for (const value of Object.values(put ?? {})) {
      for (const word of [value.title, value.description, value.notes]
        .join(' ')
        .toLowerCase()
        .match(/\w+/g) ?? []) {
        words.add(word)
      }
    }
  }
  const share = (/** @type {number} */ parts) => Math.max(1, Math.round(features.distinct() / parts))
  return [
    { name: 'features of caniuse', keys: features.keys, sizes: [share(10), share(4), share(2)] },
    { name: 'words of caniuse', keys: words.keys.slice(0, 500_000), sizes: [100, 500, 1_000] },
  ]
}

function numbering() {
  const numbers = new Map()
  /** @type {number[]} */
  const keys = []
  return {
    keys,
    distinct: () => numbers.size,
    /** @param {string} name */
    add(name) {
      const number = numbers.get(name) ?? numbers.size
      numbers.set(name, number)
      keys.push(number)
    },
  }
}
