import { InvalidArgumentError } from '../core/errors.ts'
import { invalidOption } from '../core/options.ts'

/** A time in milliseconds: a finite number above 0. */
export function duration(value: unknown, name: string): number {
  if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return value
  throw invalidOption(name, 'a finite number of milliseconds above 0', value)
}

/** A key is a string. */
export function checkCacheKey(key: unknown): asserts key is string {
  if (typeof key !== 'string') throw invalidOption('key', 'a string', key)
}

/** @throws {InvalidArgumentError} for `undefined`, which is how a cache says that it has nothing. */
export function checkCacheValue(value: unknown): void {
  if (value !== undefined) return
  throw new InvalidArgumentError(
    'A cache cannot hold undefined, which is how it says that it holds nothing. Use null.',
  )
}
