import { crc32 } from 'node:zlib'
import { DataIntegrityError, DeltaError } from '../core/errors.ts'
import type { EncodedState } from './state-codec.ts'
import { type DeltaStrategy, decodeBody, encodeBody, type UsedStrategy } from './strategies.ts'

/** One of the two states that a delta is about. */
export interface DeltaEnd {
  /** How the state is encoded. */
  readonly codec: number
  /** Length of the encoded state in bytes. */
  readonly size: number
  /** CRC-32 of the encoded state. */
  readonly checksum: number
}

/** A part of a delta: leads from the state before it to the one that `end` describes. */
export interface DeltaStep {
  readonly strategy: UsedStrategy
  readonly body: Uint8Array
  readonly end: DeltaEnd
}

/**
 * The difference between two states: what turns `base` into `result`, and nothing else into anything.
 *
 * Plain data. To keep or send it, use `serializeDelta`; do not change it.
 */
export interface Delta {
  /** The state it applies to. */
  readonly base: DeltaEnd
  /** The state it makes. */
  readonly result: DeltaEnd
  /** One, or where deltas were merged that have no common form, several to be taken in turn. */
  readonly steps: readonly DeltaStep[]
  /** Bytes of the difference itself, without what describes both ends. */
  readonly size: number
}

/** The longest result of a delta that is applied unless more is allowed, in bytes. */
export const DEFAULT_MAX_RESULT_BYTES = 2 ** 30

/** The delta of these steps, of which there is at least one. */
export function deltaOf(base: DeltaEnd, steps: readonly DeltaStep[]): Delta {
  let size = 0
  let result = base
  for (const step of steps) {
    size += step.body.length
    result = step.end
  }
  return { base, result, steps, size }
}

/** Describes an encoded state. */
function endOf({ codec, bytes }: EncodedState): DeltaEnd {
  return { codec, size: bytes.length, checksum: crc32(bytes) }
}

/** The difference between two encoded states. */
export function calculate(strategy: DeltaStrategy, base: EncodedState, target: EncodedState): Delta {
  return deltaOf(endOf(base), [{ ...encodeBody(strategy, base, target), end: endOf(target) }])
}

/**
 * What a delta makes of an encoded state.
 *
 * @throws {DeltaError} if the state is another than the delta is for, or a result would take more than `maxBytes`
 * @throws {DataIntegrityError} if the delta is damaged
 */
export function apply(base: EncodedState, delta: Delta, maxBytes = DEFAULT_MAX_RESULT_BYTES): EncodedState {
  const given = endOf(base)
  if (!isSameEnd(given, delta.base)) {
    throw new DeltaError(
      `The delta was made for another base: one of ${describe(delta.base)}; this one has ${describe(given)}. ` +
        'Apply it to the state it was calculated from, with properties in the same order.',
    )
  }
  let state = base
  for (const { strategy, body, end } of delta.steps) {
    if (end.size > maxBytes) {
      throw new DeltaError(
        `The delta declares a state of ${end.size} bytes, more than the ${maxBytes} allowed. Raise maxBytes if it is genuine.`,
      )
    }
    state = decodeBody({ strategy, body }, state, end.codec, end.size)
    if (!isSameEnd(endOf(state), end)) {
      throw new DataIntegrityError(
        'The delta is damaged: it does not make the state it should. Make it anew.',
      )
    }
  }
  return state
}

/** Whether both describe the same state. */
export function isSameEnd(a: DeltaEnd, b: DeltaEnd): boolean {
  return a.codec === b.codec && a.size === b.size && a.checksum === b.checksum
}

function describe({ codec, size, checksum }: DeltaEnd): string {
  return `${size} bytes with codec ${codec} and checksum ${checksum}`
}
