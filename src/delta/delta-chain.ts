import { InvalidArgumentError } from '../core/errors.ts'
import { checkOptions, oneOf, positiveInteger } from '../core/options.ts'
import { partitionPoint } from '../core/partition-point.ts'
import { apply, calculate, type Delta } from './delta.ts'
import { decodeState, type EncodedState, encodeState } from './state-codec.ts'
import {
  DELTA_STRATEGIES,
  type DeltaStrategy,
  decodeBody,
  encodeBody,
  type StrategyBody,
} from './strategies.ts'

/** How a {@link DeltaChain} works. */
export interface DeltaChainOptions {
  /** How states are expressed by way of the ones before them. Default: `auto`. */
  readonly strategy?: DeltaStrategy | undefined
  /** At most so many deltas are applied to read a state; then a state is stored whole. Default: 32. */
  readonly maxChainLength?: number | undefined
}

/** What a {@link DeltaChain} holds. */
export interface ChainMetrics {
  /** States added. */
  readonly states: number
  /** Of those, how many are stored whole. */
  readonly baselines: number
  /** Of those, how many are stored as differences. */
  readonly deltas: number
  /** The most deltas that are applied to read any state. */
  readonly longestChain: number
  /** Bytes of all states, encoded and not compressed. */
  readonly originalBytes: number
  /** Bytes that they take in the chain. */
  readonly storedBytes: number
  /** `storedBytes / originalBytes`; 0 when there is nothing yet. */
  readonly ratio: number
}

/** A state stored whole, and those after it as differences. */
interface Segment {
  /** Number of the first state. */
  readonly first: number
  readonly codec: number
  readonly size: number
  readonly baseline: StrategyBody
  readonly deltas: Delta[]
}

const NOTHING: EncodedState = { codec: 0, bytes: new Uint8Array(0) }

/**
 * A sequence of states in little memory, each readable at any time.
 *
 * A state is kept as its difference from the one before it. After `maxChainLength` of them the next state becomes a
 * baseline, stored whole, so that reading costs no more than so many differences.
 *
 * @example
 * ```ts
 * import { DeltaChain } from 'varve/delta'
 *
 * const chain = new DeltaChain()
 * chain.addState({ visits: 1 }) // 0
 * chain.addState({ visits: 2 }) // 1
 * chain.getStateAt(0) // { visits: 1 }
 * ```
 */
export class DeltaChain {
  readonly #strategy: DeltaStrategy
  readonly #maxChainLength: number
  readonly #segments: Segment[] = []
  #current: EncodedState | undefined
  #originalBytes = 0
  #storedBytes = 0

  /** @throws {InvalidArgumentError} if an option is unknown, or not what it should be */
  constructor(options: DeltaChainOptions = {}) {
    const { strategy = 'auto', maxChainLength = 32 } = checkOptions<DeltaChainOptions>(
      options,
      { strategy: oneOf(DELTA_STRATEGIES), maxChainLength: positiveInteger },
      'DeltaChain',
    )
    this.#strategy = strategy
    this.#maxChainLength = maxChainLength
  }

  /** How many states were added. */
  get length(): number {
    const last = this.#segments.at(-1)
    return last === undefined ? 0 : last.first + 1 + last.deltas.length
  }

  /**
   * Adds a state and returns its index, from 0. What becomes of `state` afterwards does not change the chain.
   *
   * @throws {UnserializableValueError} if it cannot be stored; the chain stays as it was
   */
  addState(state: unknown): number {
    const { codec, bytes } = encodeState(state)
    const target = { codec, bytes: state instanceof Uint8Array ? new Uint8Array(bytes) : bytes }
    const index = this.length
    const segment = this.#segments.at(-1)
    if (
      this.#current === undefined ||
      segment === undefined ||
      segment.deltas.length >= this.#maxChainLength
    ) {
      this.#startSegment(index, target)
    } else {
      const delta = calculate(this.#strategy, this.#current, target)
      segment.deltas.push(delta)
      this.#storedBytes += delta.size
    }
    this.#current = target
    this.#originalBytes += target.bytes.length
    return index
  }

  /**
   * The state with that index, as a copy of the caller's own.
   *
   * @throws {InvalidArgumentError} if there is none
   */
  getStateAt(index: number): unknown {
    if (!Number.isInteger(index) || index < 0 || index >= this.length) {
      const holds = this.length === 0 ? 'is empty' : `has states 0 to ${this.length - 1}`
      throw new InvalidArgumentError(`There is no state ${index}: the chain ${holds}.`)
    }
    return decodeState(this.#encodedAt(index))
  }

  /**
   * The state added last, as a copy of the caller's own.
   *
   * @throws {InvalidArgumentError} if there is none
   */
  getCurrentState(): unknown {
    return this.getStateAt(this.length - 1)
  }

  /**
   * Makes the state added last a baseline: from now on, it is read without applying any difference, and so are the
   * states after it without those before. All states keep their index. Returns that of the baseline.
   *
   * @throws {InvalidArgumentError} if there is no state
   */
  rebaseline(): number {
    const segment = this.#segments.at(-1)
    if (this.#current === undefined || segment === undefined) {
      throw new InvalidArgumentError('There is no state to make a baseline of: the chain is empty.')
    }
    const replaced = segment.deltas.pop()
    if (replaced !== undefined) {
      this.#storedBytes -= replaced.size
      this.#startSegment(segment.first + 1 + segment.deltas.length, this.#current)
    }
    return this.length - 1
  }

  /** What the chain holds, and in how many bytes. */
  getChainMetrics(): ChainMetrics {
    const states = this.length
    const baselines = this.#segments.length
    return {
      states,
      baselines,
      deltas: states - baselines,
      longestChain: this.#segments.reduce((longest, { deltas }) => Math.max(longest, deltas.length), 0),
      originalBytes: this.#originalBytes,
      storedBytes: this.#storedBytes,
      ratio: this.#originalBytes === 0 ? 0 : this.#storedBytes / this.#originalBytes,
    }
  }

  #startSegment(first: number, state: EncodedState): void {
    const baseline = encodeBody(this.#strategy === 'none' ? 'none' : 'compress', NOTHING, state)
    this.#segments.push({ first, codec: state.codec, size: state.bytes.length, baseline, deltas: [] })
    this.#storedBytes += baseline.body.length
  }

  /** The last segment that begins at or before a state: looked for by halves, as there may be many. */
  #segmentOf(index: number): Segment {
    const segments = this.#segments
    const after = partitionPoint(segments.length, i => (segments[i] as Segment).first <= index)
    return segments[after - 1] as Segment
  }

  #encodedAt(index: number): EncodedState {
    const segment = this.#segmentOf(index)
    let state = decodeBody(segment.baseline, NOTHING, segment.codec, segment.size)
    for (const delta of segment.deltas.slice(0, index - segment.first)) {
      state = apply(state, delta, Number.POSITIVE_INFINITY)
    }
    return state
  }
}
