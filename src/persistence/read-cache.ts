import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Cache } from '../cache/cache.ts'
import { MemoryCache } from '../cache/memory-cache.ts'
import { TieredCache } from '../cache/tiered-cache.ts'
import type { Logger } from '../core/logger.ts'
import { isPromiseLike, type MaybePromise } from '../core/maybe-promise.ts'
import type { View } from '../engine/engine.ts'
import { readAgainIfLost } from '../engine/view-lost.ts'
import { type LogEntry, readLog } from '../history/commit-log.ts'
import type { Head } from '../history/head.ts'
import type { History } from '../history/history.ts'
import { convertMany, type ManyConversion } from '../history/reader.ts'
import { decodePayload, type Payload } from '../history/record.ts'
import type { CacheSeal } from './cache-seal.ts'
import type { CachedReads, CacheMetrics, CacheMode } from './cached-reads.ts'
import { type CachedRecord, decodeCachedRecord, encodeCachedRecord } from './cached-record.ts'
import { KnownChanges } from './known-changes.ts'
import { Look } from './look.ts'
import { decodeJournal, encodeJournal } from './read-journal.ts'

/** What a {@link ReadCache} is made of. */
export interface ReadCacheOptions {
  readonly history: History
  readonly cache: Cache
  readonly kind: string
  readonly mode: CacheMode
  readonly logger: Logger
  /** Of an encrypted store. */
  readonly seal?: CacheSeal | undefined
  /** Tests set them low. */
  readonly limits?: Partial<ReadCacheLimits>
}

/** How much a {@link ReadCache} remembers. None of it may change what a caller sees. */
export interface ReadCacheLimits {
  /** The journal is written after so many commits: the log, which continues it, keeps about a thousand. */
  readonly journalInterval: number
  /** So many changed keys are remembered. */
  readonly knownKeys: number
}

const DEFAULT_LIMITS: ReadCacheLimits = { journalInterval: 250, knownKeys: 40_000 }
/** In `bounded` mode a read is answered without asking if the last look began less than so many milliseconds ago. */
const MAX_LAG = 100
/** While the cache is used in `bounded` mode, it looks every so many milliseconds. */
const LOOK_INTERVAL = 25
/** Under which key the journal is. No key of a store is empty. */
const JOURNAL_KEY = ''
/** The entries of so many openings before this one are of use; those of the older half are renewed when they are met. */
const MAX_EARLIER = 8

/**
 * A cache of records in front of an engine that is far away.
 *
 * An entry says as of which commit it is. The commit log names the keys that each commit changed; so an entry is what
 * its key holds now if the log since then is known, up to the newest commit, and does not name the key. To look whether
 * there is a newer commit takes one round trip for the head, a few bytes; that is done at each read (`strong`), or for
 * all reads of a tenth of a second (`bounded`). What the cache lacks is asked for in the same trip as the head, and calls
 * of one turn share it: see {@link Look}. While a large commit is being rolled forward, reads go past the cache.
 *
 * Nothing depends on the cache to forget: an entry that it brings back, or that another store put there, is found out.
 * Entries carry the *lineage* of who put them there, and each opening has its own. A new one begins as well when the
 * store turns out to have been put back to an earlier state: the last commit that was known is then another one, or gone.
 *
 * For a cache that outlives the process a *journal* is kept in it: how far the log was known, what it had changed, and
 * whose entries count. It is continued if the log still has the very commit at which it ends. Entries that were put there
 * later count if the log still has the very commit that they are as of; with it, it has all before.
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
  readonly #limits: ReadCacheLimits
  #lineage = newLineage()
  /** Lineages of earlier openings, oldest first, and up to which commit their entries certainly count. */
  #earlier = new Map<number, number>()
  /** The commits from the end of the journal up to the first look, by number. */
  #marks: Map<number, number> | undefined
  #known: KnownChanges
  /** Which commit it is at which the known ones end; `undefined` where that cannot be told. */
  #mark: number | undefined
  /** How far the journal goes. */
  #journalAt = Number.NEGATIVE_INFINITY
  #freshUntil = 0
  /** Takes what is asked for in this turn. */
  #nextLook: Look | undefined
  readonly #underWay = new Set<Promise<void>>()
  /** The newest look under way that asks for a key, and when it began. */
  readonly #asked = new Map<string, { readonly look: Look; readonly started: number }>()
  #hits = 0
  #misses = 0
  #used = false
  #timer: NodeJS.Timeout | undefined
  readonly #unsubscribe: (() => void)[] = []
  #failure: string | undefined

  private constructor({ history, cache, kind, mode, logger, seal, limits }: ReadCacheOptions) {
    this.#history = history
    this.#cache = cache
    this.#journal =
      cache instanceof TieredCache ? cache.disk : cache instanceof MemoryCache ? undefined : cache
    this.#seal = this.#journal === undefined ? undefined : seal
    this.#kind = kind
    this.#mode = mode
    this.#logger = logger
    this.#limits = { ...DEFAULT_LIMITS, ...limits }
    this.#known = new KnownChanges(this.#limits.knownKeys, 0)
    this.#unsubscribe.push(
      cache.on('error', error => this.#failed(error)),
      cache.on('evict', ({ key }) => this.#evicted(key)),
    )
  }

  /** Takes up what is in the cache, as far as it belongs to the store. */
  static async open(options: ReadCacheOptions): Promise<ReadCache> {
    const reads = new ReadCache(options)
    await reads.#continueJournal()
    if (options.mode === 'bounded') reads.#keepFresh()
    return reads
  }

  get(key: string): MaybePromise<Payload | undefined> {
    const bytes = this.#history.keys.encode(key)
    const entry = this.#find(key)
    if (isPromiseLike(entry)) return entry.then(found => this.#ask(key, bytes, found))
    // At once, where nothing has to be waited for.
    if (entry !== undefined && this.#isFresh() && this.#isCurrent(key, entry)) {
      this.#hit(key, entry)
      return entry.payload
    }
    return this.#ask(key, bytes, entry)
  }

  #ask(key: string, bytes: Uint8Array, entry: CachedRecord | undefined): Promise<Payload | undefined> {
    return readAgainIfLost(() => this.#getWith(key, bytes, entry))
  }

  async #getWith(
    key: string,
    bytes: Uint8Array,
    entry: CachedRecord | undefined,
  ): Promise<Payload | undefined> {
    // What is known to have changed need not be asked about.
    if (
      entry !== undefined &&
      this.#isCurrent(key, entry) &&
      (this.#isFresh() || (await this.#look().followed)) &&
      this.#isCurrent(key, entry)
    ) {
      this.#hit(key, entry)
      return entry.payload
    }
    this.#misses++
    const asked = this.#askedFor(key)
    if (asked !== undefined) {
      const { seenSequence } = this.#history
      // If that fails, it may be for a reason that has passed.
      const records = await asked.records.catch(() => undefined)
      if (records !== undefined && records.sequence >= seenSequence && !records.pending)
        return records.of(key)
    }
    return (await this.#look().want(key, bytes)).of(key)
  }

  async getMany<T>(
    keys: readonly string[],
    bytes: readonly Uint8Array[],
    conversion: () => ManyConversion<T>,
  ): Promise<T[]> {
    return convertMany(await readAgainIfLost(() => this.#getMany(keys, bytes)), conversion())
  }

  async #getMany(keys: readonly string[], bytes: readonly Uint8Array[]): Promise<(Payload | undefined)[]> {
    if (keys.length === 0) return []
    const entries = await Promise.all(keys.map(key => this.#find(key)))
    const isUsable = (entry: CachedRecord | undefined, i: number): entry is CachedRecord =>
      entry !== undefined && this.#isCurrent(keys[i] as string, entry)
    const usable = entries.map((entry, i) => (isUsable(entry, i) ? entry : undefined))
    const missing = [...keys.keys()].filter(i => usable[i] === undefined)
    const want = async (indexes: readonly number[]): Promise<Map<number, Payload | undefined>> => {
      const look = this.#look()
      const wanted = await Promise.all(indexes.map(i => look.want(keys[i] as string, bytes[i] as Uint8Array)))
      return new Map(indexes.map((i, j) => [i, wanted[j]?.of(keys[i] as string)]))
    }
    let found = new Map<number, Payload | undefined>()
    if (missing.length > 0 || !this.#isFresh()) {
      // What is there and has not changed up to this look, or later, was so at the moment of the look as well.
      const [records, followed] = await Promise.all([
        want(missing),
        missing.length === keys.length || this.#look().followed,
      ])
      found = records
      if (!followed || !usable.every((entry, i) => entry === undefined || isUsable(entry, i))) {
        this.#misses += keys.length
        found = await want([...keys.keys()])
        return keys.map((_key, i) => found.get(i))
      }
    }
    this.#misses += missing.length
    return usable.map((entry, i) => {
      if (entry === undefined) return found.get(i)
      this.#hit(keys[i] as string, entry)
      return entry.payload
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
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
    await this.#writeJournal()
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
    const decode = (value: unknown): CachedRecord | undefined =>
      decodeCachedRecord(seal === undefined ? value : seal.open(name, value))
    return isPromiseLike(found) ? this.#guard(() => found).then(decode) : decode(found)
  }

  /** Whether an entry is what its key holds as far as the log is known. */
  #isCurrent(key: string, entry: CachedRecord): boolean {
    return this.#counts(entry) && this.#known.isCurrent(key, entry.sequence)
  }

  /** Whether an entry belongs to the past of the store. */
  #counts({ lineage, sequence, mark }: CachedRecord): boolean {
    if (lineage === this.#lineage) return true
    const certain = this.#earlier.get(lineage)
    if (certain === undefined || sequence <= certain) return certain !== undefined
    if (this.#marks?.get(sequence) !== mark) return false
    this.#earlier.set(lineage, sequence)
    return true
  }

  #hit(key: string, entry: CachedRecord): void {
    this.#hits++
    this.#used = true
    if (this.#isOld(entry)) this.#put(key, entry.payload)
  }

  /** Whether an entry will soon count no longer, if it is not renewed. */
  #isOld({ lineage, sequence }: CachedRecord): boolean {
    if (this.#known.isOld(sequence)) return true
    if (lineage === this.#lineage || this.#earlier.size <= MAX_EARLIER / 2) return false
    return [...this.#earlier.keys()].indexOf(lineage) < this.#earlier.size - MAX_EARLIER / 2
  }

  /** Keeps what a key holds as far as the log is known. */
  #put(key: string, payload: Payload | undefined): void {
    const entry = { lineage: this.#lineage, sequence: this.#known.end, mark: this.#mark ?? 0, payload }
    const seal = this.#seal
    void this.#guard(() => {
      const name = seal?.name(key) ?? key
      const value = encodeCachedRecord(entry)
      return this.#cache.set(name, seal?.seal(name, value) ?? value)
    })
  }

  // ---- looks

  /** The look that begins at the end of this turn. */
  #look(): Look {
    this.#nextLook ??= this.#prepareLook()
    return this.#nextLook
  }

  #prepareLook(): Look {
    const look = new Look(this.#history)
    const done = endOfTurn().then(() => this.#run(look))
    this.#underWay.add(done)
    done.finally(() => this.#underWay.delete(done))
    return look
  }

  async #run(look: Look): Promise<void> {
    this.#nextLook = undefined
    // Before the view is opened: what was known, and when it was so, is no newer than the view.
    const started = performance.now()
    const before = this.#known.end
    for (const key of look.keys) this.#asked.set(key, { look, started })
    const { seenSequence } = this.#history
    // A view is several statements to a server, a lookup one; mostly there is nothing new.
    if (look.isForHeadAlone && seenSequence <= before && (await this.#isNewest(before))) {
      this.#freshUntil = Math.max(this.#freshUntil, started + MAX_LAG)
      look.nothingNew()
      return
    }
    await look.run(
      async (view, head) => {
        // What was committed here is to be followed, whatever the head says: so that goes along with asking for it.
        const log = seenSequence > before ? beginLog(view, before) : undefined
        try {
          const found = await head
          if (found.pending !== 0) return false
          await this.#follow(view, found, before, log?.entries)
          this.#freshUntil = Math.max(this.#freshUntil, started + MAX_LAG)
          return true
        } finally {
          await log?.begun
        }
      },
      ({ sequence, whole }) => {
        // If it is so still, as far as the log is known.
        for (const [key, payload] of whole) if (this.#known.isCurrent(key, sequence)) this.#put(key, payload)
      },
    )
    for (const key of look.keys) if (this.#asked.get(key)?.look === look) this.#asked.delete(key)
  }

  /** Whether a commit is the newest, and no large one is pending. Where that cannot be told, a view will tell why. */
  async #isNewest(sequence: number): Promise<boolean> {
    try {
      const head = await this.#history.newestHead()
      return head.sequence === sequence && head.pending === 0
    } catch {
      return false
    }
  }

  /** In `bounded` mode, a look under way that asks for a key, and is not too old to be answered from. */
  #askedFor(key: string): Look | undefined {
    const asked = this.#mode === 'bounded' ? this.#asked.get(key) : undefined
    return asked !== undefined && performance.now() < asked.started + MAX_LAG ? asked.look : undefined
  }

  /** Whether a read may be answered without asking. What this process has seen is never unseen. */
  #isFresh(): boolean {
    return (
      this.#mode === 'bounded' &&
      performance.now() < this.#freshUntil &&
      this.#known.end >= this.#history.seenSequence
    )
  }

  #keepFresh(): void {
    const look = (): void => {
      // Whoever reads next finds out by a look of its own. It would fail the same way.
      if (this.#used) this.#look()
    }
    this.#timer = setInterval(() => {
      look()
      this.#used = false
    }, LOOK_INTERVAL)
    this.#timer.unref()
    const unsubscribe = this.#history.engine.subscribe?.(look)
    if (unsubscribe !== undefined) this.#unsubscribe.push(unsubscribe)
  }

  // ---- what is known of the log

  /**
   * Learns of all commits up to the head of a view; where that cannot be done, forgets everything. `before` is how far the
   * log was known before the view was opened, and `log` what follows from there, if it has been asked for.
   */
  async #follow(
    view: View,
    head: Head,
    before: number,
    log?: AsyncIterable<readonly LogEntry[]>,
  ): Promise<void> {
    const known = this.#known
    const { end } = known
    // The store was put back to an earlier state, or nobody knows any more what changed.
    if (head.sequence < before || head.logStart > Math.max(end, 1)) return this.#beginLineage(view, head)
    // Others have followed a newer view meanwhile.
    if (head.sequence <= end) return
    const mark = this.#mark
    let last: LogEntry | undefined
    // From the entry on at which the known ones end, to see whether it is the same.
    for await (const entries of log ?? readLog(view, Math.max(end - 1, 0))) {
      for (const entry of entries) {
        last = entry
        if (entry.sequence > end) {
          for (const { key } of entry.changes) known.add(this.#history.keys.decode(key), entry.sequence)
        } else if (entry.sequence === end && mark !== undefined && mark !== markOf(entry)) {
          return this.#beginLineage(view, head)
        }
      }
    }
    if (known !== this.#known || head.sequence <= known.end) return
    known.advance(head.sequence)
    this.#mark = last && markOf(last)
    if (known.end - this.#journalAt >= this.#limits.journalInterval) void this.#writeJournal()
  }

  /** Nothing that was read before counts any more. */
  async #beginLineage(view: View, head: Head): Promise<void> {
    this.#lineage = newLineage()
    this.#earlier.clear()
    this.#marks = undefined
    this.#known = new KnownChanges(this.#limits.knownKeys, head.sequence)
    this.#journalAt = Number.NEGATIVE_INFINITY
    const known = this.#known
    this.#mark = undefined
    const mark = await markAt(view, head.sequence)
    // Others may have gone on from there meanwhile.
    if (known === this.#known && known.end === head.sequence) this.#mark = mark
  }

  // ---- the journal

  async #continueJournal(): Promise<void> {
    const stored = await this.#guard(() => this.#journal?.get(JOURNAL_KEY))
    const saved = decodeJournal(
      this.#seal === undefined ? stored : this.#seal.open(JOURNAL_KEY, stored)?.toString(),
    )
    await this.#history.view(async (view, head) => {
      if (saved === undefined || (await markAt(view, saved.end)) !== saved.mark) {
        await this.#beginLineage(view, head)
        return
      }
      const { lineages, start, end, changes, mark } = saved
      this.#earlier = new Map(lineages.slice(-MAX_EARLIER))
      this.#known = new KnownChanges(this.#limits.knownKeys, start, end, changes)
      this.#mark = mark
      if (head.pending !== 0) return
      this.#marks = await marksBetween(view, end, head.sequence)
      await this.#follow(view, head, end)
    })
    await this.#writeJournal()
  }

  async #writeJournal(): Promise<void> {
    if (this.#journal === undefined || this.#mark === undefined || this.#journalAt === this.#known.end) return
    const known = this.#known.report()
    const lineages = [...this.#earlier, [this.#lineage, known.end] as const]
    this.#journalAt = known.end
    const journal = encodeJournal({ ...known, lineages, mark: this.#mark })
    await this.#guard(() =>
      this.#journal?.set(JOURNAL_KEY, this.#seal?.seal(JOURNAL_KEY, Buffer.from(journal)) ?? journal),
    )
  }

  /** The journal had to make room: without it nothing counts after a restart. */
  #evicted(key: string): void {
    if (key !== JOURNAL_KEY) return
    this.#journalAt = Number.NEGATIVE_INFINITY
    void this.#writeJournal()
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

function newLineage(): number {
  return randomBytes(6).readUIntLE(0, 6)
}

/** What hardly two commits have in common: who made it, as which of his operations. */
function markOf({ writer, lastOperation }: LogEntry): number {
  return crc32(`${writer}/${lastOperation}`)
}

/** The mark of a commit; `undefined` if it is not in the log, or not any more. */
async function markAt(view: View, sequence: number): Promise<number | undefined> {
  return (await marksBetween(view, sequence - 1, sequence)).get(sequence)
}

/** The marks of the commits after one, through another. */
async function marksBetween(view: View, after: number, through: number): Promise<Map<number, number>> {
  const marks = new Map<number, number>()
  if (through <= 0) return marks
  for await (const entries of readLog(view, Math.max(after, 0), through)) {
    for (const entry of entries) marks.set(entry.sequence, markOf(entry))
  }
  return marks
}

/** The log from a commit on, asked for at once. */
function beginLog(
  view: View,
  from: number,
): { readonly entries: AsyncIterable<readonly LogEntry[]>; readonly begun: Promise<unknown> } {
  const pages = readLog(view, Math.max(from - 1, 0))
  const first = pages.next()
  const entries = async function* (): AsyncGenerator<readonly LogEntry[]> {
    const page = await first
    if (page.done === true) return
    yield page.value
    yield* pages
  }
  return { entries: entries(), begun: first.catch(() => undefined) }
}

/** Once everything that is ready to run has run: what is asked for until then belongs together. */
function endOfTurn(): Promise<void> {
  return Promise.resolve().then(() => new Promise(resolve => process.nextTick(resolve)))
}
