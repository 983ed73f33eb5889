/**
 * Edit scripts: how one byte string becomes another.
 *
 * A script walks along the base. Each edit copies `copy` bytes from where the walk stands, then inserts bytes of
 * the target, then moves the walk by `skip`: forward over bytes that are gone, or backward to copy some again.
 * What is left of the base after the last edit is copied too. So one change in the middle is one edit, and equal
 * strings need none.
 *
 * How a script is found: the common prefix and suffix are stripped. Of the base, each aligned block near the middle
 * is indexed by a hash; the middle of the target is scanned with a rolling hash of the same width, as in A. Tridgell
 * and P. Mackerras, "The rsync algorithm" (1996). Here both sides are at hand, so a hit is compared, not trusted,
 * and extended in both directions.
 *
 * Time and memory are linear in the input, whatever it holds: a position of the target is looked up at most once, a
 * candidate that is refused costs a bounded number of comparisons, bytes that matched are not looked at again, and
 * the one search that costs more is paid from the bytes matched before.
 */

import { asBuffer } from '../core/bytes.ts'

/** Receives the edits of a script in order. The bytes inserted are `target[insertStart … insertEnd)`. */
export type EmitEdit = (copy: number, insertStart: number, insertEnd: number, skip: number) => void

/** Bytes in an indexed block, a multiple of four. A run of equal bytes twice as long holds a whole block, so it is found. */
const BLOCK = 16
/** When more bytes than this are indexed, blocks are twice as wide: the index is then at most an eighth of them. */
const WIDE_BLOCKS_FROM = 1 << 24
/** Going on in step after a few changed bytes costs little to write down, so it pays from this length on. */
const MIN_RESUME = 8
/** A copy from elsewhere costs several bytes to write down, and a compressor makes much of short insertions. */
const MIN_MATCH = 32
/** How far to both sides of where the base should go on a shifted continuation is looked for. */
const NEARBY = 64
/** Bytes that may be spent on such searches before anything has matched. */
const INITIAL_CREDIT = 4096
/** How far beyond the changed part the base is indexed, in lengths of the changed part of the target. */
const INDEX_SPAN = 64
/** Each time so many more bytes (log2) were inserted than copied, lookups get sparser. */
const PATIENCE_LOG2 = 11
/** The sparsest lookups. Odd, as every step, so that all alignments come by: runs of `BLOCK * MAX_STEP` are found. */
const MAX_STEP = 29

const HASH_FACTOR = 0x01000193
const HASH_FACTOR_2 = power(HASH_FACTOR, 2)
const HASH_FACTOR_3 = power(HASH_FACTOR, 3)
const HASH_FACTOR_4 = power(HASH_FACTOR, 4)
const HASH_SPREAD = 0x9e3779b1

/** The length of the longest common prefix of two byte strings. */
export function commonPrefix(a: Uint8Array, b: Uint8Array): number {
  return matchForward(a, 0, a.length, b, 0, b.length)
}

/** The length of the longest common suffix of two byte strings, at most `limit`. */
export function commonSuffix(a: Uint8Array, b: Uint8Array, limit: number): number {
  return matchBackward(a, a.length, a.length - limit, b, b.length, b.length - limit)
}

/**
 * Finds a short edit script from `base` to `target`, and hands its edits to `emit`.
 *
 * @param minMiddle Where fewer bytes of the target than this lie between the common prefix and suffix, they are
 * inserted whole. A compressor that sees both sides finds short repetitions by itself.
 */
export function diffBytes(base: Uint8Array, target: Uint8Array, emit: EmitEdit, minMiddle = MIN_MATCH): void {
  const from = asBuffer(base)
  const to = asBuffer(target)
  const prefix = commonPrefix(from, to)
  const suffix = commonSuffix(from, to, Math.min(from.length, to.length) - prefix)
  const baseEnd = from.length - suffix
  const targetEnd = to.length - suffix
  if (targetEnd - prefix >= minMiddle && from.length >= BLOCK) {
    diffMiddle(from, to, prefix, baseEnd, targetEnd, emit)
  } else if (targetEnd > prefix || baseEnd > prefix) {
    emit(prefix, prefix, targetEnd, baseEnd - prefix)
  }
}

/** Covers `target[start … targetEnd)` with insertions and copies from around `base[start … baseEnd)`. */
function diffMiddle(
  base: Buffer,
  target: Buffer,
  start: number,
  baseEnd: number,
  targetEnd: number,
  emit: EmitEdit,
): void {
  const span = INDEX_SPAN * (targetEnd - start)
  const from = Math.max(0, start - span)
  const to = Math.min(base.length, baseEnd + span)
  const block = to - from > WIDE_BLOCKS_FROM ? 2 * BLOCK : BLOCK
  const { slots, shift } = indexBlocks(base, from, to, block)
  const leaving = power(HASH_FACTOR, block)

  // The walk so far ends by copying `copy` bytes up to `basePosition`; it covers the target up to `literal`.
  let copy = start
  let basePosition = start
  let literal = start
  let at = start
  // How far the base was ahead of the target in the last copy.
  let drift = 0
  let credit = INITIAL_CREDIT
  // By how much insertions outweigh copies of late; never negative.
  let unmatched = 0
  let hash = 0
  let hashedAt = -2

  while (at < targetEnd) {
    let found = -1
    let length = 0
    let minimum = MIN_RESUME

    const beside = at + drift
    if (base[beside] === target[at]) {
      length = matchForward(base, beside, base.length, target, at, targetEnd)
      if (length >= MIN_RESUME) found = beside
    }

    if (found < 0 && at + block <= targetEnd) {
      if (hashedAt === at - 1) {
        const left = Math.imul(target[at - 1] as number, leaving)
        hash = (Math.imul(hash, HASH_FACTOR) + (target[at + block - 1] as number) - left) | 0
      } else {
        hash = hashBlock(target, at, block)
      }
      hashedAt = at
      const slot = slots[Math.imul(hash, HASH_SPREAD) >>> shift] as number
      if (slot !== 0) {
        const candidate = from + (slot - 1) * block
        length = matchForward(base, candidate, base.length, target, at, targetEnd)
        if (length >= block) {
          found = candidate
          minimum = MIN_MATCH
          // A block that occurs more than once leads astray: after a small insertion or deletion the true
          // continuation is a few bytes off, and it stays right for longer than any other.
          if (credit >= NEARBY) {
            credit -= NEARBY
            const near = findNearby(base, target, at, drift, block)
            if (near >= 0) {
              found = near
              length = matchForward(base, near, base.length, target, at, targetEnd)
              minimum = block
            }
          }
        }
      }
    }

    if (found >= 0) {
      const back = matchBackward(base, found, 0, target, at, literal)
      length += back
      if (length >= minimum) {
        const matchStart = at - back
        emit(copy, literal, matchStart, found - back - basePosition)
        drift = found - at
        copy = length
        basePosition = found - back + length
        at = matchStart + length
        literal = at
        credit += length >>> 2
        unmatched = Math.max(0, unmatched - length)
        continue
      }
    }

    const step = Math.min(MAX_STEP, 1 + 2 * (unmatched >>> PATIENCE_LOG2))
    unmatched += step
    at += step
  }
  if (literal < targetEnd || basePosition !== baseEnd) emit(copy, literal, targetEnd, baseEnd - basePosition)
}

/** Where, at most {@link NEARBY} bytes from the expected position, the base holds the block that the target has. */
function findNearby(base: Buffer, target: Buffer, at: number, drift: number, block: number): number {
  const first = target[at]
  for (let distance = 1; distance <= NEARBY; distance++) {
    const after = at + drift + distance
    if (base[after] === first && equalBlocks(base, after, target, at, block)) return after
    const before = at + drift - distance
    if (base[before] === first && equalBlocks(base, before, target, at, block)) return before
  }
  return -1
}

/** The first occurrence of each aligned block of `base[from … to)`, by hash: its number plus one, or zero. */
function indexBlocks(
  base: Buffer,
  from: number,
  to: number,
  block: number,
): { readonly slots: Int32Array; readonly shift: number } {
  const blocks = Math.floor((to - from) / block)
  const bits = Math.max(4, 32 - Math.clz32(blocks))
  const slots = new Int32Array(1 << bits)
  const shift = 32 - bits
  for (let number = blocks - 1; number >= 0; number--) {
    const hash = hashBlock(base, from + number * block, block)
    slots[Math.imul(hash, HASH_SPREAD) >>> shift] = number + 1
  }
  return { slots, shift }
}

/** The polynomial hash of a block, modulo 2^32. */
function hashBlock(bytes: Buffer, at: number, block: number): number {
  let hash = 0
  // Four bytes at a time, so that the processor can multiply them side by side.
  for (let i = at; i < at + block; i += 4) {
    hash =
      (Math.imul(hash, HASH_FACTOR_4) +
        Math.imul(bytes[i] as number, HASH_FACTOR_3) +
        Math.imul(bytes[i + 1] as number, HASH_FACTOR_2) +
        Math.imul(bytes[i + 2] as number, HASH_FACTOR) +
        (bytes[i + 3] as number)) |
      0
  }
  return hash
}

function power(factor: number, exponent: number): number {
  let result = 1
  for (let i = 0; i < exponent; i++) result = Math.imul(result, factor)
  return result
}

function equalBlocks(a: Buffer, i: number, b: Buffer, j: number, length: number): boolean {
  for (let k = 0; k < length; k++) if (a[i + k] !== b[j + k]) return false
  return true
}

/** So many bytes are compared one by one before longer stretches are handed to native code. */
const SHORT_STRETCH = 64
const FIRST_STRETCH = 256
const LONGEST_STRETCH = 1 << 14

/** How many bytes agree from `a[i]` and `b[j]` on, up to the ends given. */
function matchForward(
  a: Uint8Array,
  i: number,
  aEnd: number,
  b: Uint8Array,
  j: number,
  bEnd: number,
): number {
  const limit = Math.min(aEnd - i, bEnd - j)
  const short = Math.min(limit, SHORT_STRETCH)
  let length = 0
  while (length < short && a[i + length] === b[j + length]) length++
  if (length < short) return length
  for (let stretch = FIRST_STRETCH; length + stretch <= limit; ) {
    if (equalStretches(a, i + length, b, j + length, stretch)) {
      length += stretch
      if (stretch < LONGEST_STRETCH) stretch *= 2
    } else if (stretch > FIRST_STRETCH) {
      stretch = Math.max(FIRST_STRETCH, stretch >>> 2)
    } else break
  }
  while (length < limit && a[i + length] === b[j + length]) length++
  return length
}

/** How many bytes agree before `a[i]` and `b[j]`, down to the starts given. */
function matchBackward(
  a: Uint8Array,
  i: number,
  aStart: number,
  b: Uint8Array,
  j: number,
  bStart: number,
): number {
  const limit = Math.min(i - aStart, j - bStart)
  const short = Math.min(limit, SHORT_STRETCH)
  let length = 0
  while (length < short && a[i - length - 1] === b[j - length - 1]) length++
  if (length < short) return length
  for (let stretch = FIRST_STRETCH; length + stretch <= limit; ) {
    if (equalStretches(a, i - length - stretch, b, j - length - stretch, stretch)) {
      length += stretch
      if (stretch < LONGEST_STRETCH) stretch *= 2
    } else if (stretch > FIRST_STRETCH) {
      stretch = Math.max(FIRST_STRETCH, stretch >>> 2)
    } else break
  }
  while (length < limit && a[i - length - 1] === b[j - length - 1]) length++
  return length
}

function equalStretches(a: Uint8Array, i: number, b: Uint8Array, j: number, length: number): boolean {
  return asBuffer(a).compare(b, j, j + length, i, i + length) === 0
}
