import { toByteString } from '../core/bytes.ts'
import { InvalidArgumentError } from '../core/errors.ts'
import { isPromiseLike, type MaybePromise } from '../core/maybe-promise.ts'
import { boolean, callback, checkOptions, invalidOption } from '../core/options.ts'
import { encodeValue } from '../core/value-codec.ts'
import type { Cache } from './cache.ts'
import { checkCacheKey, duration } from './cache-options.ts'
import { isCache } from './is-cache.ts'
import { MemoryCache } from './memory-cache.ts'

/** How a function is memoized. */
export interface MemoizeOptions<A extends readonly unknown[], C = MemoryCache<MemoEntry>> {
  /** Milliseconds for which a result is answered. Default: that of the cache. */
  readonly ttl?: number
  /** What calls share a result, made of the arguments. Default: calls whose arguments are equal data. */
  readonly key?: (...args: A) => string
  /** Where results are kept. Default: a `MemoryCache` of 10,000 entries. */
  readonly cache?: C
  /** Also keep that a call failed, and with what. Default `false`. */
  readonly cacheFailures?: boolean
}

/** What is kept of a call: what it returned, or threw; and whether that came as a promise. */
export type MemoEntry = { readonly later: boolean } & (
  | { readonly value: unknown }
  | { readonly error: unknown }
)

/** A function that remembers, with the cache that it does so in. */
export type Memoized<F, C> = F & { readonly cache: C }

/**
 * A function that answers repeated calls from a cache.
 *
 * Calls with the same key that overlap share one run. A failure is passed on to all of them and forgotten, unless
 * `cacheFailures` is set. With a cache in memory, a function that is not asynchronous stays so; with any other, calls
 * return promises.
 *
 * Callers of a memoized function get the same object, unless the cache copies. `this` is passed on, and no part of the
 * key: of a method, name what matters of it by `key`. What a cache on disk cannot hold is an error of the call.
 *
 * @throws {InvalidArgumentError} for what is not a function, and for bad options. A call whose arguments are not plain data
 * throws `UnserializableValueError`, if there is no option `key`.
 *
 * @example
 * ```ts
 * import { memoize } from 'varve/cache'
 *
 * let runs = 0
 * const square = memoize((n: number) => {
 *   runs++
 *   return n * n
 * }, { ttl: 60_000 })
 * console.log(square(12), square(12), runs) // → 144 144 1
 * ```
 */
export function memoize<A extends readonly unknown[], R>(
  fn: (...args: A) => R,
  options?: MemoizeOptions<A>,
): Memoized<(...args: A) => R, MemoryCache<MemoEntry>>
export function memoize<A extends readonly unknown[], R, C extends Cache<MemoEntry>>(
  fn: (...args: A) => R,
  options: MemoizeOptions<A, C> & { readonly cache: C },
): Memoized<(...args: A) => Promise<Awaited<R>>, C>
export function memoize<A extends readonly unknown[]>(
  fn: (...args: A) => unknown,
  options: MemoizeOptions<A, Cache<MemoEntry>> = {},
): Memoized<(...args: A) => unknown, Cache<MemoEntry>> {
  if (typeof fn !== 'function') {
    throw new InvalidArgumentError('memoize() takes a function, and options for it.')
  }
  const {
    ttl,
    key: keyOf = keyOfArguments,
    cache = new MemoryCache<MemoEntry>(),
    cacheFailures = false,
  } = checkOptions<MemoizeOptions<A, Cache<MemoEntry>>>(
    options,
    { ttl: duration, key: callback, cache: checkCache, cacheFailures: boolean },
    'memoize()',
  )
  const underWay = new Map<string, Promise<unknown>>()
  const setOptions = ttl === undefined ? {} : { ttl }

  const keep = (key: string, entry: MemoEntry): MaybePromise<void> => cache.set(key, entry, setOptions)

  /** Keeps that a call failed, if that is wanted and can be done: what its caller is told is why it failed. */
  const keepFailure = (key: string, later: boolean, error: unknown): MaybePromise<void> => {
    if (!cacheFailures) return
    try {
      const kept = keep(key, { later, error })
      return isPromiseLike(kept) ? kept.then(undefined, () => undefined) : kept
    } catch {
      // As if it had been forgotten.
    }
  }

  /** One promise for all who call until it is settled. */
  const share = (key: string, result: PromiseLike<unknown>): Promise<unknown> => {
    const shared = Promise.resolve(result).finally(() => underWay.delete(key))
    underWay.set(key, shared)
    return shared
  }

  const settle = async (key: string, result: PromiseLike<unknown>): Promise<unknown> => {
    let value: unknown
    try {
      value = await result
    } catch (error) {
      await keepFailure(key, true, error)
      throw error
    }
    await keep(key, { later: true, value })
    return value
  }

  const memoized = function (this: unknown, ...args: A): unknown {
    const key = keyOf(...args)
    // Before anything is run.
    checkCacheKey(key)
    const shared = underWay.get(key)
    if (shared !== undefined) return shared
    const known = cache.get(key)
    if (isPromiseLike(known)) {
      const answer = async (): Promise<unknown> => {
        const entry = await known
        return entry === undefined ? settle(key, run(fn, this, args)) : replay(entry)
      }
      return share(key, answer())
    }
    if (known !== undefined) return replay(known)
    let value: unknown
    try {
      value = Reflect.apply(fn, this, args)
    } catch (error) {
      void keepFailure(key, false, error)
      throw error
    }
    if (isPromiseLike(value)) return share(key, settle(key, value))
    const kept = keep(key, { later: false, value })
    return isPromiseLike(kept) ? kept.then(() => value) : value
  }
  return Object.assign(memoized, { cache })
}

/** Calls also what is not asynchronous so that its error is a rejection. */
async function run<A extends readonly unknown[]>(
  fn: (...args: A) => unknown,
  self: unknown,
  args: A,
): Promise<unknown> {
  return Reflect.apply(fn, self, args)
}

function replay(entry: MemoEntry): unknown {
  if ('value' in entry) return entry.later ? Promise.resolve(entry.value) : entry.value
  if (entry.later) return Promise.reject(entry.error)
  throw entry.error
}

/** Equal data make equal keys, but for the order of properties. */
function keyOfArguments(...args: readonly unknown[]): string {
  const { codec, bytes } = encodeValue(args)
  return `${codec}${toByteString(bytes)}`
}

function checkCache(value: unknown, name: string): Cache<MemoEntry> {
  if (isCache(value)) return value as Cache<MemoEntry>
  throw invalidOption(name, 'a cache, such as a MemoryCache', value)
}
