// @ts-check
import { seededRandom } from '../lib/random.js'
import { parseCommit } from '../lib/recorded-history.js'

/**
 * Two byte strings, the second made from the first.
 *
 * @typedef {object} Pair
 * @property {Buffer} base
 * @property {Buffer} target
 */

/** The changes that synthetic pairs are made with, by name. */
export const CHANGES = {
  'one edit': oneEdit,
  'scattered edits': scatteredEdits,
  'moved blocks': movedBlocks,
  appended: append,
  unrelated: replaceAll,
}

/**
 * Successive values of the keys of a recorded history, as JSON, spread evenly over all there are.
 *
 * @param {readonly string[]} lines
 * @param {number} howMany
 * @returns {Pair[]}
 */
export function recordedPairs(lines, howMany) {
  /** @type {Map<string, Buffer>} */
  const current = new Map()
  /** @type {Pair[]} */
  const pairs = []
  for (const line of lines) {
    const { put, del } = parseCommit(line)
    for (const [key, value] of Object.entries(put)) {
      const target = Buffer.from(JSON.stringify(value))
      const base = current.get(key)
      if (base !== undefined && !base.equals(target)) pairs.push({ base, target })
      current.set(key, target)
    }
    for (const key of del) current.delete(key)
  }
  const step = Math.max(1, pairs.length / howMany)
  const chosen = Array.from(
    { length: Math.min(howMany, pairs.length) },
    (_, i) => pairs[Math.floor(i * step)],
  )
  return /** @type {Pair[]} */ (chosen)
}

/**
 * Pairs of one kind of change and one size, half of them JSON, half without any structure.
 *
 * @param {keyof typeof CHANGES} change
 * @param {number} size
 * @param {number} howMany of each half
 * @returns {Pair[]}
 */
export function syntheticPairs(change, size, howMany) {
  const contents = [jsonOf, noiseOf]
  return contents.flatMap((make, kind) =>
    Array.from({ length: howMany }, (_, i) => {
      const random = seededRandom(size * 31 + i * 7 + kind)
      const base = make(size, random)
      return { base, target: CHANGES[change](base, random, make) }
    }),
  )
}

/** @typedef {() => number} Random */
/** @typedef {(size: number, random: Random) => Buffer} Make */

const WORDS =
  'time state value snapshot layer delta write read record chain commit epoch page index table query engine cache memory stream buffer node branch merge history field number string object array user order product price total amount status active pending created updated email address street city country'.split(
    ' ',
  )

/** @type {Make} */
function jsonOf(size, random) {
  const word = () => WORDS[Math.floor(random() * WORDS.length)]
  /** @type {string[]} */
  const rows = []
  for (let id = 1000, length = 0; length < size; id++) {
    const row = JSON.stringify({
      id,
      name: `${word()} ${word()}`,
      price: Math.round(random() * 1e5) / 100,
      active: random() < 0.5,
      tags: [word(), word()],
      note: Array.from({ length: 3 + Math.floor(random() * 8) }, word).join(' '),
    })
    rows.push(row)
    length += row.length + 1
  }
  return Buffer.from(`[${rows.join(',')}]`).subarray(0, size)
}

/** @type {Make} */
function noiseOf(size, random) {
  const bytes = Buffer.allocUnsafe(size)
  for (let i = 0; i < size; i++) bytes[i] = random() * 256
  return bytes
}

/**
 * @param {Random} random
 * @param {number} length
 */
function digits(random, length) {
  return Buffer.from(String(random()).slice(2, 2 + length))
}

/**
 * @param {Buffer} base
 * @param {Random} random
 */
function oneEdit(base, random) {
  const at = Math.floor(random() * (base.length - 10))
  return Buffer.concat([base.subarray(0, at), digits(random, 6), base.subarray(at + 4)])
}

/**
 * About twenty edits, or one every 2,000 bytes where that is more: bytes replaced, inserted or removed.
 *
 * @param {Buffer} base
 * @param {Random} random
 */
function scatteredEdits(base, random) {
  const gap = Math.max(40, Math.min(2000, base.length / 20))
  /** @type {Buffer[]} */
  const parts = []
  for (let at = 0; at < base.length; ) {
    const kept = Math.floor(Math.max(20, gap * 2 * random()))
    parts.push(base.subarray(at, at + kept))
    at += kept
    if (at >= base.length) break
    const inserted = digits(random, 1 + Math.floor(random() * 8))
    const kind = random()
    if (kind < 0.75) parts.push(inserted)
    if (kind < 0.5 || kind >= 0.75) at += inserted.length
  }
  return Buffer.concat(parts)
}

/**
 * @param {Buffer} base
 * @param {Random} random
 */
function movedBlocks(base, random) {
  const pieces = Math.max(2, Math.min(16, Math.floor(base.length / 64)))
  const cuts = Array.from({ length: pieces - 1 }, () => Math.floor(random() * base.length)).sort(
    (a, b) => a - b,
  )
  const blocks = [0, ...cuts].map((start, i) => base.subarray(start, cuts[i] ?? base.length))
  for (let i = blocks.length - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1))
    const block = /** @type {Buffer} */ (blocks[i])
    blocks[i] = /** @type {Buffer} */ (blocks[other])
    blocks[other] = block
  }
  return Buffer.concat(blocks)
}

/**
 * @param {Buffer} base
 * @param {Random} random
 * @param {Make} make
 */
function append(base, random, make) {
  return Buffer.concat([base, make(Math.max(10, Math.floor(base.length / 10)), random)])
}

/**
 * @param {Buffer} base
 * @param {Random} random
 * @param {Make} make
 */
function replaceAll(base, random, make) {
  return make(base.length, random)
}
