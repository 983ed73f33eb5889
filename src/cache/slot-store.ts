import type { EntryInfo, EntryStore, EntryStoreOptions, RemovedEntry } from './entry-store.ts'
import type { EvictionPolicy, PolicyFactory } from './eviction-policy.ts'
import { enlarged } from './slot-list.ts'

const FIRST_CAPACITY = 64

/**
 * The entries of a cache in slots: a map from keys to slots, and what is kept of a slot in arrays. A policy decides
 * which goes.
 */
export class SlotStore<V> implements EntryStore<V> {
  readonly #options: EntryStoreOptions<V>
  readonly #policy: EvictionPolicy
  readonly #slots = new Map<string, number>()
  readonly #keys: (string | undefined)[] = []
  readonly #values: (V | undefined)[] = []
  readonly #free: number[] = []
  #capacity = 0
  /** Made with the first entry that expires. */
  #expiresAt: Float64Array<ArrayBuffer> | undefined
  /** Made if there is a bound in bytes. */
  #sizes: Float64Array<ArrayBuffer> | undefined
  #bytes = 0

  constructor(options: EntryStoreOptions<V>, makePolicy: PolicyFactory) {
    this.#options = options
    if (options.maxBytes !== undefined) this.#sizes = new Float64Array(0)
    this.#policy = makePolicy({
      key: slot => this.#keys[slot] as string,
      expiresAt: slot => this.#expiryOf(slot),
    })
  }

  get size(): number {
    return this.#slots.size
  }

  get bytes(): number {
    return this.#bytes
  }

  get(key: string): V | undefined {
    const slot = this.#slots.get(key)
    if (slot === undefined) return undefined
    if (this.#expiresAt !== undefined && this.#isExpired(slot)) {
      this.#expire(slot)
      return undefined
    }
    this.#policy.hit(slot)
    return this.#values[slot]
  }

  has(key: string): boolean {
    const slot = this.#slots.get(key)
    return slot !== undefined && !this.#isExpired(slot)
  }

  set(key: string, value: V, bytes: number, ttl: number | undefined): void {
    const known = this.#slots.get(key)
    if (known !== undefined) this.#detach(known, key)
    const { maxEntries, maxBytes } = this.#options
    const evicted: RemovedEntry<V>[] = []
    for (;;) {
      const crowded = maxEntries !== undefined && this.#slots.size >= maxEntries
      const heavy = maxBytes !== undefined && this.#bytes + bytes > maxBytes
      if (!crowded && !heavy) break
      const slot = this.#policy.victim()
      evicted.push(this.#takeOut(slot, crowded ? 'entries' : 'bytes'))
    }
    const slot = known ?? this.#takeSlot()
    this.#slots.set(key, slot)
    this.#keys[slot] = key
    this.#values[slot] = value
    this.#bytes += bytes
    if (this.#sizes !== undefined) this.#sizes[slot] = bytes
    this.#setExpiry(slot, ttl)
    this.#policy.insert(slot, key, known !== undefined)
    // Last: a listener may call the cache.
    for (const entry of evicted) this.#options.onRemoved(entry)
  }

  delete(key: string): boolean {
    const slot = this.#slots.get(key)
    if (slot === undefined) return false
    const existed = !this.#isExpired(slot)
    this.#release(slot)
    return existed
  }

  clear(): void {
    for (const slot of this.#slots.values()) this.#release(slot)
  }

  *keys(): IterableIterator<string> {
    for (const [key, slot] of this.#slots) if (!this.#isExpired(slot)) yield key
  }

  info(key: string): EntryInfo | undefined {
    const slot = this.#slots.get(key)
    if (slot === undefined || this.#isExpired(slot)) return undefined
    return { bytes: this.#sizes?.[slot] ?? 0, expiresAt: this.#expiryOf(slot) }
  }

  purgeExpired(): void {
    for (const slot of [...this.#slots.values()]) if (this.#isExpired(slot)) this.#expire(slot)
  }

  #isExpired(slot: number): boolean {
    const expiresAt = this.#expiryOf(slot)
    return expiresAt !== Number.POSITIVE_INFINITY && this.#options.now() > expiresAt
  }

  #expiryOf(slot: number): number {
    return this.#expiresAt?.[slot] ?? Number.POSITIVE_INFINITY
  }

  #setExpiry(slot: number, ttl: number | undefined): void {
    if (this.#expiresAt === undefined) {
      if (ttl === undefined) return
      this.#expiresAt = new Float64Array(this.#capacity).fill(Number.POSITIVE_INFINITY)
    }
    this.#expiresAt[slot] = ttl === undefined ? Number.POSITIVE_INFINITY : this.#options.now() + ttl
  }

  #takeSlot(): number {
    const slot = this.#free.pop() ?? this.#keys.length
    if (slot === this.#capacity) {
      const limit = this.#options.maxEntries ?? Number.POSITIVE_INFINITY
      this.#capacity = Math.min(limit, Math.max(FIRST_CAPACITY, 2 * this.#capacity))
      if (this.#expiresAt !== undefined) this.#expiresAt = enlarged(this.#expiresAt, this.#capacity)
      if (this.#sizes !== undefined) this.#sizes = enlarged(this.#sizes, this.#capacity)
      this.#policy.grow(this.#capacity)
    }
    return slot
  }

  /** Takes an entry out; its slot is still its own. */
  #detach(slot: number, key: string): void {
    this.#slots.delete(key)
    this.#policy.remove(slot, key)
    this.#bytes -= this.#sizes?.[slot] ?? 0
  }

  #release(slot: number): void {
    this.#detach(slot, this.#keys[slot] as string)
    this.#keys[slot] = undefined
    this.#values[slot] = undefined
    this.#free.push(slot)
  }

  #takeOut(slot: number, cause: RemovedEntry<V>['cause']): RemovedEntry<V> {
    const [key, value, expiresAt] = [
      this.#keys[slot] as string,
      this.#values[slot] as V,
      this.#expiryOf(slot),
    ]
    this.#release(slot)
    return { key, value, cause, expiresAt }
  }

  #expire(slot: number): void {
    this.#options.onRemoved(this.#takeOut(slot, 'expired'))
  }
}
