import { LRUCache } from 'lru-cache'
import type { EvictionCause } from './cache.ts'
import type { EntryInfo, EntryStore, EntryStoreOptions, RemovedEntry } from './entry-store.ts'

/** That package sets room aside for as many entries as it may hold; beyond so many they are counted here instead. */
const MAX_PREPARED = 1_000_000

/** The entries of a cache with the policy `lru`, in a cache of the package `lru-cache`. */
export class LruStore<V> implements EntryStore<V> {
  readonly #options: EntryStoreOptions<V>
  // The values of that package's types must be objects or primitives other than undefined, which V is.
  readonly #entries: LRUCache<string, V & {}>
  /** Whether the package bounds the number of entries. */
  readonly #isPrepared: boolean
  readonly #isWeighed: boolean
  #removed: RemovedEntry<V>[] = []
  /** Of the next entry that makes room. */
  #cause: EvictionCause = 'bytes'

  /** @param maxPrepared Tests set it low. */
  constructor(options: EntryStoreOptions<V>, maxPrepared = MAX_PREPARED) {
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
    this.#isPrepared = maxEntries !== undefined && maxEntries <= maxPrepared
    this.#isWeighed = maxBytes !== undefined || !this.#isPrepared
    const weight = this.#isWeighed ? { maxSize: maxBytes ?? Number.MAX_SAFE_INTEGER } : {}
    this.#entries = new LRUCache<string, V & {}>(
      this.#isPrepared
        ? { ...settings, ...weight, max: maxEntries as number }
        : { ...settings, maxSize: Number.MAX_SAFE_INTEGER, ...weight },
    )
  }

  get size(): number {
    return this.#entries.size
  }

  get bytes(): number {
    return this.#options.maxBytes === undefined ? 0 : this.#entries.calculatedSize
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
    const { maxEntries } = this.#options
    const crowded =
      maxEntries !== undefined &&
      this.#entries.size >= maxEntries &&
      // It is here also if it has expired, which has() denies.
      this.#entries.info(key) === undefined
    // Room is made for the entry first, and then for its bytes.
    this.#cause = crowded ? 'entries' : 'bytes'
    if (crowded && !this.#isPrepared) this.#entries.pop()
    // Else the same value would keep the weight that it had, though it may have grown.
    if (this.#isWeighed && this.#entries.peek(key, { allowStale: true }) === value) this.#entries.delete(key)
    this.#entries.set(key, value as V & {}, {
      ...(this.#isWeighed && { size: Math.max(1, bytes) }),
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
    const bytes = this.#options.maxBytes === undefined ? 0 : (this.#entries.info(key)?.size ?? 0)
    return { bytes, expiresAt: this.#expiryOf(key) }
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
