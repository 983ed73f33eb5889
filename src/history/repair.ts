import { bytesEqual, compareBytes, toByteString } from '../core/bytes.ts'
import { DataIntegrityError, InvalidArgumentError } from '../core/errors.ts'
import { counterAt, type KeyCodec, PLAIN_KEYS, splitVersionKey, versionKey } from '../core/key.ts'
import { abortSignal, callback, checkOptions } from '../core/options.ts'
import { Turns } from '../core/turns.ts'
import type { Engine, Row, SalvageView, Table } from '../engine/engine.ts'
import { appendRun, type ChangedKeys, FIRST_LISTED_KEY } from './change-list.ts'
import { checkMetaRow } from './check-meta.ts'
import { appendLogEntry } from './commit-log.ts'
import { EndedEpochs } from './ended-epochs.ts'
import { FORMAT_KEY, FORMAT_ROW, requireFormat } from './format.ts'
import { decodeHead, encodeHead, HEAD_KEY, type Head } from './head.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { lossesOf } from './losses-of.ts'
import { LostSpans } from './lost-spans.ts'
import { openCounter, openJsonRow, sealCounter, sealMeta } from './meta-row.ts'
import { OperationIds } from './operation-id.ts'
import {
  CHAIN,
  decodePayload,
  encodeRecord,
  type ParsedRecord,
  parseRecord,
  TOMBSTONE,
  TOMBSTONE_PAYLOAD,
} from './record.ts'
import { findGaps, type KnownVersion } from './repair-key.ts'
import { epochsToFree, markForFreeing, putSnapshot, type SnapshotRow } from './snapshot-table.ts'
import { StoreWriter } from './store-writer.ts'
import { StoredBytesChange } from './stored-bytes.ts'
import { Stretches } from './stretches.ts'
import { allRows, readTouchedKeys, type TouchedKeys } from './touched-keys.ts'
import type { Problem } from './verify.ts'
import { birthsOf } from './version-row.ts'

/** How far a repair has come. */
export interface RepairProgress {
  /** Records read so far: all are read twice. */
  readonly records: number
}

/** What {@link repair} may be given. */
export interface RepairOptions {
  /** Cancels: the call rejects with its reason. A later call with the same target begins anew. */
  readonly signal?: AbortSignal
  /** Called every now and then. */
  readonly onProgress?: (progress: RepairProgress) => void
}

/** A key of which something is lost. */
export interface LostKey {
  readonly key: string
  /** The snapshots in which its value is lost: the repaired store has them without the key. */
  readonly versions: readonly string[]
  /** Whether its current value is lost. */
  readonly current: boolean
  /** `false` where it may have been absent there all the same: what would tell is damaged too. */
  readonly certain: boolean
}

/** What a repair has saved, and what not. */
export interface RepairSummary {
  /** Keys of the current state that were saved. */
  readonly keys: number
  /** Snapshots that were saved, some perhaps not with all of their keys. */
  readonly snapshots: number
  /** Values that were saved, those of the current state and of the history. */
  readonly values: number
  readonly lost: {
    /** In the order of the keys. */
    readonly keys: readonly LostKey[]
    /**
     * How many keys of the current state are lost beside those that certainly are, with their names or as one that is not
     * certain; absent where that is lost too. Keys that only snapshots held are not counted.
     */
    readonly unnamedKeys?: number
    /** Snapshots that are lost whole; where their list is damaged, those that were deleted before are among them. */
    readonly snapshots: readonly string[]
    /**
     * Whether what was committed last may be lost: the current state may be older than it was, and there may have been
     * snapshots that are not listed here.
     */
    readonly newestCommits: boolean
  }
  /** What was found to be damaged. */
  readonly problems: readonly Problem[]
}

/**
 * Makes a new store of all that is whole of a damaged one: the current state, and every snapshot. The damaged one is only read.
 *
 * What is lost is listed. A snapshot of which some values are lost is kept, without these keys: no other value ever takes their
 * place. Versions keep their names, times and tags. A large change that was under way is taken back.
 *
 * The target must be empty, or hold what an earlier repair has left unfinished. Both engines are opened and closed by the call,
 * but for LMDB as the source: its files are read without it, as damaged pages could end the process. Lost rows that are in the
 * file all the same, as only what leads to them is damaged, are held in memory meanwhile.
 *
 * @throws {InvalidArgumentError} if source and target are the same engine, or an option is not as it should be.
 * @throws {EngineError} if there is no store (`ENGINE_NO_STORE`), one of a newer format (`FORMAT_TOO_NEW`), or an unfinished copy
 * (`COPY_UNFINISHED`), or if the target holds data (`COPY_TARGET_NOT_EMPTY`).
 *
 * @example
 * ```ts
 * import { lmdb, memory, repair } from 'varve'
 *
 * const { lost } = await repair(lmdb('./state'), memory()).catch(error => ({ lost: error.code }))
 * console.log(lost) // → ENGINE_NO_STORE
 * ```
 */
export async function repair(from: Engine, to: Engine, options: RepairOptions = {}): Promise<RepairSummary> {
  const checked = checkOptions<RepairOptions>(
    options,
    { signal: abortSignal, onProgress: callback },
    'repair()',
  )
  if (from === to)
    throw new InvalidArgumentError('A store cannot be repaired into itself: give another engine.')
  checked.signal?.throwIfAborted()
  if (from.salvage !== undefined) {
    const view = await from.salvage({ signal: checked.signal })
    try {
      return await repairInto(from, view, to, checked)
    } finally {
      view.close()
    }
  }
  await from.open()
  try {
    const view = from.read()
    try {
      return await repairInto(from, Object.assign(view, NO_DAMAGE), to, checked)
    } finally {
      view.close()
    }
  } finally {
    await from.close()
  }
}

const NO_DAMAGE: Pick<SalvageView, 'damage' | 'strays' | 'mayStraysBeOutdated'> = {
  damage: [],
  strays: () => [],
  mayStraysBeOutdated: false,
}

async function repairInto(
  from: Engine,
  view: SalvageView,
  to: Engine,
  options: RepairOptions,
): Promise<RepairSummary> {
  const keys = from.keyCodec ?? PLAIN_KEYS
  const work = new Repair(view, keys, options)
  await work.look()
  await to.open()
  try {
    const writer = new StoreWriter(to)
    await writer.begin()
    return await work.write(writer, keysFor(keys, to.keyCodec ?? PLAIN_KEYS))
  } finally {
    await to.close()
  }
}

/** How the new store stores a key that the damaged one stores like that: not as it stands where keys are encrypted, here or there. */
function keysFor(ours: KeyCodec, theirs: KeyCodec): (key: Uint8Array) => Uint8Array {
  return ours.ordered && theirs.ordered ? key => key : key => theirs.encode(ours.decode(key))
}

/** A row that no tree leads to. */
interface Stray {
  readonly row: Row
  /** The number of the transaction that wrote its page. */
  readonly written: number
}

/** Those of one table: the newest of each key. */
type Strays = Map<string, Stray>

/** A row of the history that is whole. */
interface HistoryRow {
  readonly row: Row
  readonly births: readonly KnownVersion[]
  readonly isChain: boolean
  /** Whether it may be one that was freed: then another one of its stretch may have taken its place. */
  readonly mayBeFreed?: boolean
}

/** What a key shall have in the new store. */
interface KeyState {
  readonly live: Uint8Array | undefined
  readonly rows: readonly HistoryRow[]
}

interface KeyedState extends KeyState {
  readonly key: Uint8Array
}

class Repair {
  readonly #view: SalvageView
  /** Those of the damaged store: everything here goes by its keys as they are stored, and in the order of these. */
  readonly #keyCodec: KeyCodec
  readonly #options: RepairOptions
  readonly #turns = new Turns()
  readonly #problems: Problem[] = []
  readonly #strays: { readonly live: Strays; readonly history: Strays } = {
    live: new Map(),
    history: new Map(),
  }
  readonly #ended = new EndedEpochs()
  readonly #spans = new LostSpans()
  /** Those of the history alone. */
  readonly #historySpans = new LostSpans()
  /** Keys in the spans of which anything was found. */
  readonly #seen = new Set<string>()
  readonly #lostKeys: LostKey[] = []
  /** How many of them the current state certainly had. */
  #lostNow = 0
  /** Whether snapshots may be lost of which nothing tells. */
  #mayLackSnapshots = false
  #snapshots: readonly SnapshotRow[] = []
  readonly #lostSnapshots = new Set<number>()
  /** The epochs of the snapshots. */
  #sealed: readonly number[] = []
  /** Their versions, by epoch. */
  #versions: ReadonlyMap<number, number> = new Map()
  #stretches = new Stretches([], Number.POSITIVE_INFINITY)
  /** The epochs that are marked for freeing. */
  #marked: readonly number[] = []
  #head: Head | undefined
  #isMetaDamaged = false
  #greatestBirth = 0
  #touched: TouchedKeys | undefined
  #records = 0
  #values = 0
  #keys = 0

  constructor(view: SalvageView, keyCodec: KeyCodec, options: RepairOptions) {
    this.#view = view
    this.#keyCodec = keyCodec
    this.#options = options
    for (const { table, message } of view.damage) this.#problems.push({ message, ...(table && { table }) })
  }

  /** Finds out what is damaged. */
  async look(): Promise<void> {
    await this.#lookAtMeta()
    const { damage } = this.#view
    this.#spans.addDamage(damage, 'live', key => key)
    for (const spans of [this.#spans, this.#historySpans]) spans.addDamage(damage, 'history', keyOfVersion)
    const strays = this.#gatherStrays()
    await this.#lookAtSnapshots(strays)
    await this.#lookAtRows(
      'live',
      row => parseRecord(row.key, row.value).birth,
      key => key,
    )
    await this.#lookAtRows('history', row => asHistoryRow(row).births.at(-1)?.birth ?? 0, keyOfVersion)
    await this.#lookAtMarks()
    this.#touched = await readTouchedKeys(this.#view, this.#head, this.#openEpoch(), this.#spans)
  }

  async #lookAtMeta(): Promise<void> {
    try {
      await requireFormat(this.#view)
    } catch (error) {
      // A newer varve wrote it, it is a copy that was broken off, or it is encrypted and no key was given.
      if (!(error instanceof DataIntegrityError)) throw error
      this.#report('meta', error)
    }
    for await (const row of allRows(this.#view, 'meta')) {
      try {
        checkMetaRow(row)
        if (bytesEqual(row.key, HEAD_KEY)) this.#head = decodeHead(row.value)
      } catch (error) {
        if (!(error instanceof DataIntegrityError)) throw error
        this.#report('meta', error)
        this.#isMetaDamaged = true
      }
    }
    this.#isMetaDamaged ||= lossesOf(this.#view.damage, 'meta').length > 0
  }

  /** Rows that only what leads to them is missing of, by what they are: their checksums know their keys. */
  #gatherStrays(): Map<number, SnapshotRow & { readonly written: number }> {
    const snapshots = new Map<number, SnapshotRow & { readonly written: number }>()
    const { damage } = this.#view
    if (!damage.some(({ isLossOfRows }) => isLossOfRows)) return snapshots
    const liveSpans = new LostSpans()
    liveSpans.addDamage(damage, 'live', key => key)
    const isSnapshotLost = lossesOf(damage, 'snapshots').length > 0
    const tombstones: { readonly birth: number; readonly stray: Stray }[] = []
    for (const { rows, written } of this.#view.strays()) {
      for (const row of rows) {
        const snapshot = asSnapshot(row)
        if (snapshot !== undefined) {
          if (isSnapshotLost && (snapshots.get(snapshot.version)?.written ?? -1) < written) {
            snapshots.set(snapshot.version, { ...snapshot, written })
          }
          this.#ended.note(snapshot.epoch, written)
        } else if (isWhole('live', row) && isValue(row)) {
          const { birth } = parseRecord(row.key, row.value)
          this.#ended.note(birth - 1, written)
          if (!liveSpans.has(row.key)) continue
          keepNewer(this.#strays.live, { row, written })
          this.#greatestBirth = Math.max(this.#greatestBirth, birth)
        } else if (isWhole('history', row)) {
          const { birth, isTombstone } = asHistoryRow(row).births.at(-1) as KnownVersion
          this.#ended.note(birth - 1, written)
          if (!this.#historySpans.has(keyOfVersion(row.key))) continue
          if (isTombstone) tombstones.push({ birth, stray: { row, written } })
          else keepNewer(this.#strays.history, { row, written })
          this.#greatestBirth = Math.max(this.#greatestBirth, birth)
        }
      }
    }
    for (const { birth, stray } of tombstones) {
      // The key may have come back in the same epoch.
      if (!this.#view.mayStraysBeOutdated || this.#ended.isBefore(birth, stray.written))
        keepNewer(this.#strays.history, stray)
    }
    return snapshots
  }

  async #lookAtSnapshots(strays: ReadonlyMap<number, SnapshotRow>): Promise<void> {
    const found = new Map<number, SnapshotRow>(strays)
    for await (const row of allRows(this.#view, 'snapshots')) {
      const snapshot = asSnapshot(row)
      if (snapshot !== undefined) {
        found.set(snapshot.version, snapshot)
      } else if (row.key.byteLength === 6) {
        const version = counterAt(row.key)
        this.#lostSnapshots.add(version)
        this.#problems.push({ table: 'snapshots', message: `The record of snapshot v${version} is damaged.` })
      }
    }
    // Of two that are said to seal the same epoch, or in another order than they were taken, one is false.
    let epoch = 0
    const sorted: SnapshotRow[] = []
    for (const snapshot of [...found.values()].sort((a, b) => a.version - b.version)) {
      if (snapshot.epoch <= epoch) continue
      epoch = snapshot.epoch
      sorted.push(snapshot)
    }
    this.#snapshots = sorted
    this.#sealed = sorted.map(snapshot => snapshot.epoch)
    this.#versions = new Map(sorted.map(({ epoch, version }) => [epoch, version]))
    this.#addLostSnapshots(found)
  }

  /** Where rows of the list are missing, every version that there was and that is not found may be among them. */
  #addLostSnapshots(found: ReadonlyMap<number, SnapshotRow>): void {
    let newest = (this.#head?.nextVersion ?? 1) - 1
    for (const version of found.keys()) newest = Math.max(newest, version)
    for (const { gte, lt } of lossesOf(this.#view.damage, 'snapshots')) {
      this.#mayLackSnapshots ||= this.#head === undefined
      const first = gte === undefined || gte.byteLength < 6 ? 1 : counterAt(gte)
      const last = lt === undefined || lt.byteLength < 6 ? newest : counterAt(lt)
      for (let version = first; version <= Math.min(last, newest); version++) {
        if (!found.has(version)) this.#lostSnapshots.add(version)
      }
    }
  }

  async #lookAtMarks(): Promise<void> {
    const bounds = new Set(this.#sealed)
    this.#marked = await epochsToFree(this.#view)
    for (const epoch of this.#marked) bounds.add(epoch)
    // Where marks or snapshots may be missing, every epoch may be such a bound.
    if (this.#isMetaDamaged || this.#lostSnapshots.size > 0 || this.#mayLackSnapshots)
      for (let epoch = 1; epoch < this.#openEpoch(); epoch++) bounds.add(epoch)
    const open = this.#head?.epoch ?? Number.POSITIVE_INFINITY
    this.#stretches = new Stretches(
      [...bounds].sort((a, b) => a - b),
      open,
    )
  }

  async #lookAtRows(
    table: 'live' | 'history',
    check: (row: Row) => number,
    toKey: (key: Uint8Array) => Uint8Array,
  ): Promise<void> {
    let before: Uint8Array | undefined
    let isDamaged = false
    const addSpan = (to: Uint8Array | undefined): void => {
      const span = { from: before && toKey(before), to: to && toKey(to) }
      this.#spans.add(span)
      if (table === 'history') this.#historySpans.add(span)
    }
    for await (const row of allRows(this.#view, table)) {
      await this.#step()
      try {
        const birth = check(row)
        this.#greatestBirth = Math.max(this.#greatestBirth, birth)
        // The key of a damaged row may be damaged itself: what is lost is anything between the rows beside it.
        if (isDamaged) addSpan(row.key)
        isDamaged = false
        before = row.key
      } catch (error) {
        isDamaged = true
        this.#report(table, error)
      }
    }
    if (isDamaged) addSpan(undefined)
  }

  async #step(): Promise<void> {
    if (++this.#records % 1024 === 0) {
      this.#options.signal?.throwIfAborted()
      this.#options.onProgress?.({ records: this.#records })
    }
    await this.#turns.breathe()
  }

  #report(table: Table, error: unknown): void {
    this.#problems.push({ table, message: error instanceof Error ? error.message : String(error) })
  }

  /** Writes the new store, in which a key is stored as `toStored` says. */
  async write(writer: StoreWriter, toStored: (key: Uint8Array) => Uint8Array): Promise<RepairSummary> {
    const lists = new Map<number, ChangedKeys>()
    const bytes = new StoredBytesChange()
    const firstListed = await this.#firstListed()
    let listed = 0
    const list = (key: Uint8Array, birth: number): void => {
      if (birth < firstListed) return
      let changes = lists.get(birth)
      if (changes === undefined) {
        // What is said of bytes stands in `bytes`.
        changes = { keys: [], bytes: 0 }
        lists.set(birth, changes)
      }
      changes.keys.push(toByteString(key))
      listed++
    }
    for await (const state of this.#states()) {
      const key = toStored(state.key)
      const { live, rows } = withKey(state, key)
      if (live !== undefined) {
        await writer.put('live', key, live)
        const { birth } = parseRecord(key, live)
        bytes.add(birth, live.byteLength)
        list(key, birth)
        this.#keys++
        this.#values++
      }
      for (const { row, births } of rows) {
        await writer.put('history', row.key, row.value)
        if (births.some(({ isTombstone }) => !isTombstone)) bytes.addRow(row)
        for (const { birth, isTombstone } of births) {
          list(key, birth)
          if (!isTombstone) this.#values++
        }
      }
      if (listed >= LISTED_KEYS) {
        await writeLists(writer, lists)
        listed = 0
      }
    }
    this.#addUnseenKeys()
    await writeLists(writer, lists)
    await writer.flush()
    for (let start = 0; start < this.#snapshots.length; start += ROWS_A_COMMIT) {
      const some = this.#snapshots.slice(start, start + ROWS_A_COMMIT)
      await writer.commit((_view, batch) => {
        for (const snapshot of some) putSnapshot(batch, snapshot)
      })
    }
    await this.#finish(writer, bytes, firstListed)
    return this.#summary()
  }

  /** The first epoch whose change list the new store has. */
  async #firstListed(): Promise<number> {
    const oldest = this.#sealed[0] ?? this.#openEpoch()
    try {
      const stored = await this.#view.get('meta', FIRST_LISTED_KEY)
      if (stored === undefined) return this.#isMetaDamaged ? oldest : 0
      return Math.min(openCounter(FIRST_LISTED_KEY, stored), oldest)
    } catch {
      return oldest
    }
  }

  /** The open epoch: after every snapshot, and not before what was written last. */
  #openEpoch(): number {
    const least = (this.#sealed.at(-1) ?? 0) + 1
    // What a large change that was under way has written is taken back.
    const newest = (this.#head?.pending ?? 0) === 0 ? this.#greatestBirth : 0
    return Math.max(this.#head?.epoch ?? 0, newest, least)
  }

  /** Key by key, what the new store shall hold. */
  async *#states(): AsyncGenerator<KeyedState, void, undefined> {
    const live = peekable(this.#wholeRows('live'))
    const history = peekable(this.#wholeRows('history'))
    for (;;) {
      const liveRow = await live.peek()
      const historyRow = await history.peek()
      const historyKey = historyRow && keyOfVersion(historyRow.key)
      const key =
        liveRow === undefined || (historyKey !== undefined && compareBytes(historyKey, liveRow.key) < 0)
          ? historyKey
          : liveRow.key
      if (key === undefined) return
      const isLive = liveRow !== undefined && compareBytes(liveRow.key, key) === 0
      if (isLive) await live.take()
      const rows: HistoryRow[] = []
      for (;;) {
        const next = await history.peek()
        if (next === undefined || compareBytes(keyOfVersion(next.key), key) !== 0) break
        await history.take()
        const stray = this.#strays.history.get(toByteString(next.key))
        const mayBeFreed = this.#view.mayStraysBeOutdated && stray?.row === next
        rows.push({ ...asHistoryRow(next), mayBeFreed })
      }
      yield this.#state(key, isLive ? liveRow.value : undefined, rows)
    }
  }

  #state(key: Uint8Array, stored: Uint8Array | undefined, found: readonly HistoryRow[]): KeyedState {
    const whole = this.#withoutOutdated(key, stored, withoutOverlaps(found))
    const { live, rows } = this.#takeBack(key, whole.live, whole.rows)
    const mayHaveLost = this.#spans.has(key)
    if (mayHaveLost) this.#seen.add(toByteString(key))
    const known = {
      key,
      rows: rows.map(({ births, mayBeFreed = false }) => ({
        first: births[0] as KnownVersion,
        last: births.at(-1) as KnownVersion,
        mayBeFreed,
      })),
      live: live && parseRecord(key, live).birth,
      mayHaveLost,
    }
    const touched = this.#touched as TouchedKeys
    const { tombstones, lost } = findGaps(known, this.#stretches, touched)
    // A value in the history was superseded; were it by a removal, that would be there.
    const wasPresent = live === undefined && known.rows.at(-1)?.last.isTombstone === false
    if (lost.length > 0) this.#lose(key, lost, wasPresent && !this.#historySpans.has(key))
    if (tombstones.length === 0) return { key, live, rows }
    const filled = [...rows, ...tombstones.map(birth => tombstoneRow(key, birth))]
    filled.sort((a, b) => compareBytes(a.row.key, b.row.key))
    return { key, live, rows: filled }
  }

  /**
   * A record that was live once, and that no tree leads to, need not be the current one, unless all free pages are known.
   * It counts from its birth on, as far as nothing was written since; and not at all, if it may be one that was written over
   * before its epoch ended, which no snapshot ever held.
   */
  #withoutOutdated(key: Uint8Array, live: Uint8Array | undefined, rows: readonly HistoryRow[]): KeyState {
    if (live === undefined || !this.#view.mayStraysBeOutdated) return { live, rows }
    const stray = this.#strays.live.get(toByteString(key))
    if (stray?.row.value !== live) return { live, rows }
    const { birth } = parseRecord(key, live)
    const open = this.#openEpoch()
    if (birth < open && !this.#ended.isBefore(birth, stray.written)) return { live: undefined, rows }
    const touched = this.#touched as TouchedKeys
    if (!touched.mayBeTouched(key, { after: birth, through: open })) return { live, rows }
    const row: HistoryRow = {
      row: { key: versionKey(key, birth), value: live },
      births: [{ birth, isTombstone: false }],
      isChain: false,
      mayBeFreed: true,
    }
    return {
      live: undefined,
      rows: withoutOverlaps([...rows, row].sort((a, b) => compareBytes(a.row.key, b.row.key))),
    }
  }

  /** Takes back what a large change had written that was under way: nobody has seen it. */
  #takeBack(key: Uint8Array, live: Uint8Array | undefined, rows: readonly HistoryRow[]): KeyState {
    const head = this.#head
    if (head === undefined || head.pending === 0) return { live, rows }
    const visible = rows.filter(({ births }) => (births[0] as KnownVersion).birth <= head.epoch)
    const isNew = live !== undefined && parseRecord(key, live).birth > head.epoch
    if (live !== undefined && !isNew) return { live, rows: visible }
    const last = visible.at(-1)
    if (last === undefined || last.isChain || last.births.at(-1)?.isTombstone === true) {
      return { live: undefined, rows: visible }
    }
    return { live: last.row.value, rows: visible.slice(0, -1) }
  }

  #lose(key: Uint8Array, stretches: readonly number[], wasPresent: boolean): void {
    const distinct = [...new Set(stretches)].sort((a, b) => a - b)
    const versions = distinct.flatMap(stretch => {
      const version = this.#versions.get(this.#stretches.endOf(stretch) ?? 0)
      return version === undefined ? [] : [`v${version}`]
    })
    const current = distinct.at(-1) === this.#stretches.last
    if (versions.length === 0 && !current) return
    const certain = wasPresent || (this.#touched as TouchedKeys).isPresent(toByteString(key))
    if (current && certain) this.#lostNow++
    this.#lostKeys.push({ key: this.#keyCodec.decode(key), versions, current, certain })
  }

  /** Keys of which nothing is left but their names. */
  #addUnseenKeys(): void {
    const touched = this.#touched as TouchedKeys
    for (const name of touched.names()) {
      if (this.#seen.has(name)) continue
      const key = Buffer.from(name, 'latin1')
      const unseen = { key, rows: [], live: undefined, mayHaveLost: true }
      const { lost } = findGaps(unseen, this.#stretches, touched)
      if (lost.length > 0) this.#lose(key, lost, false)
    }
    this.#lostKeys.sort((a, b) => compareBytes(Buffer.from(a.key), Buffer.from(b.key)))
  }

  /** The rows of a table that are whole, those included that no tree leads to. */
  async *#wholeRows(table: 'live' | 'history'): AsyncGenerator<Row, void, undefined> {
    const strays = [...this.#strays[table].values()].map(({ row }) => row)
    strays.sort((a, b) => compareBytes(a.key, b.key))
    let next = 0
    for await (const row of allRows(this.#view, table)) {
      await this.#step()
      if (!isWhole(table, row)) continue
      for (let stray = strays[next]; stray !== undefined; stray = strays[++next]) {
        const order = compareBytes(stray.key, row.key)
        if (order > 0) break
        if (order < 0) yield stray
      }
      yield row
    }
    yield* strays.slice(next)
  }

  async #finish(writer: StoreWriter, bytes: StoredBytesChange, firstListed: number): Promise<void> {
    const policy = await this.#policy()
    const epoch = this.#openEpoch()
    const sequence = (this.#head?.sequence ?? 0) + 1
    const nextVersion = Math.max(this.#head?.nextVersion ?? 1, (this.#snapshots.at(-1)?.version ?? 0) + 1)
    await writer.commit(async (view, batch) => {
      const { writer: name } = new OperationIds()
      appendLogEntry(
        batch,
        sequence,
        epoch,
        { writer: name, firstOperation: 0, lastOperation: 0 },
        [],
        DEFAULT_LIMITS,
      )
      for (const at of this.#marked) markForFreeing(batch, at)
      await bytes.flush(view, batch)
      if (policy !== undefined) batch.put('meta', POLICY_KEY, policy)
      if (firstListed > 0) batch.put('meta', FIRST_LISTED_KEY, sealCounter(FIRST_LISTED_KEY, firstListed))
      const head: Head = {
        epoch,
        sequence,
        size: this.#keys,
        nextVersion,
        latestSnapshot: this.#sealed.at(-1) ?? 0,
        folded: sequence - 1,
        logStart: sequence,
        pending: 0,
      }
      batch.put('meta', HEAD_KEY, encodeHead(head))
      batch.put('meta', FORMAT_KEY, FORMAT_ROW)
    }, true)
  }

  /** The retention policy as it is stored, if it can be read. */
  async #policy(): Promise<Uint8Array | undefined> {
    const stored = await this.#view.get('meta', POLICY_KEY)
    if (stored === undefined) return undefined
    try {
      const policy = openJsonRow(POLICY_KEY, stored)
      decodePayload({ codec: policy[0] as number, bytes: policy.subarray(1) })
      return sealMeta(POLICY_KEY, policy)
    } catch {
      this.#problems.push({ table: 'meta', message: 'The retention policy cannot be read; set it again.' })
      return undefined
    }
  }

  #summary(): RepairSummary {
    const size = this.#head?.pending === 0 ? this.#head.size : undefined
    return {
      keys: this.#keys,
      snapshots: this.#snapshots.length,
      values: this.#values,
      lost: {
        keys: this.#lostKeys,
        ...(size !== undefined && { unnamedKeys: Math.max(0, size - this.#keys - this.#lostNow) }),
        snapshots: [...this.#lostSnapshots].sort((a, b) => a - b).map(version => `v${version}`),
        newestCommits:
          this.#mayLackSnapshots ||
          this.#view.damage.some(({ isOutdated }) => isOutdated === true) ||
          (this.#view.mayStraysBeOutdated && this.#strays.live.size > 0),
      },
      problems: this.#problems,
    }
  }
}

/** So many keys of change lists are gathered before they are written. */
const LISTED_KEYS = 100_000

const POLICY_KEY = Buffer.from('retention')

async function writeLists(writer: StoreWriter, lists: Map<number, ChangedKeys>): Promise<void> {
  const all = [...lists].sort(([a], [b]) => a - b)
  lists.clear()
  for (let start = 0; start < all.length; start += ROWS_A_COMMIT) {
    await writer.commit(async (view, batch) => {
      for (const [epoch, changes] of all.slice(start, start + ROWS_A_COMMIT)) {
        await appendRun(view, batch, epoch, changes, DEFAULT_LIMITS)
      }
    })
  }
}

const ROWS_A_COMMIT = 500

/** The key of the state in one of the history, which may be the bound of a range only. */
function keyOfVersion(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0)
  return bytes.subarray(0, end === -1 ? undefined : end).map(byte => byte - 1)
}

function keepNewer(strays: Strays, stray: Stray): void {
  const name = toByteString(stray.row.key)
  if ((strays.get(name)?.written ?? -1) < stray.written) strays.set(name, stray)
}

/** Whether a row is what was written there. */
function isWhole(table: 'live' | 'history', row: Row): boolean {
  try {
    if (table === 'history') return asHistoryRow(row).births.length > 0
    // Records in the table meta have no birth.
    const { codec, birth } = parseRecord(row.key, row.value)
    return birth > 0 && codec !== TOMBSTONE && codec !== CHAIN
  } catch {
    return false
  }
}

/** Whether a row that is whole makes sense as a value. What no tree leads to may be of any table. */
function isValue({ key, value }: Row): boolean {
  try {
    decodePayload(parseRecord(key, value))
    return true
  } catch {
    return false
  }
}

function asHistoryRow(row: Row): HistoryRow {
  const births = birthsOf(row).map(({ birth, codec }) => ({ birth, isTombstone: codec === TOMBSTONE }))
  return { row, births, isChain: births.length > 1 }
}

/** Of rows that overlap, as one of them is older and was left behind, the first. */
function withoutOverlaps(rows: readonly HistoryRow[]): HistoryRow[] {
  const kept: HistoryRow[] = []
  let last = 0
  for (const row of rows) {
    if ((row.births[0] as KnownVersion).birth <= last) continue
    last = (row.births.at(-1) as KnownVersion).birth
    kept.push(row)
  }
  return kept
}

/** The records of a key under another one, of which their checksums know. */
function withKey({ key: before, live, rows }: KeyedState, key: Uint8Array): KeyState {
  if (key === before) return { live, rows }
  const rekeyed = (record: ParsedRecord): Uint8Array => encodeRecord(key, record.birth, record)
  return {
    live: live && rekeyed(parseRecord(before, live)),
    rows: rows.map(({ row, ...known }) => ({
      ...known,
      row: {
        key: versionKey(key, splitVersionKey(row.key).birth),
        value: rekeyed(parseRecord(before, row.value)),
      },
    })),
  }
}

function tombstoneRow(key: Uint8Array, birth: number): HistoryRow {
  const row = { key: versionKey(key, birth), value: encodeRecord(key, birth, TOMBSTONE_PAYLOAD) }
  return { row, births: [{ birth, isTombstone: true }], isChain: false }
}

/** The snapshot that a row is the record of; `undefined` if it is not, or is damaged. */
function asSnapshot({ key, value }: Row): SnapshotRow | undefined {
  // No version has come so far as to have another first byte, and hardly a key of the state begins with it.
  if (key.byteLength !== 6 || key[0] !== 0) return undefined
  try {
    const { birth, codec, bytes } = parseRecord(key, value)
    const metadata = { codec, bytes }
    const decoded = decodePayload(metadata) as { readonly id?: unknown; readonly createdAt?: unknown } | null
    if (typeof decoded?.id !== 'string' || typeof decoded.createdAt !== 'number') return undefined
    return { version: counterAt(key), epoch: birth, metadata }
  } catch {
    return undefined
  }
}

function peekable<T>(items: AsyncIterator<T, void>): {
  peek(): Promise<T | undefined>
  take(): Promise<T | undefined>
} {
  let next: Promise<T | undefined> | undefined
  const peek = (): Promise<T | undefined> => {
    next ??= items.next().then(result => (result.done === true ? undefined : result.value))
    return next
  }
  return {
    peek,
    take() {
      const item = peek()
      next = undefined
      return item
    },
  }
}
