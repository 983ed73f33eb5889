import type { EvictionCause } from './cache.ts'

/** An entry that went. */
export interface RemovedEntry<V> {
  readonly key: string
  readonly value: V
  readonly cause: EvictionCause | 'expired'
  /** Infinity if it would not have expired. */
  readonly expiresAt: number
}

/** What a {@link EntryStore} is bounded by, and whom it tells. */
export interface EntryStoreOptions<V> {
  readonly maxEntries: number | undefined
  readonly maxBytes: number | undefined
  /** The time in milliseconds. */
  readonly now: () => number
  /** Called for each entry that went without being asked to, once the store is whole again. */
  readonly onRemoved: (entry: RemovedEntry<V>) => void
}

/** What is kept of an entry beside its value. */
export interface EntryInfo {
  readonly bytes: number
  /** Infinity if it does not expire. */
  readonly expiresAt: number
}

/**
 * A bounded map: what a memory cache is made of. An entry older than its TTL is removed when it is met by `get`, or by
 * `purgeExpired`; to the other calls it is not there.
 */
export interface EntryStore<V> {
  readonly size: number
  readonly bytes: number
  /** Counts as a use. */
  get(key: string): V | undefined
  has(key: string): boolean
  /** Room is made before the entry comes in. `bytes` is no more than the bound. */
  set(key: string, value: V, bytes: number, ttl: number | undefined): void
  delete(key: string): boolean
  clear(): void
  keys(): Iterable<string>
  info(key: string): EntryInfo | undefined
  purgeExpired(): void
}
