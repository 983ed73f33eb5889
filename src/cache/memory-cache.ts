import { InvalidArgumentError } from '../core/errors.ts'
import { callback, checkOptions, oneOf, positiveInteger } from '../core/options.ts'
import type { Cache, CacheEvents, CacheStats, EntryMetadata, SetOptions } from './cache.ts'
import { CacheCounters } from './cache-counters.ts'
import { CacheListeners } from './cache-events.ts'
import { checkCacheKey, checkCacheValue, duration, ttlOf } from './cache-options.ts'
import type { EntryStore, EntryStoreOptions, RemovedEntry } from './entry-store.ts'
import type { PolicyFactory } from './eviction-policy.ts'
import { fifoPolicy } from './fifo-policy.ts'
import { lfuPolicy } from './lfu-policy.ts'
import { LruStore } from './lru-store.ts'
import { estimateSize } from './size-of.ts'
import { SlotStore } from './slot-store.ts'
import { tinyLfuPolicy } from './tinylfu-policy.ts'
import { ttlPolicy } from './ttl-policy.ts'

const POLICIES = ['lru', 'lfu', 'fifo', 'ttl', 'tinylfu'] as const

/**
 * Which entry goes when there is no room: the one used longest ago (`lru`), least often (`lfu`), set longest ago
 * (`fifo`), the one to expire first (`ttl`), or the one that by what was used lately is worth least (`tinylfu`), which
 * scans and loops do not harm.
 */
export type CachePolicy = (typeof POLICIES)[number]

/** How a {@link MemoryCache} is made. */
export interface MemoryCacheOptions<V = unknown> {
  /** At most so many entries. Default 10,000 where there is no `maxBytes` either. */
  readonly maxEntries?: number
  /** At most so many bytes of entries, as `sizeOf` has them. Default: not measured. */
  readonly maxBytes?: number
  /** What an entry takes, in bytes. Default: an estimate of the key and the value in memory. */
  readonly sizeOf?: (value: V, key: string) => number
  /** Milliseconds after which an entry that was set without a TTL of its own is gone. Default: never. */
  readonly ttl?: number
  /** Which entry goes when there is no room. Default `'lru'`. */
  readonly policy?: CachePolicy
  /** The time in milliseconds, for tests. Default `Date.now`. */
  readonly now?: () => number
}

const DEFAULT_MAX_ENTRIES = 10_000

const FACTORIES: Readonly<Record<Exclude<CachePolicy, 'lru'>, PolicyFactory>> = {
  lfu: lfuPolicy,
  fifo: fifoPolicy,
  ttl: ttlPolicy,
  tinylfu: tinyLfuPolicy,
}

/**
 * A bounded cache in this process's memory.
 *
 * It holds values as a `Map` does: what is returned is what was passed in, not a copy. An entry that has expired is never
 * answered; it makes room when it is met, when others need its room, or by {@link MemoryCache.purgeExpired}.
 *
 * @throws {InvalidArgumentError} for a bound that is not a whole number above 0, a TTL that is not above 0, or an option
 * that is not known.
 *
 * @example
 * ```ts
 * import { MemoryCache } from 'varve/cache'
 *
 * const cache = new MemoryCache<string>({ maxEntries: 2, policy: 'lru' })
 * cache.set('a', 'first')
 * cache.set('b', 'second', { ttl: 60_000 })
 * cache.get('a')
 * cache.set('c', 'third')
 * console.log([...cache.keys()].sort()) // → [ 'a', 'c' ]
 * console.log(cache.stats().evictions.entries) // → 1
 * ```
 */
export class MemoryCache<V = unknown> implements Cache<V> {
  readonly #store: EntryStore<V>
  readonly #counters = new CacheCounters()
  readonly #listeners = new CacheListeners<V>()
  readonly #maxBytes: number | undefined
  readonly #sizeOf: ((value: V, key: string) => number) | undefined
  readonly #ttl: number | undefined

  constructor(options: MemoryCacheOptions<V> = {}) {
    const {
      maxBytes,
      maxEntries = maxBytes === undefined ? DEFAULT_MAX_ENTRIES : undefined,
      sizeOf,
      ttl,
      policy = 'lru',
      now = Date.now,
    } = checkOptions<MemoryCacheOptions<V>>(
      options,
      {
        maxEntries: positiveInteger,
        maxBytes: positiveInteger,
        sizeOf: callback,
        ttl: duration,
        policy: oneOf(POLICIES),
        now: callback,
      },
      'MemoryCache()',
    )
    this.#maxBytes = maxBytes
    this.#sizeOf = sizeOf
    this.#ttl = ttl
    const storeOptions: EntryStoreOptions<V> = {
      maxEntries,
      maxBytes,
      now,
      onRemoved: entry => this.#removed(entry),
    }
    this.#store =
      policy === 'lru' ? new LruStore(storeOptions) : new SlotStore(storeOptions, FACTORIES[policy])
  }

  get(key: string): V | undefined {
    const value = this.#store.get(key)
    if (value === undefined) this.#counters.misses++
    else this.#counters.hits++
    return value
  }

  set(key: string, value: V, options?: SetOptions): void {
    checkCacheKey(key)
    checkCacheValue(value)
    const ttl = ttlOf(options, this.#ttl)
    const bytes = this.#maxBytes === undefined ? 0 : this.#measure(value, key)
    if (this.#maxBytes !== undefined && bytes > this.#maxBytes) {
      // What the key held before is not what was last set.
      this.#store.delete(key)
      this.#counters.rejected++
      return
    }
    this.#store.set(key, value, bytes, ttl)
  }

  has(key: string): boolean {
    return this.#store.has(key)
  }

  delete(key: string): boolean {
    return this.#store.delete(key)
  }

  clear(): void {
    this.#store.clear()
  }

  keys(): Iterable<string> {
    return this.#store.keys()
  }

  size(): number {
    return this.#store.size
  }

  metadata(key: string): EntryMetadata | undefined {
    const info = this.#store.info(key)
    if (info === undefined) return undefined
    const { bytes, expiresAt } = info
    return { tier: 'memory', bytes, ...(Number.isFinite(expiresAt) && { expiresAt }) }
  }

  stats(): CacheStats {
    return this.#counters.report(this.#store.size, this.#store.bytes)
  }

  /** Removes the entries that have expired. */
  purgeExpired(): void {
    this.#store.purgeExpired()
  }

  on<E extends keyof CacheEvents<V>>(event: E, listener: (event: CacheEvents<V>[E]) => void): () => void {
    return this.#listeners.add(event, listener)
  }

  async close(): Promise<void> {
    this.#store.clear()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #measure(value: V, key: string): number {
    const bytes =
      this.#sizeOf === undefined ? estimateSize(key) + estimateSize(value) : this.#sizeOf(value, key)
    if (typeof bytes !== 'number' || Number.isNaN(bytes) || bytes < 0) {
      throw new InvalidArgumentError(
        `The option "sizeOf" gave ${String(bytes)} for the key ${JSON.stringify(key)}. It must give bytes: a number, 0 or more.`,
      )
    }
    // Each entry takes something, or there could be any number of them.
    return Math.max(1, Math.ceil(bytes))
  }

  #removed({ key, value, cause, expiresAt }: RemovedEntry<V>): void {
    if (cause === 'expired') {
      this.#counters.expired++
      this.#listeners.emit('expire', { key, value })
    } else {
      this.#counters.evicted[cause]++
      this.#listeners.emit('evict', { key, value, cause, ...(Number.isFinite(expiresAt) && { expiresAt }) })
    }
  }
}
