import { counterKey, type KeyCodec, PLAIN_KEYS } from '../core/key.ts'
import { type Logger, SILENT_LOGGER } from '../core/logger.ts'
import { isPromiseLike, type MaybePromise, whenReady } from '../core/maybe-promise.ts'
import { Turns } from '../core/turns.ts'
import type { Batch, Engine, EngineStats, View } from '../engine/engine.ts'
import { isViewLost, LostViews, readAgainIfLost } from '../engine/view-lost.ts'
import { withView } from '../engine/with-view.ts'
import { type BulkGoal, type BulkSource, type BulkSummary, bulkCommit, rollForward } from './bulk-commit.ts'
import type { KeptChain } from './chain-cache.ts'
import {
  type Committed,
  Committer,
  type Entries,
  type ExclusiveResult,
  type Mutation,
  type OperationCounts,
  type PendingCall,
} from './committer.ts'
import { nameDamage } from './damage.ts'
import { checkFormat } from './format.ts'
import { decodeHead, HEAD_KEY, type Head } from './head.ts'
import { KeyChains } from './key-chains.ts'
import { DEFAULT_LIMITS, type HistoryLimits } from './limits.ts'
import { type LogPosition, LogStarts } from './log-starts.ts'
import { Maintenance } from './maintenance.ts'
import { MemoryRelief } from './memory-relief.ts'
import { Packer, type PackerOptions, type PackTotals } from './packer.ts'
import { PastView } from './past-view.ts'
import {
  type Conversion,
  convertAll,
  convertMany,
  type KeyedRecord,
  type KeyRange,
  type ManyConversion,
  presentRecord,
  type RecordPage,
  readAt,
  readManyAt,
  scanAt,
  scanLive,
  visitLive,
  visitManyLive,
} from './reader.ts'
import { type ParsedRecord, type Payload, parseBorrowedRecord, parseRecord, payloadLength } from './record.ts'
import {
  dropSnapshots,
  listSnapshotRows,
  putSnapshot,
  requireSnapshot,
  type SnapshotRow,
  snapshotNotFound,
} from './snapshot-table.ts'
import { readPending } from './stage.ts'
import { type Verification, type VerifyOptions, verifyEngine } from './verify.ts'

/** How a history is opened. */
export interface HistoryOptions {
  /** Whether commits wait until they are on disk. */
  readonly flush?: boolean
  readonly logger?: Logger
  /** How superseded values are packed. */
  readonly packing?: Partial<PackerOptions>
  /** @internal */
  readonly limits?: Partial<HistoryLimits>
}

/** How far a compaction has come. */
export interface CompactProgress {
  /** First the history is packed; then, where the engine does that, all records are rewritten to smaller files. */
  readonly phase: 'pack' | 'rewrite'
  /** Records of this phase that are done. */
  readonly entries: number
  /** Records of this phase in all, as far as the engine knows beforehand. */
  readonly entriesTotal: number
}

/** What a compaction may be given. */
export interface CompactOptions {
  /** Cancels: the call rejects with its reason. What was packed until then stays packed, and no file is changed. */
  readonly signal?: AbortSignal
  /** Called every now and then. */
  readonly onProgress?: (progress: CompactProgress) => void
}

/** What `compact()` did: bytes of the engine's files, or of what it holds in memory. */
export interface CompactSummary {
  readonly bytesBefore: number
  readonly bytesAfter: number
}

/** What a read is of: the current state, or a snapshot by its version number. */
export type Moment = 'head' | number

/** Which snapshots a seal drops in the same commit, the new one included; `undefined` for none. */
export type PruneRule = (view: View, sealed: SnapshotRow) => MaybePromise<SnapshotSelection | undefined>

/** Some of the store's snapshots. */
export interface SnapshotSelection {
  readonly all: readonly SnapshotRow[]
  readonly versions: ReadonlySet<number>
}

/** Measured in `bench/`: longer chains save little, and cost the reads of versions far from the newest. */
const DEFAULT_CHAIN_LENGTH = 256

/** How an iteration goes on from page to page: see {@link History.records}. */
interface IterationOptions {
  readonly consistent?: boolean
  readonly renewable?: boolean
}

/** A page of an iteration. */
interface ItemPage<T> {
  readonly items: readonly T[]
  /** What reading it took of memory, about. */
  readonly bytes: number
  /** Where the next page begins: past this key. `undefined` at the end of the range. */
  readonly resumeAfter: Uint8Array | undefined
}

/** An iteration moves on to a fresh view also when it has shown so many bytes, as long as that changes nothing in what it shows. */
const MAX_VIEW_BYTES = 4 * 1024 * 1024
/** What reading brings into memory, by what was read: the system maps the neighbours of a page along with it. */
const MAPPED_PER_READ = 2

/** An iteration begins with pages of so few rows, and goes on with ones of so many, each so many times as large as the one before. */
const FEW_ROWS = 16
const MANY_ROWS = 512
const MORE = 4

/** Thrown to the caller of a renewable iteration: see {@link History.records}. */
export class ViewLostError extends Error {}

/** What is to be read in a view of its own. */
const NOT_READ = Symbol('not read')

/** Whether two heads show the same current state: every commit that changes it counts up the sequence. */
function isSameState(a: Head, b: Head): boolean {
  return a.sequence === b.sequence && a.epoch === b.epoch && a.pending === b.pending
}

/**
 * The multi-version map: current records, superseded ones, and the epochs that order them.
 *
 * It knows keys and payloads as bytes; what a snapshot means to users is the business of the layers above.
 */
export class History {
  readonly engine: Engine
  /** How the keys of the state are stored. Everything here and below knows them as they are stored. */
  readonly keys: KeyCodec
  /** @internal */
  readonly limits: HistoryLimits
  readonly #committer: Committer
  readonly #maintenance: Maintenance
  readonly #packer: Packer
  readonly #past: PastView
  readonly #chains = new KeyChains()
  readonly #onChain = (chain: KeptChain): void => this.#chains.add(chain)
  readonly #listeners = new Set<(head: Head) => void>()
  readonly #starts = new LogStarts()
  /** A lower bound of the visible epoch: records born by then are certainly visible. Only ever grows. */
  #knownEpoch = 0
  /** The greatest sequence that a read or commit of this process has met. */
  #seenSequence = 0

  private constructor(engine: Engine, options: HistoryOptions) {
    this.engine = engine
    this.keys = engine.keyCodec ?? PLAIN_KEYS
    this.limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.#past = new PastView(engine, view => this.headIn(view))
    this.#committer = new Committer({
      engine,
      flush: options.flush === true,
      limits: this.limits,
      rollForward: () => rollForward(this.engine, this.#committer, this.limits),
      onBegin: commit => void this.#starts.waitFor(commit),
      onCommit: (head, met) => this.#committed(head, met),
      onUnchanged: head => this.#seen(head),
    })
    const packing = { strategy: 'binary' as const, maxChainLength: DEFAULT_CHAIN_LENGTH, ...options.packing }
    const logger = options.logger ?? SILENT_LOGGER
    this.#packer = new Packer(engine, this.#committer, packing, this.limits, logger)
    this.#maintenance = new Maintenance(engine, this.#committer, logger, this.limits, this.#packer)
  }

  /**
   * Opens the store of an engine, creating it where there is none, and takes up what was left unfinished.
   *
   * @throws {EngineError} with code `FORMAT_TOO_NEW` if a newer varve wrote it.
   */
  static async open(engine: Engine, options: HistoryOptions = {}): Promise<History> {
    await engine.open()
    try {
      await checkFormat(engine)
      const history = new History(engine, options)
      const head = await history.head()
      history.#knownEpoch = head.epoch
      if (head.pending !== 0) await rollForward(history.engine, history.#committer, history.limits)
      if (head.sequence > 0) history.#maintenance.kickAfterOpening()
      return history
    } catch (error) {
      await engine.close()
      throw error
    }
  }

  /** Waits for what is under way and releases the engine. */
  async close(): Promise<void> {
    this.#past.close()
    await this.#maintenance.close()
    await this.#committer.close()
    await this.engine.close()
  }

  /** How far into the log this process has seen: what it reads from a cache must not be older. */
  get seenSequence(): number {
    return this.#seenSequence
  }

  #decodeHead(stored: Uint8Array | undefined): Head {
    const head = decodeHead(stored)
    this.#seen(head)
    return head
  }

  #seen(head: Head): void {
    if (head.epoch > this.#knownEpoch) this.#knownEpoch = head.epoch
    if (head.sequence > this.#seenSequence) this.#seenSequence = head.sequence
    this.#starts.metHead(head)
  }

  #committed(head: Head, met: Head): void {
    this.#starts.committed(met, head)
    if (head.sequence > this.#seenSequence) this.#seenSequence = head.sequence
    if (head.epoch > this.#knownEpoch) {
      this.#knownEpoch = head.epoch
      this.#maintenance.kick({ afterTurn: true })
    } else if (this.#maintenance.isDue(head)) {
      this.#maintenance.kick()
    }
    for (const listener of this.#listeners) listener(head)
  }

  /** Calls `listener` after each commit of this process. Returns what ends that. */
  onCommit(listener: (head: Head) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Runs `read` on one consistent view; if that is lost, from its beginning on another. */
  async view<T>(read: (view: View, head: Head) => MaybePromise<T>): Promise<T> {
    return this.#withView(async view => read(view, await this.headIn(view)))
  }

  #withView<T>(read: (view: View) => MaybePromise<T>): Promise<T> {
    return readAgainIfLost(() =>
      withView(this.engine, view =>
        named(
          view,
          attempt(() => read(view)),
        ),
      ),
    )
  }

  /** {@link withView} without a promise where the engine answers at once. */
  #inView<T>(read: (view: View) => MaybePromise<T>): MaybePromise<T> {
    const view = this.engine.read()
    const result = attempt(() => read(view))
    if (isPromiseLike(result)) {
      return finish(view, result).catch((error: unknown) => {
        if (isViewLost(error)) return this.#withView(read)
        throw error
      })
    }
    view.close()
    return result
  }

  /** The head in a view that the caller holds. */
  headIn(view: View): MaybePromise<Head> {
    const head = whenReady(view.get('meta', HEAD_KEY), stored => this.#decodeHead(stored))
    return this.#starts.waiting ? this.#starts.waitFor(this.#noted(view, head)) : head
  }

  /** Has those who begin to follow the log know of a head, also while a large commit is pending. */
  #noted(view: View, head: MaybePromise<Head>): MaybePromise<Head> {
    return whenReady(head, found => {
      if (found.pending === 0) return found
      return this.positionIn(view, found).then(position => {
        this.#starts.met(position)
        return found
      })
    })
  }

  /** The epoch of a moment in a view that the caller holds. @throws {SnapshotNotFoundError} */
  epochIn(view: View, moment: Moment): MaybePromise<number> {
    if (moment === 'head') return whenReady(this.headIn(view), head => head.epoch)
    return whenReady(requireSnapshot(view, moment), ({ epoch }) => {
      // Whoever reads a snapshot has seen the state that it seals.
      return epoch < this.#knownEpoch ? epoch : whenReady(this.headIn(view), () => epoch)
    })
  }

  /** Where to begin for who follows the log from this call on: see {@link LogStarts}. */
  start(): Promise<LogPosition> {
    return this.#starts.begin(() => this.view((view, head) => this.positionIn(view, head)))
  }

  /**
   * Where the log that readers can see ends, and the epoch they see, in a view that the caller holds, with its head. A
   * commit that is pending is not visible yet.
   */
  async positionIn(view: View, { pending, sequence, epoch }: Head): Promise<LogPosition> {
    return { sequence: pending === 0 ? sequence : (await readPending(view)).since, epoch }
  }

  /** The head of the newest commit, without a view. */
  newestHead(): MaybePromise<Head> {
    const head = whenReady(this.engine.get('meta', HEAD_KEY), stored => this.#decodeHead(stored))
    return this.#starts.waiting ? this.#starts.waitFor(head) : head
  }

  head(): Promise<Head> {
    return this.view((_view, head) => head)
  }

  /** The current record of a key: one lookup, unless a large commit may be under way at it. */
  get(key: Uint8Array): MaybePromise<ParsedRecord | undefined> {
    // Whoever begins to follow the log has to know of which moment the answer is.
    if (this.#starts.waiting) return this.view((view, head) => readAt(view, key, head.epoch))
    const stored = this.engine.get('live', key)
    // No closure is made for what an embedded engine answers at once.
    return isPromiseLike(stored)
      ? stored.then(bytes => this.#current(key, bytes))
      : this.#current(key, stored)
  }

  /**
   * {@link History.get} for a caller that decodes the value before anything else is read, as long as it did not have to
   * wait for the record.
   */
  peek(key: unknown): MaybePromise<ParsedRecord | undefined> {
    const { engine, keys } = this
    if (engine.peek === undefined) return this.get(keys.encode(key))
    const bytes = keys.encodeBriefly?.(key) ?? keys.encode(key)
    const found = engine.peek('live', bytes)
    if (found === undefined) return this.#current(keys.encode(key), undefined)
    const record = parseBorrowedRecord(bytes, found.bytes, found.length)
    return record.birth <= this.#knownEpoch ? record : this.get(keys.encode(key))
  }

  #current(key: Uint8Array, bytes: Uint8Array | undefined): MaybePromise<ParsedRecord | undefined> {
    const record = bytes && parseRecord(key, bytes)
    if (record !== undefined && record.birth <= this.#knownEpoch) return record
    // The head is asked for after the record: what it says is visible by then is what the record shows.
    return whenReady(this.engine.get('meta', HEAD_KEY), stored => {
      const { epoch, pending } = this.#decodeHead(stored)
      if (record === undefined ? pending === 0 : record.birth <= epoch) return record
      return this.view((view, head) => readAt(view, key, head.epoch))
    })
  }

  /** The current records of keys, in one view. */
  getMany(keys: readonly Uint8Array[]): Promise<(ParsedRecord | undefined)[]> {
    return this.#withView(view => readManyAt(view, keys, this.epochIn(view, 'head')))
  }

  /** What becomes of the current records of keys, in one view. They are not copied for it where the engine can do without. */
  convertedMany<T>(keys: readonly Uint8Array[], conversion: () => ManyConversion<T>): Promise<T[]> {
    return this.#withView(view => {
      const epoch = this.epochIn(view, 'head')
      // A server is asked for everything at once.
      const visited = isPromiseLike(epoch) ? undefined : visitManyLive(view, keys, epoch, conversion())
      if (visited === undefined)
        return whenReady(readManyAt(view, keys, epoch), records => convertMany(records, conversion()))
      const { items, others } = visited
      if (others.length === 0) return items
      const otherKeys = others.map(i => keys[i] as Uint8Array)
      return whenReady(readManyAt(view, otherKeys, epoch), records => {
        const rest = conversion()
        for (const [j, i] of others.entries()) rest.add(records[j], i)
        for (const [j, item] of rest.take().entries()) items[others[j] as number] = item
        return items
      })
    })
  }

  /** What a key held at a snapshot. */
  getAt(version: number, key: Uint8Array): MaybePromise<ParsedRecord | undefined> {
    try {
      const epoch = this.#sealedEpoch(version)
      const known = epoch && this.#chains.versionAt(key, epoch)
      if (known) return presentRecord(known)
      const record = epoch ? readAt(this.#past.viewOf(epoch), key, epoch, this.#onChain) : NOT_READ
      if (record !== NOT_READ && !isPromiseLike(record)) return record
    } catch {
      // Read again, and find out whom it concerns.
    }
    return this.#inView(view => readAt(view, key, this.epochIn(view, version)))
  }

  /** The epoch that a snapshot seals, if it is on the list now and the engine answers at once. */
  #sealedEpoch(version: number): number | undefined {
    const key = counterKey(version)
    const found = this.engine.peek?.('snapshots', key)
    return found && parseBorrowedRecord(key, found.bytes, found.length).birth
  }

  getManyAt(version: number, keys: readonly Uint8Array[]): Promise<(ParsedRecord | undefined)[]> {
    return this.#withView(view => readManyAt(view, keys, this.epochIn(view, version)))
  }

  /**
   * The records of a range at a moment, in key order, in pages.
   *
   * A `consistent` iteration shows one commit to its end. Any other moves on to a fresh view when its own gets old, so
   * as not to pin what others have freed, or is lost with its connection: at a snapshot that makes no difference (and if the snapshot was dropped
   * meanwhile, it ends with `SnapshotNotFoundError`); of the current state, later pages may then show later commits.
   *
   * So that what was read need not stay in memory, an iteration at a snapshot also moves on when it has read a lot, and so
   * does one of the current state that is `renewable`, as long as nobody has committed. Should somebody do so at that very
   * moment, it throws {@link ViewLostError}, and its caller begins again without.
   */
  records(
    moment: Moment,
    range: KeyRange,
    options: IterationOptions = {},
  ): AsyncGenerator<readonly KeyedRecord[], void, undefined> {
    return this.#pages(
      moment,
      range,
      (view, bounded, epoch) =>
        whenReady(this.#scan(view, bounded, epoch), ({ records, resumeAfter }) => ({
          items: records,
          bytes: this.#roomOf(records),
          resumeAfter,
        })),
      options,
    )
  }

  /**
   * What becomes of the records of a range. Those of the current state are not copied for it where the engine can do without.
   */
  converted<T>(
    moment: Moment,
    range: KeyRange,
    conversion: () => Conversion<T>,
  ): AsyncGenerator<readonly T[], void, undefined> {
    // Whoever leaves at once has not had many converted.
    let rows = FEW_ROWS
    return this.#pages(
      moment,
      range,
      (view, bounded, epoch) => {
        const visited = epoch === undefined ? visitLive(view, bounded, rows, conversion()) : undefined
        rows = Math.min(MANY_ROWS, MORE * rows)
        return (
          visited ??
          whenReady(this.#scan(view, bounded, epoch), ({ records, resumeAfter }) => ({
            items: convertAll(records, conversion()),
            bytes: this.#roomOf(records),
            resumeAfter,
          }))
        )
      },
      {},
    )
  }

  /** A page of the live records, or of those at an epoch. */
  #scan(view: View, range: KeyRange, epoch: number | undefined): MaybePromise<RecordPage> {
    return epoch === undefined ? scanLive(view, range) : scanAt(view, range, epoch, this.limits)
  }

  /** Pages of items that `read` gives of a view: of the live records, or of those at an epoch. */
  async *#pages<T>(
    moment: Moment,
    range: KeyRange,
    read: (view: View, range: KeyRange, epoch: number | undefined) => MaybePromise<ItemPage<T>>,
    options: IterationOptions,
  ): AsyncGenerator<readonly T[], void, undefined> {
    const { consistent = false, renewable = moment !== 'head' } = options
    const relief = new MemoryRelief(this.engine)
    const turns = new Turns()
    let rest: KeyRange | undefined = range
    let left = range.limit ?? Number.POSITIVE_INFINITY
    let seen: Head | undefined
    const views = new LostViews()
    while (rest !== undefined && left > 0) {
      const view = this.engine.read()
      const opened = performance.now()
      let bytes = 0
      try {
        const [head, sealed] = await Promise.all([
          this.headIn(view),
          moment === 'head' ? undefined : requireSnapshot(view, moment),
        ])
        if (consistent && seen !== undefined && !isSameState(seen, head)) throw new ViewLostError()
        seen = head
        const epoch = sealed?.epoch ?? head.epoch
        const live = moment === 'head' && head.pending === 0
        do {
          const bounded: KeyRange = Number.isFinite(left) ? { ...rest, limit: left } : rest
          const reading = read(view, bounded, live ? undefined : epoch)
          // What an embedded engine answers at once is not made to wait for its turn. The view would go on showing a snapshot
          // that was dropped since it began: whoever reads it is told.
          const page =
            moment === 'head' && !isPromiseLike(reading)
              ? reading
              : (await Promise.all([reading, this.assertExists(moment)]))[0]
          const items = page.items.length > left ? page.items.slice(0, left) : page.items
          left -= items.length
          rest = page.resumeAfter && resumed(range, page.resumeAfter)
          bytes += page.bytes
          views.answered()
          if (items.length > 0) yield items
          if (turns.isOver()) await turns.breathe()
        } while (
          rest !== undefined &&
          left > 0 &&
          (consistent || performance.now() - opened < this.limits.viewAge) &&
          !(renewable && bytes >= MAX_VIEW_BYTES && (moment !== 'head' || (await this.#isNewest(head))))
        )
      } catch (error) {
        if (consistent || !views.mayGoOn(error)) throw await nameDamage(view, error)
      } finally {
        view.close()
      }
      await relief.worked(0, MAPPED_PER_READ * bytes)
    }
  }

  /** To be called by who has read so many bytes of records in a view of their own, once that is closed. */
  relieve(bytes: number): Promise<void> {
    return new MemoryRelief(this.engine).worked(0, MAPPED_PER_READ * bytes)
  }

  #roomOf(records: readonly KeyedRecord[]): number {
    let room = 0
    for (const { record } of records) {
      const length = payloadLength(record)
      room += this.engine.storedBytes?.(length) ?? length
    }
    return room
  }

  async #isNewest(head: Head): Promise<boolean> {
    return isSameState(head, decodeHead(await this.engine.get('meta', HEAD_KEY)))
  }

  /** @throws {SnapshotNotFoundError} if the moment is a snapshot that is not on the list now. */
  async assertExists(moment: Moment): Promise<void> {
    if (moment === 'head') return
    if ((await this.engine.get('snapshots', counterKey(moment))) === undefined) throw snapshotNotFound(moment)
  }

  /** A change that shares its commit with others. */
  mutate<T>(mutation: Mutation<T>): Promise<Committed<T>> {
    return this.#committer.mutate(mutation)
  }

  /** Sets a key, in a commit shared with others. Calls `settled` once it is made, or with the error that it failed with. */
  put(key: Uint8Array, payload: Payload, call: PendingCall): void {
    this.#committer.put(key, payload, call)
  }

  /** Sets several keys, each unless it holds an equal value, in a commit shared with others. */
  putAll(entries: Entries): Promise<Committed<OperationCounts>> {
    return this.#committer.putAll(entries)
  }

  /** A commit of its own, for what is not a change of keys. */
  exclusive<T>(
    build: (view: View, batch: Batch, head: Head) => MaybePromise<ExclusiveResult<T>>,
  ): Promise<T> {
    return this.#committer.exclusive(build)
  }

  /** A change of any size. */
  bulk(source: BulkSource, goal: BulkGoal = { kind: 'state' }): Promise<BulkSummary> {
    return bulkCommit(this.engine, this.#committer, source, goal, this.limits)
  }

  /**
   * Seals the open epoch as a snapshot, in one small commit, and opens the next. `prune` names snapshots to drop in
   * the same commit. Returns the version number.
   */
  seal(
    metadata: Payload | ((view: View, head: Head) => Promise<Payload>),
    prune?: PruneRule,
  ): Promise<SnapshotRow> {
    this.#committer.activity++
    const brief = typeof metadata !== 'function'
    return this.#committer.exclusive(
      async (view, batch, head) => {
        const snapshot: SnapshotRow = {
          version: head.nextVersion,
          epoch: head.epoch,
          metadata: typeof metadata === 'function' ? await metadata(view, head) : metadata,
        }
        putSnapshot(batch, snapshot)
        const sealed: Head = {
          ...head,
          epoch: head.epoch + 1,
          latestSnapshot: head.epoch,
          nextVersion: head.nextVersion + 1,
        }
        const dropped = await prune?.(view, snapshot)
        if (dropped === undefined || dropped.versions.size === 0) return { value: snapshot, head: sealed }
        return {
          value: snapshot,
          head: await dropSnapshots(view, batch, sealed, dropped.all, dropped.versions),
        }
      },
      { brief },
    )
  }

  /** All snapshots, oldest first. */
  snapshots(): Promise<SnapshotRow[]> {
    return this.view(view => listSnapshotRows(view))
  }

  /** One snapshot. @throws {SnapshotNotFoundError} */
  snapshot(version: number): Promise<SnapshotRow> {
    return this.view(view => requireSnapshot(view, version))
  }

  /** Rewrites what is kept with a snapshot. */
  updateSnapshot(version: number, change: (metadata: Payload) => Payload): Promise<void> {
    return this.#committer.exclusive(async (view, batch) => {
      const snapshot = await requireSnapshot(view, version)
      putSnapshot(batch, { ...snapshot, metadata: change(snapshot.metadata) })
      return { value: undefined }
    })
  }

  /** Takes snapshots off the list, chosen from it under the write exclusion; what only they could see is freed soon. */
  async drop(
    choose: (snapshots: readonly SnapshotRow[]) => ReadonlySet<number>,
  ): Promise<readonly SnapshotRow[]> {
    this.#committer.activity++
    const dropped = await this.#committer.exclusive(async (view, batch, head) => {
      const all = await listSnapshotRows(view)
      const versions = choose(all)
      if (versions.size === 0) return { value: [] }
      return {
        value: all.filter(snapshot => versions.has(snapshot.version)),
        head: await dropSnapshots(view, batch, head, all, versions),
      }
    })
    this.#maintenance.kick()
    return dropped
  }

  /** Does all background work now. */
  maintain(signal?: AbortSignal): Promise<void> {
    return this.#maintenance.finish(signal)
  }

  /** Does all background work, and packs everything that can be packed. */
  async pack({ signal, onProgress }: CompactOptions = {}): Promise<void> {
    await this.#maintenance.finish(signal)
    const total = (await this.stats()).tables.history?.entries ?? 0
    await this.#packer.packAll(signal, rows =>
      onProgress?.({ phase: 'pack', entries: rows, entriesTotal: Math.max(rows, total) }),
    )
    await this.#maintenance.tighten()
  }

  /** Packs, and lets the engine give back what it can. Returns the room that the store took before and takes after. */
  async compact(options: CompactOptions = {}): Promise<CompactSummary> {
    const { signal, onProgress } = options
    const before = await this.stats()
    await this.pack(options)
    const packed = await this.stats()
    const total = Object.values(packed.tables).reduce((sum, { entries }) => sum + entries, 0)
    let rewritten: number | undefined
    const tell = (rows: number): void => {
      rewritten = rows
      onProgress?.({ phase: 'rewrite', entries: rows, entriesTotal: Math.max(rows, total) })
    }
    await this.engine.compact?.({ signal, onProgress: tell })
    // A server rewrites only tables that have room to give back: with these, all is done.
    if (rewritten !== undefined && rewritten < total) tell(total)
    return { bytesBefore: before.bytes, bytesAfter: (await this.stats()).bytes }
  }

  /** What packing has done to this store. */
  packTotals(): Promise<PackTotals> {
    return this.view(Packer.totals)
  }

  /** Looks at every record of the store. */
  verify(options?: VerifyOptions): Promise<Verification> {
    return verifyEngine(this.engine, options)
  }

  stats(): Promise<EngineStats> {
    return Promise.resolve(this.engine.stats())
  }
}

/** What `read` answers; what it throws, as a rejection. */
function attempt<T>(read: () => MaybePromise<T>): MaybePromise<T> {
  try {
    return read()
  } catch (error) {
    return Promise.reject(error)
  }
}

/** Waits for what is read of a view, then closes it. */
async function finish<T>(view: View, result: MaybePromise<T>): Promise<T> {
  try {
    return await named(view, result)
  } finally {
    view.close()
  }
}

/** Waits for what is read of a view. What it fails with says which snapshots are affected. */
async function named<T>(view: View, result: MaybePromise<T>): Promise<T> {
  try {
    return await result
  } catch (error) {
    throw await nameDamage(view, error)
  }
}

function resumed(range: KeyRange, after: Uint8Array): KeyRange {
  return range.reverse === true
    ? { ...range, lt: after, lte: undefined }
    : { ...range, gt: after, gte: undefined }
}
