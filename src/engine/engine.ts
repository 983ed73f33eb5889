import type { KeyCodec } from '../core/key.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'

/**
 * The ordered tables a store is made of. An engine keeps them apart and gives them no meaning.
 *
 * - `meta`: the head record, the format version, settings
 * - `live`: the current record of each key
 * - `history`: superseded records, under (key, birth epoch)
 * - `log`: one entry a commit, under its sequence number
 * - `changes`: the sorted keys that each sealed epoch touched
 * - `snapshots`: one record a snapshot, under its version number
 * - `staged`: the rows of large commits that are being prepared, invisible to readers
 */
export const TABLES = ['meta', 'live', 'history', 'log', 'changes', 'snapshots', 'staged'] as const

/** The name of one of the store's {@link TABLES}. */
export type Table = (typeof TABLES)[number]

/** The longest key an engine has to take, in bytes; the shortest has one. */
export const MAX_KEY_BYTES = 1_200

/** The longest value an engine has to take, in bytes. */
export const MAX_VALUE_BYTES = 2 ** 31 - 1

/** One row. The bytes belong to the receiver and are never changed by the engine afterwards. */
export interface Row {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** Which rows a scan takes, in bytewise key order. */
export interface ScanRange {
  readonly gt?: Uint8Array | undefined
  readonly gte?: Uint8Array | undefined
  readonly lt?: Uint8Array | undefined
  readonly lte?: Uint8Array | undefined
  /** Descending key order. */
  readonly reverse?: boolean | undefined
  /** At most so many rows in this page, 1 or more; an engine may end a page earlier, as it does by default. */
  readonly limit?: number | undefined
  /** Leave the values out: every `value` is empty. Cheaper where only keys are asked for. */
  readonly keysOnly?: boolean | undefined
}

/** A bounded run of rows. To go on, scan again past the last key. */
export interface Page {
  readonly rows: readonly Row[]
  /** Whether rows of the range may follow. `false` is certain; `true` may turn out to be an empty page. */
  readonly more: boolean
}

/** Is shown a row: the value is the first `length` bytes. */
export type RowVisitor = (key: Uint8Array, bytes: Uint8Array, length: number) => void

/** What a floor lookup asks: the row with the greatest key at or below `key`, and not below `min`. */
export interface FloorQuery {
  readonly key: Uint8Array
  readonly min: Uint8Array
}

/** Is shown the value at one of several keys, by the place of the key among them: the first `length` bytes. */
export type ValueVisitor = (index: number, bytes: Uint8Array, length: number) => void

/**
 * A consistent view of all tables: every answer it gives belongs to one and the same commit. Where an engine loses one, with the
 * connection that held it, its calls reject with an `EngineError` of the code `ENGINE_VIEW_LOST`, and varve reads again.
 *
 * Which commit that is, is settled at the latest by its first answer. A view may pin resources of the engine (LMDB:
 * pages freed since), so it is closed soon after it was opened. Key bytes passed in are not kept after the answer.
 */
export interface View {
  /** The value at `key`; `undefined` where there is none. */
  get(table: Table, key: Uint8Array): MaybePromise<Uint8Array | undefined>
  /** The values at `keys`, in that order; `undefined` where there is none. */
  getMany(table: Table, keys: readonly Uint8Array[]): MaybePromise<(Uint8Array | undefined)[]>
  /**
   * `getMany` for a caller that is done with each value before the next: `visit` is called for those keys that have one, in
   * their order. The bytes are written over, and `visit` must not ask the engine for anything. For engines that answer at once.
   */
  visitMany?(table: Table, keys: readonly Uint8Array[], visit: ValueVisitor): void
  /** The row with the greatest key in `[query.min, query.key]`. */
  seek(table: Table, query: FloorQuery): MaybePromise<Row | undefined>
  /** The answers of `seek`, in the order of the queries. */
  seekMany(table: Table, queries: readonly FloorQuery[]): MaybePromise<(Row | undefined)[]>
  /** The next rows of a range: at least one if there is any, at most a page's worth (about 1 MiB, or `limit` rows). */
  scan(table: Table, range: ScanRange): MaybePromise<Page>
  /**
   * A scan for a caller that is done with each row before the next: `visit` is called with one row after the other, whose
   * bytes are written over, and must not ask the engine for anything. Answers whether there are more rows than a page's
   * worth. For engines that answer at once.
   */
  visit?(table: Table, range: ScanRange, visit: RowVisitor): boolean
  /**
   * The keys of a scan without those that differ from the one before in their last `suffix` bytes alone: of keys that are
   * alike up to there, the first in the order of the scan. Values are left out; all keys are longer than `suffix`.
   *
   * For engines where a round trip is what costs. Where it is absent, varve scans for one key after the other.
   */
  leap?(table: Table, range: ScanRange, suffix: number): MaybePromise<Page>
  /** Releases the view. Closing twice is allowed; using a closed view is not. */
  close(): void
}

/**
 * Collects what a commit writes. Later writes to a key win; the engine applies all of them, or none.
 *
 * Keys and values belong to the engine from the call on: the caller does not change them any more, nor does the engine.
 * A key that is empty or longer than {@link MAX_KEY_BYTES}, and a value longer than {@link MAX_VALUE_BYTES}, are
 * refused with an `InvalidArgumentError`.
 */
export interface Batch {
  put(table: Table, key: Uint8Array, value: Uint8Array): void
  delete(table: Table, key: Uint8Array): void
}

/** How a commit is to be made. */
export interface CommitOptions {
  /** Resolve only once the commit is on disk, safe from a loss of power. */
  readonly flush?: boolean | undefined
  /** The builder answers at once, and writes a few rows: there is nothing to gain from another thread. */
  readonly brief?: boolean | undefined
}

/** What the compaction of an engine may be given. */
export interface EngineCompactOptions {
  /** Cancels: the call rejects with its reason. */
  readonly signal?: AbortSignal | undefined
  /** Called every now and then with the rows copied so far. */
  readonly onProgress?: ((rows: number) => void) | undefined
}

/** What reading a damaged store may be given. */
export interface SalvageOptions {
  /** Cancels: the call rejects with its reason. */
  readonly signal?: AbortSignal | undefined
  /** Called every now and then with the pages looked at so far, while the engine looks for damage. */
  readonly onProgress?: ((pages: number) => void) | undefined
}

/** Something that is wrong with a store below the level of rows. */
export interface Damage {
  /** A sentence. */
  readonly message: string
  /** Whether rows may be missing, else only what leads to them, or to free room, is wrong. */
  readonly isLossOfRows: boolean
  /** Whether what was committed last may be missing, so that rows may be older than they should be. */
  readonly isOutdated?: boolean
  /** The table that is affected; absent where that cannot be told. */
  readonly table?: Table
  /** Missing rows have keys from here on; absent for all below `lt`. */
  readonly gte?: Uint8Array
  /** Missing rows have keys below this; absent for all from `gte` on. */
  readonly lt?: Uint8Array
  /** How many rows are missing, where that can be told. */
  readonly rows?: number
}

/** Rows that no tree leads to. They may be what is missing, or older than what took their place. */
export interface StrayPage {
  readonly rows: readonly Row[]
  /** The greater, the newer. */
  readonly written: number
}

/** A view of all rows of a damaged store that can be read. */
export interface SalvageView extends View {
  /** What is wrong below the level of rows; empty for a store in which nothing is. */
  readonly damage: readonly Damage[]
  /** Where rows are missing: those that are in the files all the same. Not in order, and not of one table. */
  strays(): Iterable<StrayPage>
  /** Whether strays may be rows that were written over since, as nothing tells any more which pages are free. */
  readonly mayStraysBeOutdated: boolean
}

/** A value that {@link Engine.peek} shows: the first `length` bytes. */
export interface Peeked {
  readonly bytes: Uint8Array
  readonly length: number
}

/** How much room a store takes. */
export interface EngineStats {
  /** Bytes of the files, or of the server's tables, as they are now; for `memory()`, of the keys and values. */
  readonly bytes: number
  /** Bytes of keys and values, or of the pages holding them, for each table, where the engine knows. */
  readonly tables: Readonly<Partial<Record<Table, { readonly entries: number; readonly bytes: number }>>>
  /** Bytes inside the files that are free for reuse. */
  readonly freeBytes: number
}

/**
 * What varve needs of a storage engine: ordered byte keys, consistent views, atomic commits.
 *
 * The contract, checked for every engine by `engineConformance`:
 *
 * - Keys are 1 to 1,200 bytes and order bytewise, a prefix before what it begins. Values may be empty.
 * - A view sees one commit, whole; it never changes while it is open, whatever is committed meanwhile.
 * - `commit` runs its builder under the engine's write exclusion: nobody, in this process or another, commits
 *   between what the builder reads and what it writes. The builder reads the state as it was before the commit (not
 *   its own writes), collects writes in the batch, and may run more than once, if the engine needs to retry: only
 *   the last run counts. If it throws, or the engine fails, nothing of it is applied and `commit` rejects.
 *   A builder does not wait for another commit of the same store: that one waits for the builder.
 * - Once `commit` has resolved, every view opened after it, in any process, shows it; and it survives the death of
 *   the process (with `flush`, of the machine).
 * - Before the first `open`, every call but `open` and `close` fails with an `EngineError`; after the last `close`,
 *   with a `StoreClosedError`, by throwing or by rejecting. A closed engine may be opened again.
 */
export interface Engine {
  /** A short name for logs and metrics, such as `lmdb`. */
  readonly name: string
  /** Whether calls are round trips to a server: then varve asks for many things at the same time. */
  readonly remote?: boolean
  /**
   * How varve is to write the keys of the state, where not as they are. It may be asked once the engine is open, and is the
   * same for the life of the store. Ranges of keys are slower where stored keys are not ordered as the keys are.
   */
  readonly keyCodec?: KeyCodec
  /** Opens, and creates where absent. Each `open` is matched by a `close`; only the last `close` releases. */
  open(): Promise<void>
  /** One lookup in the newest commit: `read().get(…)` without the view. */
  get(table: Table, key: Uint8Array): MaybePromise<Uint8Array | undefined>
  /**
   * `get` for a caller that is done with the value before it asks the engine for anything else: what is returned may be
   * one and the same object each time, and the bytes in it are written over. For engines that answer at once.
   */
  peek?(table: Table, key: Uint8Array): Peeked | undefined
  /** Opens a view of the newest commit. */
  read(): View
  /**
   * Says that a large commit is about to be asked for. Where writers of several processes take turns, one may be kept for it
   * from now on, so that it does not wait longer than small ones do.
   */
  announce?(): void
  /** Runs `build` under the write exclusion and applies what it put into the batch; resolves to what it returned. */
  commit<T>(build: (view: View, batch: Batch) => MaybePromise<T>, options?: CommitOptions): Promise<T>
  /** How much room the store takes now. */
  stats(): MaybePromise<EngineStats>
  /**
   * The room that a value of so many bytes takes, where the engine rounds it up (LMDB: to whole pages), so that records
   * can be cut to fit. Never falls as `bytes` grow. Absent, values take what they are long.
   */
  storedBytes?(bytes: number): number
  /**
   * Calls `listener` soon after another process may have committed, for engines that can tell; returns what ends
   * that. Where it is absent, varve polls the head record while somebody watches.
   */
  subscribe?(listener: () => void): () => void
  /** Gives file space back to the system where the engine can. Aborted, it leaves all as it was. */
  compact?(options?: EngineCompactOptions): Promise<void>
  /**
   * Reads what is whole of a store that may be damaged: looks for damage that could make its other calls fail, answer falsely or
   * end the process, and shows all rows that can be read. Works whether the engine is open or not, opens nothing that `open`
   * does, and writes nothing. Absent where the engine, or the server it talks to, sees to that by itself.
   */
  salvage?(options?: SalvageOptions): Promise<SalvageView>
  /**
   * Lets go of memory that the engine keeps for what was read and written lately, unless somebody is using it: open
   * views, for instance. Long work calls it every now and then.
   */
  trim?(): MaybePromise<void>
  /** Waits for commits under way, then releases everything that `open` took. */
  close(): Promise<void>
}
