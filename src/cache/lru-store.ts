import { LRUCache } from 'lru-cache'
import type { EvictionCause } from './cache.ts'
import type { EntryInfo, EntryStore, EntryStoreOptions, RemovedEntry } from './entry-store.ts'

/** The entries of a cache with the policy `lru`, in a cache of the package `lru-cache`. */
export class LruStore<V> implements EntryStore<V> {
  readonly #options: EntryStoreOptions<V>
  // The values of that package's types must be objects or primitives other than undefined, which V is.
  readonly #entries: LRUCache<string, V & {}>
  #removed: RemovedEntry<V>[] = []
  /** Of the next entry that makes room. */
  #cause: EvictionCause = 'bytes'

  constructor(options: EntryStoreOptions<V>) {
    const { maxEntries, maxBytes, now } = options
    this.#options = options
    const settings = {
      // Else it reads the clock only once a millisecond, of real time.
      ttlResolution: 0,
      // It takes a start at 0 for none at all.
      perf: { now: () => now() + 1 },
      dispose: (value: V & {}, key: string, reason: LRUCache.DisposeReason): void => {
        if (reason !== 'evict' && reason !== 'expire') return
        const cause = reason === 'expire' ? 'expired' : this.#cause
        this.#removed.push({ key, value, cause, expiresAt: this.#expiryOf(key) })
        this.#cause = 'bytes'
      },
    }
    const weight = maxBytes === undefined ? {} : { maxSize: maxBytes }
    this.#entries = new LRUCache<string, V & {}>(
      maxEntries === undefined
        ? { ...settings, maxSize: maxBytes as number }
        : { ...settings, ...weight, max: maxEntries },
    )
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#entries.calculatedSize
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key)
    if (this.#removed.length > 0) this.#report()
    return value
  }

  has(key: string): boolean {
    return this.#entries.has(key)
  }

  set(key: string, value: V, bytes: number, ttl: number | undefined): void {
    const { maxEntries, maxBytes } = this.#options
    const crowded =
      maxEntries !== undefined &&
      this.#entries.size >= maxEntries &&
      // It is here also if it has expired, which has() denies.
      this.#entries.info(key) === undefined
    // Room is made for the entry first, and then for its bytes.
    this.#cause = crowded ? 'entries' : 'bytes'
    this.#entries.set(key, value as V & {}, {
      ...(maxBytes !== undefined && { size: bytes }),
      // 0 is none: left out, an entry that is set anew would keep that of the one before.
      ttl: ttl ?? 0,
    })
    if (this.#removed.length > 0) this.#report()
  }

  delete(key: string): boolean {
    // An entry that has expired is not there.
    const existed = this.#entries.has(key)
    this.#entries.delete(key)
    return existed
  }

  clear(): void {
    this.#entries.clear()
  }

  keys(): Iterable<string> {
    return this.#entries.keys()
  }

  info(key: string): EntryInfo | undefined {
    if (!this.#entries.has(key)) return undefined
    return { bytes: this.#entries.info(key)?.size ?? 0, expiresAt: this.#expiryOf(key) }
  }

  purgeExpired(): void {
    this.#entries.purgeStale()
    this.#report()
  }

  #expiryOf(key: string): number {
    return this.#options.now() + this.#entries.getRemainingTTL(key)
  }

  #report(): void {
    const removed = this.#removed
    this.#removed = []
    for (const entry of removed) this.#options.onRemoved(entry)
  }
}
