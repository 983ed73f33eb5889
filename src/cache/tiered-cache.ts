import { InvalidArgumentError } from '../core/errors.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import { callback, checkOptions, invalidOption } from '../core/options.ts'
import type { Cache, CacheEvents, CacheStats, EntryMetadata, SetOptions } from './cache.ts'
import { CacheCounters } from './cache-counters.ts'
import { checkCacheValue, checkDiskKey, duration, ttlOf } from './cache-options.ts'
import { MemoryCache, type MemoryCacheOptions } from './memory-cache.ts'
import { PersistentCache, type PersistentCacheOptions } from './persistent-cache.ts'

/** How a {@link TieredCache} is made. */
export interface TieredCacheOptions<V = unknown> {
  /** The tier in memory, or how to make it. Default: at most 64 MiB, with the policy `tinylfu`. */
  readonly memory?: MemoryCache<V> | MemoryCacheOptions<V>
  /** The tier on disk, or how to make it. */
  readonly disk: PersistentCache<V> | PersistentCacheOptions
  /** Gets what neither tier has; `undefined` if there is none. Runs once at a time for a key. */
  readonly load?: (key: string) => MaybePromise<V | undefined>
  /** Milliseconds after which an entry that was set without a TTL of its own is gone. Default: never. */
  readonly ttl?: number
}

const DEFAULT_MEMORY = { maxBytes: 64 * 1024 * 1024, policy: 'tinylfu' } as const
/** While so many entries wait to be written to disk, others are let go rather than queued. */
const MAX_BACKLOG = 10_000

/** A look below the memory that is under way. */
interface Lookup<V> {
  /** The key was set or removed meanwhile: what is found must not come up. */
  outdated: boolean
  readonly value: Promise<V | undefined>
}

/**
 * Memory over disk over a loader. What memory has no room for falls to disk, what is read there comes up again, and
 * what neither has is loaded.
 *
 * An entry is set in memory; it is on disk once it has fallen there, or once the cache was closed. So a process that dies
 * loses what was in memory only, and never brings back what was replaced. As from a {@link MemoryCache}, what is returned
 * may be what was passed in.
 *
 * @throws {InvalidArgumentError} for an option that is not known, or not as it should be.
 *
 * @example
 * ```ts
 * import { TieredCache } from 'varve/cache'
 *
 * await using pages = new TieredCache<string>({
 *   memory: { maxEntries: 1_000 },
 *   disk: { path: './pages' },
 *   load: async key => `the page ${key}`,
 * })
 * console.log(await pages.get('home')) // → the page home
 * console.log(pages.stats().misses) // → 1
 * ```
 */
export class TieredCache<V = unknown> implements Cache<V> {
  readonly #memory: MemoryCache<V>
  readonly #disk: PersistentCache<V>
  readonly #load: ((key: string) => MaybePromise<V | undefined>) | undefined
  readonly #ttl: number | undefined
  readonly #counters = new CacheCounters()
  readonly #lookups = new Map<string, Lookup<V>>()
  /** The last entry that falls to disk. */
  #falling: Promise<void> = Promise.resolve()

  constructor(options: TieredCacheOptions<V>) {
    const { memory, disk, load, ttl } = checkOptions<TieredCacheOptions<V>>(
      options,
      { memory: tierOptions, disk: tierOptions, load: callback, ttl: duration },
      'TieredCache()',
    )
    if (disk === undefined) {
      throw new InvalidArgumentError(
        'TieredCache() needs the option "disk": a PersistentCache, or its options.',
      )
    }
    this.#memory = memory instanceof MemoryCache ? memory : new MemoryCache<V>(memory ?? DEFAULT_MEMORY)
    this.#disk = disk instanceof PersistentCache ? disk : new PersistentCache<V>(disk)
    this.#load = load
    this.#ttl = ttl
    this.#memory.on('evict', ({ key, value, expiresAt }) => {
      this.#falling = this.#fall(key, value as V, expiresAt)
    })
  }

  /** Opens the tier on disk, which the first call does otherwise. @throws {CacheError} if it cannot be used. */
  open(): Promise<void> {
    return this.#disk.open()
  }

  /** The tier on disk. @internal */
  get disk(): PersistentCache<V> {
    return this.#disk
  }

  async get(key: string): Promise<V | undefined> {
    const value = this.#memory.get(key)
    if (value !== undefined) {
      this.#counters.hits++
      return value
    }
    const underWay = this.#lookups.get(key)
    if (underWay !== undefined) {
      this.#counters.misses++
      return underWay.value
    }
    // No wait where none is needed: a read from disk takes microseconds.
    if (this.#disk.ready) {
      const stored = this.#fromDisk(key)
      if (stored !== undefined || this.#load === undefined) return stored
    }
    const lookup = this.#lookUp(key, this.#disk.ready)
    this.#lookups.set(key, lookup)
    return lookup.value
  }

  /** A value that a disk cannot hold stays in memory as long as there is room. */
  async set(key: string, value: V, options?: SetOptions): Promise<void> {
    checkDiskKey(key)
    checkCacheValue(value)
    const ttl = ttlOf(options, this.#ttl)
    this.#outdate(key)
    this.#memory.set(key, value, ttl === undefined ? {} : { ttl })
    // What is on disk is as old as the entry was; too large an entry for the memory is there alone.
    if (this.#memory.has(key)) await this.#disk.delete(key)
    else await this.#disk.set(key, value, ttl === undefined ? {} : { ttl })
    // Whoever sets entries waits for the disk before it would have to let any go.
    if (this.#disk.backlog >= MAX_BACKLOG / 2) await this.#falling
  }

  async has(key: string): Promise<boolean> {
    return this.#memory.has(key) || (await this.#disk.has(key))
  }

  async delete(key: string): Promise<boolean> {
    this.#outdate(key)
    const wasInMemory = this.#memory.delete(key)
    const wasOnDisk = await this.#disk.delete(key)
    return wasInMemory || wasOnDisk
  }

  async clear(): Promise<void> {
    for (const key of [...this.#lookups.keys()]) this.#outdate(key)
    this.#memory.clear()
    await this.#disk.clear()
  }

  async *keys(): AsyncGenerator<string, void, undefined> {
    const inMemory = [...this.#memory.keys()]
    yield* inMemory
    const seen = new Set(inMemory)
    for await (const key of this.#disk.keys()) if (!seen.has(key)) yield key
  }

  async size(): Promise<number> {
    let size = 0
    for await (const _ of this.keys()) size++
    return size
  }

  async metadata(key: string): Promise<EntryMetadata | undefined> {
    return this.#memory.metadata(key) ?? (await this.#disk.metadata(key))
  }

  /** Of `entries` and `bytes` the sums of both tiers: what is in both counts twice. */
  stats(): CacheStats {
    const [memory, disk] = [this.#memory.stats(), this.#disk.stats()]
    return {
      ...this.#counters.report(memory.entries + disk.entries, memory.bytes + disk.bytes),
      // What memory lets go is on disk.
      evictions: { ...disk.evictions, expired: memory.evictions.expired + disk.evictions.expired },
      rejected: disk.rejected,
      ...(disk.failure !== undefined && { failure: disk.failure }),
      tiers: { memory, disk },
    }
  }

  /** Removes the entries that have expired from both tiers. */
  async purgeExpired(): Promise<void> {
    this.#memory.purgeExpired()
    await this.#disk.purgeExpired()
  }

  /** An entry is evicted when it leaves the disk. */
  on<E extends keyof CacheEvents<V>>(event: E, listener: (event: CacheEvents<V>[E]) => void): () => void {
    const offDisk = this.#disk.on(event, listener)
    const offMemory = event === 'expire' ? this.#memory.on(event, listener) : undefined
    return () => {
      offDisk()
      offMemory?.()
    }
  }

  /** Writes what is only in memory to disk, and closes it. */
  async close(): Promise<void> {
    for (const key of [...this.#memory.keys()]) {
      const value = this.#memory.get(key)
      const expiresAt = this.#memory.metadata(key)?.expiresAt
      if (value === undefined) continue
      const written = this.#fall(key, value, expiresAt)
      if (this.#disk.backlog >= MAX_BACKLOG) await written
    }
    await this.#disk.close()
    await this.#memory.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Nothing that was found before is to come up. */
  #outdate(key: string): void {
    const lookup = this.#lookups.get(key)
    if (lookup === undefined) return
    lookup.outdated = true
    this.#lookups.delete(key)
  }

  /** What the disk has, which comes up; counts the hit or miss. */
  #fromDisk(key: string): V | undefined {
    const found = this.#disk.read(key)
    if (found === undefined) {
      this.#counters.misses++
      return undefined
    }
    this.#counters.hits++
    this.#memory.set(key, found.value, this.#left(found.expiresAt))
    return found.value
  }

  /** Opens the disk and looks there, unless that was done, and loads what it lacks. */
  #lookUp(key: string, looked: boolean): Lookup<V> {
    const find = async (): Promise<V | undefined> => {
      try {
        if (!looked) {
          await this.#disk.open().catch(() => undefined)
          // Whatever it was then, it is in memory or gone now.
          const stored = lookup.outdated ? this.#memory.get(key) : this.#fromDisk(key)
          if (stored !== undefined) return stored
        }
        const loaded = await this.#load?.(key)
        if (loaded !== undefined && !lookup.outdated) await this.set(key, loaded)
        return loaded
      } finally {
        if (this.#lookups.get(key) === lookup) this.#lookups.delete(key)
      }
    }
    const lookup: Lookup<V> = { outdated: false, value: Promise.resolve().then(find) }
    return lookup
  }

  /** To disk, unless it is there: an entry that is set anew is removed from there. */
  async #fall(key: string, value: V, expiresAt: number | undefined): Promise<void> {
    if (this.#disk.holds(key) || this.#disk.backlog >= MAX_BACKLOG) return
    if (expiresAt !== undefined && expiresAt < this.#disk.now()) return
    try {
      await this.#disk.set(key, value, this.#left(expiresAt))
    } catch {
      // A disk cannot hold it, as other values in memory. Nobody waits here who could be told.
    }
  }

  /** What is left of the time of an entry that has not expired. In its last millisecond it is there, hence not 0. */
  #left(expiresAt = Number.POSITIVE_INFINITY): SetOptions {
    if (expiresAt === Number.POSITIVE_INFINITY) return {}
    return { ttl: Math.max(Number.MIN_VALUE, expiresAt - this.#disk.now()) }
  }
}

function tierOptions<T>(value: unknown, name: string): T {
  if (typeof value === 'object' && value !== null) return value as T
  throw invalidOption(name, 'a cache, or the options of one', value)
}
