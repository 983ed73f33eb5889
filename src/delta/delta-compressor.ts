import { checkOptions, oneOf, positiveInteger } from '../core/options.ts'
import { checkBytes, checkDelta, checkDeltas } from './check-arguments.ts'
import { apply, calculate, DEFAULT_MAX_RESULT_BYTES, type Delta } from './delta.ts'
import { mergeDeltas } from './merge-deltas.ts'
import { deserializeDelta, serializeDelta } from './serialized-delta.ts'
import { decodeState, encodeState } from './state-codec.ts'
import { DELTA_STRATEGIES, type DeltaStrategy, type UsedStrategy } from './strategies.ts'

/** How a {@link DeltaCompressor} works. */
export interface DeltaCompressorOptions {
  /**
   * How differences are expressed: `dict` by the members of values, `binary` by their bytes, `compress` and `none` not
   * by differences at all, `auto` by whatever is smallest. Default: `auto`.
   */
  readonly strategy?: DeltaStrategy | undefined
  /** The longest state, encoded, that a delta may make, in bytes. Default: 1 GiB. */
  readonly maxBytes?: number | undefined
}

/** What the deltas made with one strategy amount to. */
export interface StrategyStats {
  readonly deltas: number
  /** Bytes of the deltas. */
  readonly bytes: number
}

/** What the deltas that a {@link DeltaCompressor} has calculated amount to. */
export interface CompressionStats {
  /** Deltas calculated. */
  readonly deltas: number
  /** Bytes of the states they make, encoded and not compressed. */
  readonly originalBytes: number
  /** Bytes of the deltas, without what describes their ends. */
  readonly deltaBytes: number
  /** `deltaBytes / originalBytes`; 0 when there is nothing yet. */
  readonly ratio: number
  /** The same by the strategy that was used. */
  readonly byStrategy: Readonly<Record<UsedStrategy, StrategyStats>>
}

/**
 * Differences between states: values of any kind that can be stored, or byte strings (`Uint8Array`, `Buffer`).
 *
 * @example
 * ```ts
 * import { DeltaCompressor } from 'varve/delta'
 *
 * const compressor = new DeltaCompressor()
 * const before = { name: 'Ada', visits: 1 }
 * const delta = compressor.calculateDelta(before, { name: 'Ada', visits: 2 })
 * compressor.applyDelta(before, delta) // { name: 'Ada', visits: 2 }
 * ```
 */
export class DeltaCompressor {
  readonly #strategy: DeltaStrategy
  readonly #maxBytes: number
  readonly #stats: Record<UsedStrategy, { deltas: number; bytes: number }> = {
    dict: { deltas: 0, bytes: 0 },
    binary: { deltas: 0, bytes: 0 },
    compress: { deltas: 0, bytes: 0 },
    none: { deltas: 0, bytes: 0 },
  }
  #originalBytes = 0

  /** @throws {InvalidArgumentError} if an option is unknown, or not what it should be */
  constructor(options: DeltaCompressorOptions = {}) {
    const { strategy = 'auto', maxBytes = DEFAULT_MAX_RESULT_BYTES } = checkOptions<DeltaCompressorOptions>(
      options,
      { strategy: oneOf(DELTA_STRATEGIES), maxBytes: positiveInteger },
      'DeltaCompressor',
    )
    this.#strategy = strategy
    this.#maxBytes = maxBytes
  }

  /**
   * What turns `base` into `target`.
   *
   * @throws {UnserializableValueError} if either is a value that cannot be stored
   */
  calculateDelta(base: unknown, target: unknown): Delta {
    const delta = calculate(this.#strategy, encodeState(base), encodeState(target))
    for (const { strategy, body } of delta.steps) {
      this.#stats[strategy].deltas++
      this.#stats[strategy].bytes += body.length
    }
    this.#originalBytes += delta.result.size
    return delta
  }

  /**
   * What `delta` makes of `base`: a state of the caller's own, equal (`util.isDeepStrictEqual`) to the target that the
   * delta was calculated for. The base must be the very state that it was calculated from, or equal to it with
   * properties in the same order.
   *
   * @throws {InvalidArgumentError} if `delta` is none
   * @throws {DeltaError} if `base` is another one, or the result would be longer than allowed
   * @throws {DataIntegrityError} if the delta is damaged
   */
  applyDelta(base: unknown, delta: Delta): unknown {
    return decodeState(apply(encodeState(base), checkDelta(delta, 'applyDelta()'), this.#maxBytes))
  }

  /**
   * One delta that does what these do one after the other. The base is not needed.
   *
   * Deltas of one strategy become one of that strategy. Others are kept as steps of the merged delta, unless one of
   * them stores its result whole.
   *
   * @throws {InvalidArgumentError} if there is none, or something else among them
   * @throws {DeltaError} if one does not begin where the one before it ends
   */
  mergeDeltas(deltas: readonly Delta[]): Delta {
    return mergeDeltas(checkDeltas(deltas, 'mergeDeltas()'))
  }

  /** The delta as bytes, versioned and checksummed. @throws {InvalidArgumentError} if it is none */
  serializeDelta(delta: Delta): Uint8Array {
    return serializeDelta(checkDelta(delta, 'serializeDelta()'))
  }

  /**
   * The delta that {@link serializeDelta} wrote. It refers to `bytes`; do not change them.
   *
   * @throws {InvalidArgumentError} if `bytes` are none
   * @throws {DataIntegrityError} if not every bit is as it was written
   */
  deserializeDelta(bytes: Uint8Array): Delta {
    return deserializeDelta(checkBytes(bytes, 'deserializeDelta()'))
  }

  /** What the deltas calculated so far amount to. */
  getCompressionStats(): CompressionStats {
    const { dict, binary, compress, none } = this.#stats
    const all = [dict, binary, compress, none]
    const deltaBytes = all.reduce((sum, { bytes }) => sum + bytes, 0)
    return {
      deltas: all.reduce((sum, { deltas }) => sum + deltas, 0),
      originalBytes: this.#originalBytes,
      deltaBytes,
      ratio: this.#originalBytes === 0 ? 0 : deltaBytes / this.#originalBytes,
      byStrategy: structuredClone({ dict, binary, compress, none }),
    }
  }
}
