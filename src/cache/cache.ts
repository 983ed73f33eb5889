import type { MaybePromise } from '../core/maybe-promise.ts'

/** Why an entry had to go: there were too many entries, or too many bytes. */
export type EvictionCause = 'entries' | 'bytes'

/** How an entry is set. */
export interface SetOptions {
  /** Milliseconds from now on for which the entry is answered; the cache's own `ttl` where it is left out. */
  readonly ttl?: number
}

/** What a cache knows of an entry beside its value. */
export interface EntryMetadata {
  /** Where the entry is. */
  readonly tier: 'memory' | 'disk'
  /** What it takes, in bytes; 0 in a memory cache that has no bound in bytes, and so does not measure. */
  readonly bytes: number
  /** When it expires, by the cache's clock; absent if it does not. */
  readonly expiresAt?: number
}

/** What a cache, or a tier of one, has done since it was made. */
export interface CacheStats {
  readonly hits: number
  readonly misses: number
  /** `hits / (hits + misses)`; 0 without any. */
  readonly hitRatio: number
  /** Entries held. Those that expired count until they are met, or reclaimed. */
  readonly entries: number
  /** Bytes they take: by `sizeOf` in memory (0 where there is no bound in bytes), of the files on disk. */
  readonly bytes: number
  /** Entries that had to go, by cause. */
  readonly evictions: { readonly entries: number; readonly bytes: number; readonly expired: number }
  /** Entries that were not taken, since one alone would not fit. */
  readonly rejected: number
  /** What is wrong with the storage of the cache, which has gone on as an empty one. Absent as long as nothing is. */
  readonly failure?: string
  /** The same for each tier. */
  readonly tiers?: Readonly<Record<'memory' | 'disk', CacheStats>>
}

/** What a cache tells of, by the name of the event. */
export interface CacheEvents<V> {
  /** An entry had to make room. The value is given where it is at hand: not by a cache on disk. */
  evict: {
    readonly key: string
    readonly value?: V
    readonly cause: EvictionCause
    /** When it would have expired; absent if it would not. */
    readonly expiresAt?: number
  }
  /** An entry was found to have expired. */
  expire: { readonly key: string; readonly value?: V }
  /** The storage failed, and the cache goes on without it. Told once. */
  error: Error
}

/**
 * What all caches have in common. A cache in memory answers at once, one on disk with promises: `await` serves both.
 *
 * A cache may forget anything at any time, but never answers with anything but what was last set.
 */
export interface Cache<V = unknown> {
  /** The value, or `undefined` where there is none; counts as a hit or a miss, and as a use of the entry. */
  get(key: string): MaybePromise<V | undefined>
  /**
   * Sets an entry. One too large for the cache is not taken; what the key held before is gone then as well.
   *
   * @throws {InvalidArgumentError} for a key that is not a string, a value that is `undefined`, or a bad TTL.
   */
  set(key: string, value: V, options?: SetOptions): MaybePromise<void>
  /** Whether there is an entry. Not a use of it. */
  has(key: string): MaybePromise<boolean>
  /** Removes an entry. Says whether there was one. */
  delete(key: string): MaybePromise<boolean>
  /** Removes all entries. */
  clear(): MaybePromise<void>
  /** The keys of the entries, in no particular order. */
  keys(): Iterable<string> | AsyncIterable<string>
  /** How many entries there are. In memory those that expired count until they are met, or reclaimed. */
  size(): MaybePromise<number>
  /** What is known of an entry; `undefined` where there is none. Not a use of it. */
  metadata(key: string): MaybePromise<EntryMetadata | undefined>
  /** What happened since the cache was made. */
  stats(): CacheStats
  /** Calls `listener` at each event of a kind. Returns what ends that. */
  on<E extends keyof CacheEvents<V>>(event: E, listener: (event: CacheEvents<V>[E]) => void): () => void
  /** Lets go of everything. A cache on disk first writes what it has yet to write. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
