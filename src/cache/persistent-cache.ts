import { CacheError, InvalidArgumentError } from '../core/errors.ts'
import { callback, checkOptions, nonEmptyString, positiveInteger } from '../core/options.ts'
import { decodeValue, encodeValue } from '../core/value-codec.ts'
import type { Cache, CacheEvents, CacheStats, EntryMetadata, SetOptions } from './cache.ts'
import { CacheCounters } from './cache-counters.ts'
import { CacheListeners } from './cache-events.ts'
import { checkCacheValue, checkDiskKey, duration, ttlOf } from './cache-options.ts'
import { loadSegments } from './load-segments.ts'
import { Segment } from './segment.ts'
import { encodeSegmentRecord, payloadOf, REMOVED } from './segment-format.ts'

/** How a {@link PersistentCache} is made. */
export interface PersistentCacheOptions {
  /** The folder of the cache; created if absent. It belongs to one cache of one process at a time. */
  readonly path: string
  /** At most so many bytes of files. Default 256 MiB. An entry may take a quarter of it. */
  readonly maxBytes?: number
  /** Milliseconds after which an entry that was set without a TTL of its own is gone. Default: never. */
  readonly ttl?: number
  /** The time in milliseconds since 1970, for tests. Default `Date.now`. */
  readonly now?: () => number
}

const DEFAULT_MAX_BYTES = 256 * 1024 * 1024
/** About so many segments share the bytes: the oldest is what makes room, so that one is a small part of all. */
const SEGMENTS = 16
const MAX_SEGMENT_BYTES = 16 * 1024 * 1024
/** Each segment is an open file. Every opening begins a new one, so that they also come to be many where little is written. */
const MAX_SEGMENTS = 64
/** Making a file takes longer than writing one of this size. */
const MIN_SEGMENT_BYTES = 64 * 1024
/** An entry takes at most this part of the bytes. */
const MAX_ENTRY_SHARE = 4
/** What has expired is looked for every so many milliseconds. */
const SWEEP_INTERVAL = 60_000

const EMPTY = Buffer.alloc(0)

/** Where an entry is. */
interface Entry {
  readonly segment: Segment
  readonly offset: number
  readonly length: number
  readonly kind: number
  readonly expiresAt: number
  /** Whether it was read since it was written, so that it is worth keeping. */
  used: boolean
}

/** A record that is yet to be written. */
interface Waiting {
  readonly record: Buffer
  readonly kind: number
  readonly expiresAt: number
}

/**
 * A bounded cache on disk, which survives the end of the process, whatever that end was.
 *
 * Entries are appended to segment files with checksums; the oldest segment makes room, and what was read since it was
 * written moves on to the newest. Nothing is taken from a file that is damaged. If the folder cannot be used, the cache
 * goes on as an empty one: it says so by the event `error`, once, and in `stats().failure`, and no call fails.
 *
 * Values are what a store can hold, and are copied. It opens with the first call, or by {@link PersistentCache.open}. For
 * each entry the process holds its key and place in memory.
 *
 * @throws {InvalidArgumentError} for a bound that is not a whole number above 0, a TTL that is not above 0, or an option
 * that is not known.
 *
 * @example
 * ```ts
 * import { PersistentCache } from 'varve/cache'
 *
 * await using cache = new PersistentCache<{ name: string }>({ path: './cache', maxBytes: 10_000_000 })
 * await cache.set('ada', { name: 'Ada' }, { ttl: 86_400_000 })
 * console.log(await cache.get('ada')) // → { name: 'Ada' }
 * ```
 */
export class PersistentCache<V = unknown> implements Cache<V> {
  readonly #path: string
  readonly #maxBytes: number
  readonly #segmentBytes: number
  readonly #ttl: number | undefined
  readonly #now: () => number
  readonly #counters = new CacheCounters()
  readonly #listeners = new CacheListeners<V>()
  /** In the order in which they were written, so that the entries of the oldest segment come first. */
  readonly #index = new Map<string, Entry>()
  /** Oldest first; the last is appended to. */
  #segments: Segment[] = []
  /** Set since the last write began, and being written. The former is newer, and both are newer than the index. */
  #waiting = new Map<string, Waiting>()
  #writing = new Map<string, Waiting>()
  #clearing = false
  #opening: Promise<void> | undefined
  #ready = false
  #failure: CacheError | undefined
  #closed = false
  #work: Promise<void> = Promise.resolve()
  #flushing: Promise<void> | undefined
  #sweeper: NodeJS.Timeout | undefined

  constructor(options: PersistentCacheOptions) {
    const checked = checkOptions<PersistentCacheOptions>(
      options,
      { path: nonEmptyString, maxBytes: positiveInteger, ttl: duration, now: callback },
      'PersistentCache()',
    )
    if (checked.path === undefined) {
      throw new InvalidArgumentError('PersistentCache() needs the option "path": the folder of the cache.')
    }
    this.#path = checked.path
    this.#maxBytes = checked.maxBytes ?? DEFAULT_MAX_BYTES
    this.#segmentBytes = Math.min(
      Math.max(this.#maxBytes / SEGMENTS, MIN_SEGMENT_BYTES),
      this.#maxBytes / MAX_ENTRY_SHARE,
      Math.max(MAX_SEGMENT_BYTES, (2 * this.#maxBytes) / MAX_SEGMENTS),
    )
    this.#ttl = checked.ttl
    this.#now = checked.now ?? Date.now
  }

  /** Opens the folder, which the first call does otherwise. @throws {CacheError} if it cannot be used. */
  async open(): Promise<void> {
    await this.#open()
    if (this.#failure !== undefined) throw this.#failure
  }

  async get(key: string): Promise<V | undefined> {
    if (!this.#ready) await this.#open()
    return this.read(key)?.value
  }

  /**
   * Resolves once the entry would survive the death of the process.
   *
   * @throws {UnserializableValueError}
   * @throws {InvalidArgumentError} as all caches do, and for a key with half of a surrogate pair, which UTF-8 cannot tell
   * from others.
   */
  async set(key: string, value: V, options?: SetOptions): Promise<void> {
    checkDiskKey(key)
    checkCacheValue(value)
    const ttl = ttlOf(options, this.#ttl)
    // Encoded before the first wait, so that what the caller does to the value afterwards changes nothing.
    const { codec, bytes } = encodeValue(value)
    const expiresAt = ttl === undefined ? Number.POSITIVE_INFINITY : this.#now() + ttl
    const record = encodeSegmentRecord(key, codec, bytes, expiresAt)
    if (!this.#ready) await this.#open()
    if (record.length > this.#maxBytes / MAX_ENTRY_SHARE) {
      this.#counters.rejected++
      await this.#remove(key)
      return
    }
    await this.#put(key, { record, kind: codec, expiresAt })
  }

  async has(key: string): Promise<boolean> {
    return (await this.metadata(key)) !== undefined
  }

  async delete(key: string): Promise<boolean> {
    if (!this.#ready) await this.#open()
    const existed = this.#find(key) !== undefined
    await this.#remove(key)
    return existed
  }

  async clear(): Promise<void> {
    if (!this.#ready) await this.#open()
    if (!this.#ready) return
    this.#index.clear()
    this.#waiting.clear()
    this.#writing.clear()
    this.#clearing = true
    await this.#flush()
  }

  async *keys(): AsyncGenerator<string, void, undefined> {
    if (!this.#ready) await this.#open()
    const keys = new Set([...this.#index.keys(), ...this.#writing.keys(), ...this.#waiting.keys()])
    for (const key of keys) if (this.#find(key) !== undefined) yield key
  }

  /** Looks at each entry: those that have expired do not count. */
  async size(): Promise<number> {
    let size = 0
    for await (const _ of this.keys()) size++
    return size
  }

  async metadata(key: string): Promise<EntryMetadata | undefined> {
    if (!this.#ready) await this.#open()
    const found = this.#find(key)
    if (found === undefined) return undefined
    const { expiresAt } = found
    const bytes = 'record' in found ? found.record.length : found.length
    return { tier: 'disk', bytes, ...(Number.isFinite(expiresAt) && { expiresAt }) }
  }

  stats(): CacheStats {
    const stats = this.#counters.report(this.#count(), this.#totalBytes())
    return this.#failure === undefined ? stats : { ...stats, failure: this.#failure.message }
  }

  /** Removes the entries that have expired, and gives their room back. This happens every minute by itself. */
  async purgeExpired(): Promise<void> {
    if (!this.#ready) await this.#open()
    for (const [key, { expiresAt }] of this.#index) if (this.#now() > expiresAt) this.#expire(key)
    await this.#enqueue(() => this.#reclaim())
  }

  on<E extends keyof CacheEvents<V>>(event: E, listener: (event: CacheEvents<V>[E]) => void): () => void {
    return this.#listeners.add(event, listener)
  }

  /** Whether an entry is here, if that is known already. @internal */
  holds(key: string): boolean {
    return this.#find(key) !== undefined
  }

  /** Whether it has been opened, and neither failed nor been closed. @internal */
  get ready(): boolean {
    return this.#ready
  }

  /** What `get` does, for a cache that is ready; with the time at which the entry expires. @internal */
  read(key: string): { readonly value: V; readonly expiresAt: number } | undefined {
    const found = this.#read(key)
    if (found === undefined) this.#counters.misses++
    else this.#counters.hits++
    return found
  }

  /** The time by this cache's clock. @internal */
  now(): number {
    return this.#now()
  }

  /** How many entries are yet to be written. @internal */
  get backlog(): number {
    return this.#waiting.size
  }

  /** Writes what is yet to be written, and closes the files. Later calls find the cache empty. */
  async close(): Promise<void> {
    if (this.#closed) return this.#work
    this.#closed = true
    clearInterval(this.#sweeper)
    await this.#opening
    if (this.#failure === undefined) await this.#flush()
    await this.#enqueue(async () => {
      const last = this.#segments.at(-1)
      for (const segment of this.#segments) {
        // The last one is not known to any other yet.
        if (segment === last && segment.isEmpty) await segment.remove()
        else await segment.close()
      }
    })
    this.#forgetAll()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  // ---- opening

  #open(): Promise<void> {
    this.#opening ??= this.#closed
      ? Promise.resolve()
      : this.#load().then(
          () => {
            this.#ready = true
          },
          error => this.#fail(error, 'be opened'),
        )
    return this.#opening
  }

  async #load(): Promise<void> {
    for (const { segment, records } of await loadSegments(this.#path)) {
      this.#segments.push(segment)
      for (const { key, kind, expiresAt, offset, length } of records) {
        this.#forget(key)
        if (kind !== REMOVED) this.#note(key, { segment, offset, length, kind, expiresAt, used: false })
      }
    }
    for (const [key, { expiresAt }] of this.#index) if (this.#now() > expiresAt) this.#expire(key)
    await this.#beginSegment()
    await this.#makeRoom(0)
    await this.#reclaim()
  }

  /** The storage is of no use any more: the cache goes on as an empty one. */
  async #fail(cause: unknown, what: string): Promise<void> {
    if (this.#failure !== undefined) return
    const reason = cause instanceof Error ? cause.message : String(cause)
    this.#failure = new CacheError(
      `The cache in ${JSON.stringify(this.#path)} cannot ${what}: ${reason}. It is left out until it is opened anew; make the folder writable, free space, or choose another.`,
      { cause },
    )
    this.#ready = false
    this.#opening = Promise.resolve()
    clearInterval(this.#sweeper)
    const segments = this.#segments
    this.#forgetAll()
    // They may hold what was to be replaced by what cannot be written.
    for (const segment of segments) await segment.remove().catch(() => undefined)
    this.#listeners.emit('error', this.#failure)
  }

  #forgetAll(): void {
    this.#segments = []
    this.#index.clear()
    this.#waiting.clear()
    this.#writing.clear()
    this.#ready = false
  }

  // ---- entries

  /** What is there for a key and has not expired. */
  #find(key: string): Waiting | Entry | undefined {
    const found = this.#waiting.get(key) ?? this.#writing.get(key) ?? this.#index.get(key)
    return found === undefined || found.kind === REMOVED || this.#now() > found.expiresAt ? undefined : found
  }

  #read(key: string): { readonly value: V; readonly expiresAt: number } | undefined {
    const found = this.#waiting.get(key) ?? this.#writing.get(key) ?? this.#index.get(key)
    if (found === undefined || found.kind === REMOVED) return undefined
    if (this.#now() > found.expiresAt) {
      if (this.#index.get(key) === found) this.#expire(key)
      return undefined
    }
    const payload = 'record' in found ? payloadOf(found.record, key) : this.#readPayload(key, found)
    if (payload === undefined) return undefined
    try {
      return { value: decodeValue(found.kind, payload) as V, expiresAt: found.expiresAt }
    } catch {
      // Written by a newer version of Node.js.
      return undefined
    }
  }

  #readPayload(key: string, entry: Entry): Buffer | undefined {
    const record = this.#readRecord(entry)
    const payload = record && payloadOf(record, key)
    if (payload === undefined) this.#forget(key)
    else entry.used = true
    return payload
  }

  /** The bytes of a record, if all of them are there. */
  #readRecord({ segment, offset, length }: Entry): Buffer | undefined {
    try {
      const record = segment.read(offset, length)
      return record.length === length ? record : undefined
    } catch {
      return undefined
    }
  }

  #note(key: string, entry: Entry): void {
    this.#index.set(key, entry)
    entry.segment.live += entry.length
    if (Number.isFinite(entry.expiresAt) && this.#sweeper === undefined) {
      this.#sweeper = setInterval(() => void this.purgeExpired(), SWEEP_INTERVAL)
      this.#sweeper.unref()
    }
  }

  #forget(key: string): boolean {
    const entry = this.#index.get(key)
    if (entry === undefined) return false
    entry.segment.live -= entry.length
    return this.#index.delete(key)
  }

  #expire(key: string): void {
    this.#forget(key)
    this.#counters.expired++
    this.#listeners.emit('expire', { key })
  }

  #count(): number {
    let count = this.#index.size
    for (const [key, { kind }] of this.#writing) count += this.#waiting.has(key) || kind === REMOVED ? 0 : 1
    for (const { kind } of this.#waiting.values()) count += kind === REMOVED ? 0 : 1
    return count
  }

  #totalBytes(): number {
    return this.#segments.reduce((sum, { length }) => sum + length, 0)
  }

  // ---- writing

  #put(key: string, waiting: Waiting): Promise<void> {
    if (!this.#ready) return Promise.resolve()
    this.#forget(key)
    this.#waiting.set(key, waiting)
    return this.#flush()
  }

  async #remove(key: string): Promise<void> {
    if (!this.#index.has(key) && !this.#writing.has(key) && !this.#waiting.has(key)) return
    const expiresAt = Number.POSITIVE_INFINITY
    const record = encodeSegmentRecord(key, REMOVED, EMPTY, expiresAt)
    await this.#put(key, { record, kind: REMOVED, expiresAt })
  }

  /** Runs after the work before it. A failure ends the use of the storage. */
  #enqueue(work: () => Promise<void>): Promise<void> {
    const guarded = async (): Promise<void> => {
      if (this.#failure !== undefined) return
      try {
        await work()
      } catch (error) {
        await this.#fail(error, 'be written')
      }
    }
    this.#work = this.#work.then(guarded)
    return this.#work
  }

  /** Writes all that waits. Calls that come before it begins share it. */
  #flush(): Promise<void> {
    this.#flushing ??= this.#enqueue(async () => {
      this.#flushing = undefined
      if (this.#clearing) {
        this.#clearing = false
        await this.#removeSegments()
      }
      this.#writing = this.#waiting
      this.#waiting = new Map()
      await this.#write([...this.#writing])
      await this.#reclaim()
    })
    return this.#flushing
  }

  /** Appends records, as many at once as a segment takes. */
  async #write(records: readonly [string, Waiting][]): Promise<void> {
    let batch: [string, Waiting][] = []
    let bytes = 0
    for (const item of records) {
      const { length } = item[1].record
      if (batch.length > 0 && bytes + length > this.#segmentBytes) {
        await this.#append(batch, bytes)
        batch = []
        bytes = 0
      }
      batch.push(item)
      bytes += length
    }
    if (batch.length > 0) await this.#append(batch, bytes)
  }

  async #append(batch: readonly [string, Waiting][], bytes: number): Promise<void> {
    const active = this.#segments.at(-1) as Segment
    if (active.live > 0 && active.length + bytes > this.#segmentBytes) await this.#beginSegment()
    await this.#makeRoom(bytes)
    await this.#appendTo(this.#segments.at(-1) as Segment, batch)
  }

  async #appendTo(segment: Segment, batch: readonly [string, Waiting][]): Promise<void> {
    let offset = await segment.append(Buffer.concat(batch.map(([, { record }]) => record)))
    for (const [key, waiting] of batch) {
      const { record, kind, expiresAt } = waiting
      // What was set, or cleared, meanwhile is newer.
      const isNewest = this.#writing.get(key) === waiting && !this.#waiting.has(key)
      if (isNewest && kind !== REMOVED) {
        this.#note(key, { segment, offset, length: record.length, kind, expiresAt, used: false })
      }
      if (this.#writing.get(key) === waiting) this.#writing.delete(key)
      offset += record.length
    }
  }

  async #beginSegment(): Promise<void> {
    const last = this.#segments.at(-1)
    const previous = { number: last?.number ?? 0, length: last?.length ?? 0 }
    this.#segments.push(await Segment.create(this.#path, previous.number + 1, previous))
  }

  async #removeSegments(): Promise<void> {
    const number = this.#segments.at(-1)?.number ?? 0
    // The new one first: should the process die in between, it says that nothing was before it.
    const first = await Segment.create(this.#path, number + 1, { number: 0, length: 0 })
    const segments = this.#segments
    this.#segments = [first]
    for (const segment of segments) await segment.remove()
  }

  // ---- room

  /** Lets the oldest segments go until there is room for so many bytes. What was read since it was written stays. */
  async #makeRoom(bytes: number): Promise<void> {
    while (this.#totalBytes() + bytes > this.#maxBytes) {
      if (this.#segments.length === 1) await this.#beginSegment()
      const room = this.#segmentBytes / 2
      let kept = 0
      await this.#removeOldest(entry => {
        if (!entry.used || kept + entry.length > room) return false
        kept += entry.length
        return true
      })
    }
  }

  /** Moves what is left of old segments together, where more than half of the bytes are of nobody any more, or there are too many. */
  async #reclaim(): Promise<void> {
    for (;;) {
      const live = this.#segments.reduce((sum, segment) => sum + segment.live, 0)
      const dead = this.#totalBytes() - live
      const crowded = this.#segments.length > MAX_SEGMENTS
      if (this.#segments.length < 2 || (!crowded && dead <= Math.max(this.#segmentBytes, live))) return
      await this.#removeOldest(() => true)
    }
  }

  /** Removes the oldest segment. The entries to keep move to the newest one. */
  async #removeOldest(keeps: (entry: Entry) => boolean): Promise<void> {
    const oldest = this.#segments[0] as Segment
    const moved: [string, Waiting][] = []
    for (const [key, entry] of this.#index) {
      if (entry.segment !== oldest) break
      const record = keeps(entry) ? this.#readRecord(entry) : undefined
      this.#forget(key)
      if (record !== undefined && payloadOf(record, key) !== undefined) {
        const moving = { record, kind: entry.kind, expiresAt: entry.expiresAt }
        this.#writing.set(key, moving)
        moved.push([key, moving])
      } else this.#evicted(key, entry)
    }
    this.#segments.shift()
    await oldest.remove()
    if (moved.length > 0) await this.#appendTo(this.#segments.at(-1) as Segment, moved)
  }

  #evicted(key: string, { expiresAt }: Entry): void {
    this.#counters.evicted.bytes++
    this.#listeners.emit('evict', { key, cause: 'bytes', ...(Number.isFinite(expiresAt) && { expiresAt }) })
  }
}
