import { compareBytes, fromByteString, toByteString } from '../core/bytes.ts'
import { type KeyCodec, MAX_KEY_BYTES } from '../core/key.ts'
import { boolean, checkOptions, invalidOption, nonNegativeInteger } from '../core/options.ts'
import type { KeyRange } from '../history/reader.ts'

/**
 * A range of keys. Keys order bytewise by their UTF-8 form, which is the order of their code points.
 *
 * All bounds given apply together.
 */
export interface Range {
  /** Only keys that begin so. */
  readonly prefix?: string
  readonly gt?: string
  readonly gte?: string
  readonly lt?: string
  readonly lte?: string
  /** Descending order. */
  readonly reverse?: boolean
  /** At most so many. */
  readonly limit?: number
}

const RANGE_CHECKS = {
  prefix: bound,
  gt: bound,
  gte: bound,
  lt: bound,
  lte: bound,
  reverse: boolean,
  limit: nonNegativeInteger,
} as const

/** No key is that long, so that a longer bound, which engines may refuse, orders as its beginning does. */
const MAX_BOUND_BYTES = MAX_KEY_BYTES + 1

/** A bound may be any well-formed string, the empty one included: it need not be a key. */
function bound(value: unknown, name: string): string {
  if (typeof value === 'string' && value.isWellFormed()) return value
  throw invalidOption(name, 'a well-formed string', value)
}

/**
 * The range as bounds on the bytes of keys.
 *
 * @throws {InvalidArgumentError} for an unknown or malformed bound.
 */
export function toKeyRange(range: Range | undefined): KeyRange {
  if (range === undefined) return {}
  const { prefix, gt, gte, lt, lte, reverse, limit } = checkOptions<Range>(range, RANGE_CHECKS, 'a range')
  // Nothing is below the empty string, and no key is the empty string.
  if (lt === '' || lte === '') return { limit: 0 }
  const bytes = (text: string): Uint8Array => Buffer.from(text, 'utf8').subarray(0, MAX_BOUND_BYTES)
  const start = prefix === undefined || prefix === '' ? undefined : bytes(prefix)
  return {
    ...lowerBound(gt && bytes(gt), gte && bytes(gte), start),
    ...upperBound(
      lt === undefined ? undefined : bytes(lt),
      lte === undefined ? undefined : bytes(lte),
      start && afterPrefix(start),
    ),
    reverse,
    limit,
  }
}

/** The least string above all that begin with `prefix`. UTF-8 never holds 0xff, so the last byte can be raised. */
function afterPrefix(prefix: Uint8Array): Uint8Array {
  const end = Buffer.from(prefix)
  end[end.length - 1] = (end[end.length - 1] as number) + 1
  return end
}

type Bytes = Uint8Array | '' | undefined

function lowerBound(gt: Bytes, gte: Bytes, start: Bytes): KeyRange {
  let least = gte || undefined
  if (start && (least === undefined || compareBytes(start, least) > 0)) least = start
  if (gt && (least === undefined || compareBytes(gt, least) >= 0)) return { gt }
  return least === undefined ? {} : { gte: least }
}

function upperBound(
  lt: Uint8Array | undefined,
  lte: Uint8Array | undefined,
  end: Uint8Array | undefined | '',
): KeyRange {
  let below = lt
  if (end && (below === undefined || compareBytes(end, below) < 0)) below = end
  if (lte !== undefined && (below === undefined || compareBytes(lte, below) < 0)) return { lte }
  return below === undefined ? {} : { lt: below }
}

/** A key as it is stored, as the byte string of its UTF-8 form, by which keys order. */
export function nameOf(stored: Uint8Array, keys: KeyCodec): string {
  return toByteString(keys.ordered ? stored : Buffer.from(keys.decode(stored)))
}

/** A test of keys, as byte strings of how they are stored, against a range. */
export function inRange(range: KeyRange, keys: KeyCodec): (key: string) => boolean {
  const test = rangeTest(range)
  return keys.ordered ? test : key => test(nameOf(fromByteString(key), keys))
}

/** A test of {@link nameOf | names} against a range. */
export function rangeTest(range: KeyRange): (name: string) => boolean {
  const [gt, gte, lt, lte] = [range.gt, range.gte, range.lt, range.lte].map(
    edge => edge && toByteString(edge),
  )
  return key =>
    (gt === undefined || key > gt) &&
    (gte === undefined || key >= gte) &&
    (lt === undefined || key < lt) &&
    (lte === undefined || key <= lte)
}
