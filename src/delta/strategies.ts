import { DataIntegrityError } from '../core/errors.ts'
import { applyBinaryBody, encodeBinaryBody } from './binary-body.ts'
import { COMPRESSION, compressBytes, decompressBytes } from './compression.ts'
import type { EncodedState } from './state-codec.ts'
import { applyStructuralBody, encodeStructuralBody } from './structural-delta.ts'

/**
 * How a state is expressed by way of another.
 *
 * - `dict`: the difference of the values, member by member; for byte strings the same as `binary`
 * - `binary`: copies of the other state's bytes, and insertions, compressed where that pays
 * - `compress`: the state itself, compressed
 * - `none`: the state itself
 * - `auto`: what is smallest of these
 */
export const DELTA_STRATEGIES = ['auto', 'dict', 'binary', 'compress', 'none'] as const

/** One of `DELTA_STRATEGIES`. */
export type DeltaStrategy = (typeof DELTA_STRATEGIES)[number]

/** A strategy as it was carried out. */
export type UsedStrategy = Exclude<DeltaStrategy, 'auto'>

/** A state by way of another, without any word on what they are. */
export interface StrategyBody {
  readonly strategy: UsedStrategy
  readonly body: Uint8Array
}

/** A binary delta of at most so many bytes is taken by `auto` without looking further. */
const SMALL_DELTA = 128
/** And so is one of at most this part of the state. */
const SMALL_PART = 1 / 8
/** Where states are larger than this, `auto` does not look further either: it would take long. */
const MAX_THOROUGH_BYTES = 1 << 20

/**
 * Expresses `target` by way of `base`.
 *
 * Where the strategy asked for cannot do it, the next best takes its place: a structural difference of byte strings is
 * a binary one, and a value that would not come back exactly from its parts is stored by its bytes.
 */
export function encodeBody(strategy: DeltaStrategy, base: EncodedState, target: EncodedState): StrategyBody {
  switch (strategy) {
    case 'none':
      return { strategy, body: new Uint8Array(target.bytes) }
    case 'compress':
      return { strategy, body: encodeWhole(target.bytes) }
    case 'binary':
      return { strategy, body: encodeBinaryBody(base.bytes, target.bytes, 'alone') }
    case 'dict': {
      const body = encodeStructuralBody(base, target)
      return body === undefined ? encodeBody('binary', base, target) : { strategy, body }
    }
    default:
      return encodeSmallest(base, target)
  }
}

/**
 * The target of {@link encodeBody}.
 *
 * @param codec The codec of the target.
 * @param length Its length in bytes; no more memory than this calls for is taken.
 * @throws {DataIntegrityError} if the body is damaged, as far as that shows
 */
export function decodeBody(
  { strategy, body }: StrategyBody,
  base: EncodedState,
  codec: number,
  length: number,
): EncodedState {
  switch (strategy) {
    case 'none':
      return { codec, bytes: new Uint8Array(body) }
    case 'compress':
      return { codec, bytes: decodeWhole(body, length) }
    case 'binary':
      return { codec, bytes: applyBinaryBody(base.bytes, body, length) }
    case 'dict':
      return applyStructuralBody(base, body)
  }
}

function encodeSmallest(base: EncodedState, target: EncodedState): StrategyBody {
  const { length } = target.bytes
  let best = encodeBody('binary', base, target)
  const isSmall = best.body.length <= SMALL_DELTA || best.body.length <= length * SMALL_PART
  if (!isSmall && length <= MAX_THOROUGH_BYTES) {
    const structural = encodeStructuralBody(base, target)
    if (structural !== undefined) best = smaller(best, { strategy: 'dict', body: structural })
    best = smaller(best, encodeBody('compress', base, target))
  }
  return length < best.body.length ? encodeBody('none', base, target) : best
}

function smaller(a: StrategyBody, b: StrategyBody): StrategyBody {
  return b.body.length < a.body.length ? b : a
}

function encodeWhole(bytes: Uint8Array): Uint8Array {
  const compressed = compressBytes(bytes)
  const body = Buffer.allocUnsafe(1 + compressed.bytes.length)
  body[0] = compressed.compression
  body.set(compressed.bytes, 1)
  return body
}

function decodeWhole(body: Uint8Array, length: number): Uint8Array {
  const compression = body[0]
  if (compression === undefined) throw new DataIntegrityError('A compressed state is damaged: it is empty.')
  const bytes = decompressBytes(compression, body.subarray(1), length)
  return compression === COMPRESSION.stored ? new Uint8Array(bytes) : bytes
}
