import { InvalidArgumentError } from '../core/errors.ts'
import { checkKnownOptions, invalidOption } from '../core/options.ts'
import type { SetOptions } from './cache.ts'

/** A time in milliseconds: a finite number above 0. */
export function duration(value: unknown, name: string): number {
  if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return value
  throw invalidOption(name, 'a finite number of milliseconds above 0', value)
}

/** The TTL of an entry that is being set, or that of the cache. @throws {InvalidArgumentError} */
export function ttlOf(options: SetOptions | undefined, byDefault: number | undefined): number | undefined {
  if (options === undefined) return byDefault
  checkKnownOptions(options, ['ttl'], 'set()')
  const { ttl } = options
  return ttl === undefined ? byDefault : duration(ttl, 'ttl')
}

/** A key is a string. */
export function checkCacheKey(key: unknown): asserts key is string {
  if (typeof key !== 'string') throw invalidOption('key', 'a string', key)
}

/** What {@link checkCacheKey} checks, for keys that become UTF-8: two that are not well-formed may become the same there. */
export function checkDiskKey(key: unknown): asserts key is string {
  checkCacheKey(key)
  if (key.isWellFormed()) return
  throw invalidOption('key', 'well-formed: each half of a surrogate pair beside the other', key)
}

/** @throws {InvalidArgumentError} for `undefined`, which is how a cache says that it has nothing. */
export function checkCacheValue(value: unknown): void {
  if (value !== undefined) return
  throw new InvalidArgumentError(
    'A cache cannot hold undefined, which is how it says that it holds nothing. Use null.',
  )
}
