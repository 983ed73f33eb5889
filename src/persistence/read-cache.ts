import { randomBytes } from 'node:crypto'
import type { Cache } from '../cache/cache.ts'
import { MemoryCache } from '../cache/memory-cache.ts'
import { TieredCache } from '../cache/tiered-cache.ts'
import type { Logger } from '../core/logger.ts'
import { isPromiseLike, type MaybePromise } from '../core/maybe-promise.ts'
import type { View } from '../engine/engine.ts'
import { type LogEntry, readLog } from '../history/commit-log.ts'
import type { Head } from '../history/head.ts'
import type { History } from '../history/history.ts'
import { readAt, readManyAt } from '../history/reader.ts'
import { decodePayload, type Payload, parseRecord } from '../history/record.ts'
import type { CacheSeal } from './cache-seal.ts'
import type { CachedReads, CacheMetrics, CacheMode } from './cached-reads.ts'
import { type CachedRecord, decodeCachedRecord, encodeCachedRecord } from './cached-record.ts'
import { KnownChanges } from './known-changes.ts'

/** What a {@link ReadCache} is made of. */
export interface ReadCacheOptions {
  readonly history: History
  readonly cache: Cache
  readonly kind: string
  readonly mode: CacheMode
  readonly logger: Logger
  /** Of an encrypted store. */
  readonly seal: CacheSeal | undefined
}

/** In `bounded` mode a read is answered without asking if the last check began less than so many milliseconds ago. */
const MAX_LAG = 100
/** While the cache is used in `bounded` mode, it checks every so many milliseconds. */
const CHECK_INTERVAL = 25
/** The journal is written after so many commits: the log, which continues it, keeps about a thousand. */
const JOURNAL_INTERVAL = 250
/** Under which key the journal is. No key of a store is empty. */
const JOURNAL_KEY = ''

/**
 * A cache of records in front of an engine that is far away.
 *
 * An entry says as of which commit it was read. The commit log names the keys that each commit changed; so an entry
 * is what its key holds now if the log since then is known, up to the newest commit, and does not name the key. To
 * look whether there is a newer commit takes one round trip for the head, a few bytes; that is done at each read
 * (`strong`), or for all reads of a tenth of a second (`bounded`). While a large commit is being rolled forward, reads
 * go past the cache.
 *
 * Nothing depends on the cache to forget: an entry that it brings back, or that another store put there, is found out.
 * For a cache that outlives the process a *journal* is kept in it: how far the log was known, and what it had changed.
 * It is continued if the log still has the very entry at which it ends. A store that was put back to an earlier state,
 * or is another one, has another entry there, or none; then a new *lineage* begins, which the entries of the one before
 * do not belong to.
 */
export class ReadCache implements CachedReads {
  readonly #history: History
  readonly #cache: Cache
  /** Where the journal is, if the cache may outlive the process. */
  readonly #journal: Cache | undefined
  /** Encrypts the entries of a cache that may outlive the process. */
  readonly #seal: CacheSeal | undefined
  readonly #kind: string
  readonly #mode: CacheMode
  readonly #logger: Logger
  #lineage = newLineage()
  #known = new KnownChanges(0)
  /** Which commit it is at which the known ones end; `undefined` where that cannot be told. */
  #mark: string | undefined
  /** How far the journal goes. */
  #journalAt = Number.NEGATIVE_INFINITY
  #freshUntil = 0
  #checking: Promise<boolean> | undefined
  #hits = 0
  #misses = 0
  #used = false
  #timer: NodeJS.Timeout | undefined
  #unsubscribe: (() => void) | undefined
  #failure: string | undefined

  private constructor({ history, cache, kind, mode, logger, seal }: ReadCacheOptions) {
    this.#history = history
    this.#cache = cache
    this.#journal =
      cache instanceof TieredCache ? cache.disk : cache instanceof MemoryCache ? undefined : cache
    this.#seal = this.#journal === undefined ? undefined : seal
    this.#kind = kind
    this.#mode = mode
    this.#logger = logger
    cache.on('error', error => this.#failed(error))
  }

  /** Takes up what is in the cache, as far as it belongs to the store. */
  static async open(options: ReadCacheOptions): Promise<ReadCache> {
    const reads = new ReadCache(options)
    await reads.#continueJournal()
    if (options.mode === 'bounded') reads.#keepFresh()
    return reads
  }

  get(key: string, bytes: Uint8Array): MaybePromise<Payload | undefined> {
    const entry = this.#find(key)
    if (isPromiseLike(entry)) return entry.then(found => this.#getWith(key, bytes, found))
    // At once, where nothing has to be waited for.
    if (entry !== undefined && this.#isFresh() && this.#isCurrent(key, entry)) {
      this.#hit(key, entry)
      return entry.payload
    }
    return this.#getWith(key, bytes, entry)
  }

  async #getWith(
    key: string,
    bytes: Uint8Array,
    entry: CachedRecord | undefined,
  ): Promise<Payload | undefined> {
    if (entry !== undefined && (this.#isFresh() || (await this.#check())) && this.#isCurrent(key, entry)) {
      this.#hit(key, entry)
      return entry.payload
    }
    this.#misses++
    return this.#readThrough(key, bytes)
  }

  async getMany(keys: readonly string[], bytes: readonly Uint8Array[]): Promise<(Payload | undefined)[]> {
    const entries = await Promise.all(keys.map(key => this.#find(key)))
    // All of one moment, the end of what is known: none may have been read after it.
    const isKnown = (key: string, entry: CachedRecord | undefined): entry is CachedRecord =>
      entry !== undefined && entry.sequence <= this.#known.end && this.#isCurrent(key, entry)
    if (!entries.includes(undefined) && (this.#isFresh() || (await this.#check()))) {
      if (keys.every((key, i) => isKnown(key, entries[i]))) {
        for (const [i, key] of keys.entries()) this.#hit(key, entries[i] as CachedRecord)
        return entries.map(entry => entry?.payload)
      }
    }
    // To use what is there takes another round trip, to see that it is current: not for a few of many.
    const there = entries.filter(entry => entry !== undefined).length
    if (8 * there < keys.length) return this.#readManyThrough(keys, bytes)
    const before = this.#known.end
    return this.#history.view(async (view, head) => {
      const settled = head.pending === 0
      if (settled) await this.#follow(view, head, before)
      const isUsable = (key: string, entry: CachedRecord | undefined): entry is CachedRecord =>
        settled && this.#known.end === head.sequence && isKnown(key, entry)
      const payloads = keys.map((key, i) => {
        const entry = entries[i]
        return isUsable(key, entry) ? { entry } : undefined
      })
      const missing = [...keys.keys()].filter(i => payloads[i] === undefined)
      const records = await readManyAt(
        view,
        missing.map(i => bytes[i] as Uint8Array),
        head.epoch,
      )
      this.#misses += missing.length
      for (const [j, i] of missing.entries()) {
        const entry = { lineage: this.#lineage, sequence: head.sequence, payload: records[j] }
        payloads[i] = { entry }
        if (settled) this.#put(keys[i] as string, entry)
      }
      this.#hits += keys.length - missing.length
      return payloads.map(found => found?.entry.payload)
    })
  }

  decode(_key: string, payload: Payload): unknown {
    return decodePayload(payload)
  }

  metrics(): CacheMetrics {
    const stats = this.#cache.stats()
    const hits = this.#hits
    const misses = this.#misses
    const failure = stats.failure ?? this.#failure
    return {
      ...stats,
      kind: this.#kind,
      mode: this.#mode,
      hits,
      misses,
      hitRatio: hits === 0 ? 0 : hits / (hits + misses),
      ...(failure !== undefined && { failure }),
    }
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#unsubscribe?.()
    await this.#checking?.catch(() => undefined)
    await this.#guard(() => this.#writeJournal())
    await this.#guard(() => this.#cache.close())
  }

  // ---- entries

  #find(key: string): MaybePromise<CachedRecord | undefined> {
    const seal = this.#seal
    const name = seal?.name(key) ?? key
    let found: MaybePromise<unknown>
    try {
      found = this.#cache.get(name)
    } catch (error) {
      this.#failed(error)
      return undefined
    }
    const decode = (value: unknown): CachedRecord | undefined => {
      const entry = decodeCachedRecord(seal === undefined ? value : seal.open(name, value))
      return entry?.lineage === this.#lineage ? entry : undefined
    }
    return isPromiseLike(found) ? this.#guard(() => found).then(decode) : decode(found)
  }

  #isCurrent(key: string, { lineage, sequence }: CachedRecord): boolean {
    return lineage === this.#lineage && this.#known.isCurrent(key, sequence)
  }

  #hit(key: string, entry: CachedRecord): void {
    this.#hits++
    this.#used = true
    if (this.#known.isOld(entry.sequence)) this.#put(key, { ...entry, sequence: this.#known.end })
  }

  #put(key: string, entry: CachedRecord): void {
    const seal = this.#seal
    const name = seal?.name(key) ?? key
    const value = encodeCachedRecord(entry)
    void this.#guard(() => this.#cache.set(name, seal?.seal(name, value) ?? value))
  }

  async #readThrough(key: string, bytes: Uint8Array): Promise<Payload | undefined> {
    const before = this.#known.end
    const view = this.#history.engine.read()
    try {
      // Both at once: a miss takes no longer than a read without the cache.
      const [head, stored] = await bothInOrder(this.#history.headIn(view), view.get('live', bytes))
      if (head.pending !== 0) return await readAt(view, bytes, head.epoch)
      const payload = stored === undefined ? undefined : parseRecord(bytes, stored)
      if (head.sequence < before) await this.#beginLineage(view, head)
      this.#put(key, { lineage: this.#lineage, sequence: head.sequence, payload })
      // Entries are of use to a later process if the log reaches back to the journal.
      if (this.#journal !== undefined && head.sequence - this.#journalAt >= JOURNAL_INTERVAL) {
        await this.#follow(view, head, before)
      }
      return payload
    } finally {
      view.close()
    }
  }

  /** {@link ReadCache.#readThrough} for keys of which few are in the cache. */
  async #readManyThrough(
    keys: readonly string[],
    bytes: readonly Uint8Array[],
  ): Promise<(Payload | undefined)[]> {
    const before = this.#known.end
    const view = this.#history.engine.read()
    try {
      const [head, stored] = await bothInOrder(this.#history.headIn(view), view.getMany('live', bytes))
      this.#misses += keys.length
      if (head.pending !== 0) return await readManyAt(view, bytes, head.epoch)
      if (head.sequence < before) await this.#beginLineage(view, head)
      return keys.map((key, i) => {
        const found = stored[i]
        const payload = found === undefined ? undefined : parseRecord(bytes[i] as Uint8Array, found)
        this.#put(key, { lineage: this.#lineage, sequence: head.sequence, payload })
        return payload
      })
    } finally {
      view.close()
    }
  }

  // ---- what is known of the log

  /** Whether a read may be answered without asking. What this process has seen is never unseen. */
  #isFresh(): boolean {
    return (
      this.#mode === 'bounded' &&
      performance.now() < this.#freshUntil &&
      this.#known.end >= this.#history.seenSequence
    )
  }

  /** Learns of all commits up to now. `false` while a large commit is pending. Calls of one turn share a round trip. */
  #check(): Promise<boolean> {
    this.#checking ??= Promise.resolve().then(() => {
      this.#checking = undefined
      const started = performance.now()
      const before = this.#known.end
      return this.#history.view(async (view, head) => {
        if (head.pending !== 0) return false
        await this.#follow(view, head, before)
        this.#freshUntil = started + MAX_LAG
        return true
      })
    })
    return this.#checking
  }

  /**
   * Learns of all commits up to the head of a view; where that cannot be done, forgets everything. `before` is how far the
   * log was known before the view was opened.
   */
  async #follow(view: View, head: Head, before: number): Promise<void> {
    const known = this.#known
    const { end } = known
    // The store was put back to an earlier state, or nobody knows any more what changed.
    if (head.sequence < before || head.logStart > Math.max(end, 1)) return this.#beginLineage(view, head)
    // Others have followed a newer view meanwhile.
    if (head.sequence <= end) return
    const mark = this.#mark
    let last: LogEntry | undefined
    // From the entry on at which the known ones end, to see whether it is the same.
    for await (const entries of readLog(view, Math.max(end - 1, 0), head.sequence)) {
      for (const entry of entries) {
        last = entry
        if (entry.sequence > end) {
          for (const { key } of entry.changes) known.add(this.#history.keys.decode(key), entry.sequence)
        } else if (mark !== undefined && mark !== markOf(entry)) {
          return this.#beginLineage(view, head)
        }
      }
    }
    if (known !== this.#known || head.sequence <= known.end) return
    known.advance(head.sequence)
    this.#mark = last && markOf(last)
    if (known.end - this.#journalAt >= JOURNAL_INTERVAL) await this.#guard(() => this.#writeJournal())
  }

  /** Nothing that was read before counts any more. */
  async #beginLineage(view: View, head: Head): Promise<void> {
    this.#lineage = newLineage()
    this.#known = new KnownChanges(head.sequence)
    this.#journalAt = Number.NEGATIVE_INFINITY
    this.#mark = await markAt(view, head.sequence)
  }

  #keepFresh(): void {
    const check = (): void => {
      // Whoever reads next finds it out by checking itself.
      this.#check().catch(() => undefined)
    }
    this.#timer = setInterval(() => {
      if (this.#used) check()
      this.#used = false
    }, CHECK_INTERVAL)
    this.#timer.unref()
    this.#unsubscribe = this.#history.engine.subscribe?.(check)
  }

  // ---- the journal

  async #continueJournal(): Promise<void> {
    const stored = await this.#guard(() => this.#journal?.get(JOURNAL_KEY))
    const saved = parseJournal(
      this.#seal === undefined ? stored : this.#seal.open(JOURNAL_KEY, stored)?.toString(),
    )
    await this.#history.view(async (view, head) => {
      const { start, end, mark } = saved ?? { start: 0, end: 0, mark: undefined }
      if (saved === undefined || mark === undefined || (await markAt(view, end)) !== mark) {
        await this.#beginLineage(view, head)
        return
      }
      this.#lineage = saved.lineage
      this.#known = new KnownChanges(start, end, saved.changes)
      this.#mark = mark
      this.#journalAt = end
      if (head.pending === 0) await this.#follow(view, head, end)
    })
    await this.#guard(() => this.#writeJournal())
  }

  async #writeJournal(): Promise<void> {
    if (this.#journal === undefined || this.#mark === undefined || this.#journalAt === this.#known.end) return
    const journal: Journal = { ...this.#known.report(), lineage: this.#lineage, mark: this.#mark }
    this.#journalAt = journal.end
    const text = JSON.stringify(journal)
    await this.#journal.set(JOURNAL_KEY, this.#seal?.seal(JOURNAL_KEY, Buffer.from(text)) ?? text)
  }

  // ---- a cache that fails

  /** Runs a call of the cache. If that fails, the store goes on as if nothing was there. */
  async #guard<T>(call: () => T | PromiseLike<T>): Promise<T | undefined> {
    try {
      return await call()
    } catch (error) {
      this.#failed(error)
      return undefined
    }
  }

  #failed(error: unknown): void {
    if (this.#failure !== undefined) return
    this.#failure = error instanceof Error ? error.message : String(error)
    this.#logger.warn({ err: error }, 'varve: the read cache failed; the store goes on without it')
  }
}

interface Journal {
  readonly lineage: number
  readonly start: number
  readonly end: number
  readonly mark: string
  readonly changes: readonly (readonly [string, number])[]
}

function parseJournal(value: unknown): Journal | undefined {
  return typeof value === 'string' ? (JSON.parse(value) as Journal) : undefined
}

function newLineage(): number {
  return randomBytes(6).readUIntLE(0, 6)
}

/** What no two commits have in common: who made it, as which of his operations. */
function markOf({ writer, lastOperation }: LogEntry): string {
  return `${writer}/${lastOperation}`
}

/** The mark of a commit; `undefined` if it is not in the log, or not any more. */
async function markAt(view: View, sequence: number): Promise<string | undefined> {
  if (sequence === 0) return undefined
  for await (const [entry] of readLog(view, sequence - 1, sequence)) return entry && markOf(entry)
  return undefined
}

/** Two answers that were asked for in this order. If both fail, the first says why: the other may only follow from it. */
async function bothInOrder<A, B>(first: MaybePromise<A>, second: MaybePromise<B>): Promise<[A, B]> {
  if (isPromiseLike(second)) second.then(undefined, () => undefined)
  return [await first, await second]
}
