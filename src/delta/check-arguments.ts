import { InvalidArgumentError } from '../core/errors.ts'
import type { Delta, DeltaEnd, DeltaStep } from './delta.ts'

/** A byte string as given by a caller. @throws {InvalidArgumentError} */
export function checkBytes(value: unknown, where: string): Uint8Array {
  if (value instanceof Uint8Array) return value
  throw new InvalidArgumentError(`${where} takes bytes: a Uint8Array or a Buffer.`)
}

/** A delta as given by a caller, as far as its form goes. @throws {InvalidArgumentError} */
export function checkDelta(value: unknown, where: string): Delta {
  if (isDelta(value)) return value
  throw new InvalidArgumentError(
    `${where} takes a delta as calculateDelta() returned it. One that was written down is read by deserializeDelta().`,
  )
}

/** Several of them. @throws {InvalidArgumentError} */
export function checkDeltas(value: unknown, where: string): readonly Delta[] {
  if (!Array.isArray(value)) throw new InvalidArgumentError(`${where} takes an array of deltas.`)
  return value.map(delta => checkDelta(delta, where))
}

function isDelta(value: unknown): value is Delta {
  if (typeof value !== 'object' || value === null) return false
  const { base, result, steps, size } = value as Partial<Record<keyof Delta, unknown>>
  return (
    isEnd(base) &&
    isEnd(result) &&
    isCount(size) &&
    Array.isArray(steps) &&
    steps.length > 0 &&
    steps.every(isStep)
  )
}

function isStep(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { strategy, body, end } = value as Partial<Record<keyof DeltaStep, unknown>>
  return typeof strategy === 'string' && STRATEGIES.has(strategy) && body instanceof Uint8Array && isEnd(end)
}

const STRATEGIES: ReadonlySet<string> = new Set(['dict', 'binary', 'compress', 'none'])

function isEnd(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { codec, size, checksum } = value as Partial<Record<keyof DeltaEnd, unknown>>
  return isCount(codec) && isCount(size) && isCount(checksum)
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
