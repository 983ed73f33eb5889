import type { ByteMeter } from '../core/byte-meter.ts'
import { EncryptionError, StoreClosedError, UnserializableValueError } from '../core/errors.ts'
import { decodeKey, encodeKey } from '../core/key.ts'
import type { Logger } from '../core/logger.ts'
import { isPromiseLike, type MaybePromise } from '../core/maybe-promise.ts'
import { abortSignal, callback, checkOptions, invalidOption } from '../core/options.ts'
import type { EncryptionKey } from '../crypto/encryption-key.ts'
import { isEncrypted } from '../encryption/is-encrypted.ts'
import type { RotateOptions } from '../encryption/rotate-key.ts'
import type { EngineStats } from '../engine/engine.ts'
import type { BulkSource } from '../history/bulk-commit.ts'
import type { CompactOptions, CompactSummary, History } from '../history/history.ts'
import type { PackTotals } from '../history/packer.ts'
import { decodePayload, encodePayload, type Payload, payloadLength } from '../history/record.ts'
import { checkVerifyOptions, type Verification, type VerifyOptions } from '../history/verify.ts'
import type { Difference, SnapshotComparison } from '../snapshot/compare.ts'
import type { ExportSnapshotOptions } from '../snapshot/export-snapshot.ts'
import type { ImportSnapshotOptions } from '../snapshot/import-snapshot.ts'
import type { Range } from '../snapshot/key-range.ts'
import type { SnapshotInfo } from '../snapshot/metadata.ts'
import type { RetentionPolicy } from '../snapshot/retention.ts'
import {
  type CancelOptions,
  type CommitSummary,
  type DeltaSnapshotOptions,
  type HistoryEntry,
  type PruneResult,
  SnapshotManager,
  type SnapshotOptions,
  toSummary,
} from '../snapshot/snapshot-manager.ts'
import { type KeyOf, type ReadableState, StateReader, type ValuesOf } from '../snapshot/state-reader.ts'
import type { VersionId } from '../snapshot/version.ts'
import type { ExportSummary, TransferOptions } from '../transfer/transfer-options.ts'
import { AutoSnapshot } from './auto-snapshot.ts'
import type { CachedReads, CacheMetrics } from './cached-reads.ts'
import { EncodedState } from './encoded-state.ts'
import { type Operation, type OperationMetrics, OperationRecorder } from './operation-metrics.ts'
import { compareAtOnce, quickSaveSource } from './quick-save.ts'
import { clearSource, saveSource } from './state-source.ts'
import { type Transaction, Transactions } from './transaction.ts'
import { type ExportOptions, exportData, importSource } from './transfer.ts'
import { type Change, Watcher } from './watch.ts'

/** What `getMetrics()` returns. */
export interface Metrics {
  /** Counts, errors and latencies (milliseconds) of each kind of call made through this object. */
  readonly operations: Readonly<Record<string, OperationMetrics>>
  readonly cache: CacheMetrics
  readonly delta: DeltaMetrics
  /** Snapshots on the list. */
  readonly snapshotCount: number
  /** Keys in the current state. */
  readonly keys: number
  readonly storage: StorageMetrics
}

/** How superseded values are stored. */
export interface DeltaMetrics {
  /** The strategy this store was opened with. */
  readonly strategy: string
  /** Records of the history, each with one version or a chain of them. */
  readonly records: number
  /** Bytes they take, as the engine counts. */
  readonly bytes: number
  /** What packing has done since the store was made, by strategy; versions packed again count again. */
  readonly packed: PackTotals
}

/** Where the data lives and the room it takes. */
export interface StorageMetrics extends EngineStats {
  /** The engine's name, such as `lmdb`. */
  readonly engine: string
}

/** What a Persistence is made of. */
export interface PersistenceParts {
  readonly history: History
  readonly compression: boolean
  readonly reads: CachedReads
  readonly delta: string
  readonly logger: Logger
  readonly autoSnapshotInterval: number | undefined
}

/**
 * A durable key-value state whose snapshots are thin layers.
 *
 * Every mutating call is one atomic commit: it happens whole or not at all, whatever other calls, worker threads or
 * processes do. Values are the caller's own: changing what was passed in or returned changes nothing here. Made by
 * `createPersistence()`.
 */
export class Persistence<S = Record<string, unknown>> implements ReadableState<S> {
  readonly #history: History
  readonly #snapshots: SnapshotManager<S>
  readonly #reader: StateReader<S>
  readonly #transactions: Transactions
  readonly #recorder: OperationRecorder
  readonly #gets: Operation
  readonly #sets: Operation
  readonly #watchers = new Set<Watcher<S>>()
  readonly #autoSnapshot: AutoSnapshot | undefined
  readonly #parts: PersistenceParts
  #closing: Promise<void> | undefined

  /** @internal */
  constructor(parts: PersistenceParts) {
    const { history, autoSnapshotInterval, logger } = parts
    this.#parts = parts
    this.#history = history
    this.#recorder = new OperationRecorder(history.engine.name)
    this.#gets = this.#recorder.operation('get')
    this.#sets = this.#recorder.operation('set')
    this.#snapshots = new SnapshotManager<S>(history, parts.compression)
    this.#reader = new StateReader<S>(history, () => 'head', parts.reads)
    const written = this.#recorder.meter('transaction')
    this.#transactions = new Transactions(history, value => this.#encode(value, written))
    if (autoSnapshotInterval !== undefined) {
      const snapshot = (): Promise<void> =>
        this.#snapshots.createSnapshotOfChanges({ description: 'automatic' })
      this.#autoSnapshot = new AutoSnapshot(autoSnapshotInterval, snapshot, logger)
    }
  }

  #run<T>(name: string, call: (meter: ByteMeter) => MaybePromise<T>): Promise<T> {
    if (this.#closing !== undefined) return Promise.reject(new StoreClosedError())
    return this.#recorder.measure(this.#recorder.operation(name), call)
  }

  #iterate<I extends AsyncIterator<unknown, unknown, undefined>>(name: string, iterate: () => I): I {
    if (this.#closing !== undefined) throw new StoreClosedError()
    return this.#recorder.iterate(name, iterate())
  }

  #encode(value: unknown, meter: ByteMeter): Payload {
    assertDefined(value)
    const payload = encodePayload(value, this.#parts.compression)
    meter.bytes += payloadLength(payload)
    return payload
  }

  // ---- the whole state

  /**
   * Makes the state equal to `data`: what differs is written, what `data` lacks is deleted, and the rest is not touched.
   * An abort leaves the state as it was.
   *
   * @throws {InvalidKeyError | UnserializableValueError}
   */
  save(data: S, options: CancelOptions = {}): Promise<CommitSummary> {
    return this.#run('save', async meter => {
      const { signal, onProgress } = checkOptions<CancelOptions>(
        options,
        { signal: abortSignal, onProgress: callback },
        'save()',
      )
      const history = this.#history
      const { compression } = this.#parts
      const state = propertiesOf(data, 'data')
      const encode = (state: Readonly<Record<string, unknown>>): EncodedState =>
        EncodedState.of(history.keys, state, encodeUnder)
      const source = (encoded: EncodedState): BulkSource => saveSource(history, encoded, compression, signal)
      // Compared or encoded before the first wait, so that what the caller does to the data afterwards changes nothing.
      const difference = compareAtOnce(history, state, compression, encodeUnder)
      if (difference === undefined) {
        const encoded = encode(state)
        meter.bytes += encoded.bytes
        return toSummary(await history.bulk({ ...source(encoded), onProgress }))
      }
      meter.bytes += difference.bytes
      try {
        const quick = quickSaveSource(difference, state => source(encode(state)), signal)
        return toSummary(await history.bulk({ ...quick, onProgress }))
      } finally {
        await difference.close()
      }
    })
  }

  /** The whole state, as a plain object, all of one moment. */
  load(): Promise<S> {
    return this.#run('load', meter => this.#reader.load(meter))
  }

  /** Empties the state. Its snapshots stay. */
  clear(): Promise<CommitSummary> {
    return this.#run('clear', async () => toSummary(await this.#history.bulk(clearSource(this.#history))))
  }

  // ---- single keys

  /**
   * The value of a key, or `fallback` (`undefined` by default) where there is none.
   *
   * @throws {InvalidKeyError}
   * @throws {DataIntegrityError} if what is stored there is damaged.
   */
  get<K extends KeyOf<S>>(key: K): Promise<S[K] | undefined>
  get<K extends KeyOf<S>, F>(key: K, fallback: F): Promise<S[K] | F>
  get<K extends KeyOf<S>, F>(key: K, fallback?: F): Promise<S[K] | F | undefined> {
    if (this.#closing !== undefined) return Promise.reject(new StoreClosedError())
    return this.#recorder.measure(this.#gets, meter => this.#reader.read(key, fallback, meter))
  }

  /**
   * The values of keys, in their order and all of one moment; `undefined` where there is none.
   *
   * @throws {InvalidKeyError}
   */
  getMany<const K extends readonly KeyOf<S>[]>(keys: K): Promise<ValuesOf<S, K>> {
    return this.#run('getMany', meter => this.#reader.getMany(keys, meter))
  }

  /** Whether the key has a value. @throws {InvalidKeyError} */
  has(key: KeyOf<S>): Promise<boolean> {
    return this.#run('has', () => this.#reader.has(key))
  }

  /**
   * Sets a key. The value is read at once: changing it after the call changes nothing in the store.
   *
   * @throws {InvalidKeyError | UnserializableValueError}
   */
  set<K extends KeyOf<S>>(key: K, value: S[K]): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(new StoreClosedError())
    return this.#recorder.measureEffect(this.#sets, (meter, call) => {
      this.#history.put(this.#history.keys.encode(key), this.#encode(value, meter), call)
    })
  }

  /**
   * Sets several keys in one commit. Takes an object, or pairs; of a key given twice, the last value counts. The summary
   * is of the keys given: `unchanged` held an equal value before.
   */
  setMany(entries: Partial<S> | Iterable<readonly [KeyOf<S>, S[KeyOf<S>]]>): Promise<CommitSummary> {
    return this.#run('setMany', async meter => {
      const pairs: Iterable<unknown> = isIterable(entries)
        ? entries
        : Object.entries(propertiesOf(entries, 'entries'))
      const targets = new Map<string, Payload>()
      const encode = (value: unknown): Payload => encodePayload(value, this.#parts.compression)
      const keys: Uint8Array[] = []
      let bytes = 0
      for (const pair of pairs) {
        if (!Array.isArray(pair)) throw invalidOption('entries', 'made of [key, value] pairs', pair)
        const name = pair[0] as string
        if (!targets.has(name)) keys.push(this.#history.keys.encode(name))
        const payload = encodeUnder(name, pair[1], encode)
        bytes += payloadLength(payload)
        targets.set(name, payload)
      }
      meter.bytes += bytes
      const { operationId, value } = await this.#history.putAll({
        keys,
        payloads: [...targets.values()],
        bytes,
      })
      return { operationId, ...value }
    })
  }

  /**
   * Replaces a value by what `change` makes of it, atomically: nobody writes the key in between. `change` runs once;
   * if it is asynchronous, it may run again after another writer was faster.
   *
   * @returns the new value.
   */
  update<K extends KeyOf<S>>(
    key: K,
    change: (value: S[K] | undefined) => S[K] | PromiseLike<S[K]>,
  ): Promise<S[K]> {
    return this.#run('update', async meter => {
      const bytes = this.#history.keys.encode(key)
      if (typeof change !== 'function') throw invalidOption('change', 'a function', change)
      const { value: outcome } = await this.#history.mutate({
        keys: [bytes],
        apply: draft => {
          const current = draft.get(bytes)
          const next = change(current && (decodePayload(current) as S[K]))
          if (isPromiseLike(next)) {
            const later = Promise.resolve(next)
            // It may reject while the commit is under way, before anybody waits for it.
            later.catch(() => undefined)
            return { later, before: draft.record(bytes) }
          }
          draft.set(bytes, this.#encode(next, meter))
          return { next }
        },
      })
      if (outcome.later === undefined) return outcome.next as S[K]
      const next = await outcome.later
      const payload = this.#encode(next, meter)
      const { value: written } = await this.#history.mutate({
        keys: [bytes],
        apply: draft => {
          const now = draft.record(bytes)
          const { before } = outcome
          if (now === undefined || before === undefined ? now !== before : Buffer.compare(now, before) !== 0)
            return false
          draft.set(bytes, payload)
          return true
        },
      })
      if (written) return next
      const retried = await this.#transactions.run<S, S[K]>(async transaction => {
        const value = await change(await transaction.get(key))
        transaction.set(key, value)
        return value
      })
      return retried
    })
  }

  /** Removes a key. @returns whether it existed. @throws {InvalidKeyError} */
  delete(key: KeyOf<S>): Promise<boolean> {
    return this.#run('delete', async () => {
      const bytes = this.#history.keys.encode(key)
      const { value } = await this.#history.mutate({ keys: [bytes], apply: draft => draft.delete(bytes) })
      return value
    })
  }

  /**
   * Several reads and writes as one atomic commit. The function may run again, after another writer changed what it had
   * read; it should have no other effects.
   *
   * @throws {ConflictError} if it lost too often.
   */
  transaction<T>(body: (transaction: Transaction<S>) => T | PromiseLike<T>): Promise<T> {
    return this.#run('transaction', async () => {
      if (typeof body !== 'function') throw invalidOption('body', 'a function', body)
      return this.#transactions.run(body)
    })
  }

  // ---- iteration

  /** The keys of a range in key order. As for {@link Persistence.entries}, they are of one moment. */
  keys(range?: Range): AsyncIterableIterator<KeyOf<S>> {
    return this.#iterate('keys', () => this.#reader.keys(range))
  }

  /** The values of a range in key order. As for {@link Persistence.entries}, they are of one moment. */
  values(range?: Range): AsyncIterableIterator<S[KeyOf<S>]> {
    return this.#iterate('values', () => this.#reader.values(range))
  }

  /**
   * The entries of a range in key order. They are of one moment; only an iteration that takes longer than five seconds
   * moves on to a newer one, and may then show later commits for the keys that remain.
   */
  entries(range?: Range): AsyncIterableIterator<[KeyOf<S>, S[KeyOf<S>]]> {
    return this.#iterate('entries', () => this.#reader.entries(range))
  }

  /** How many keys there are: a number that the store keeps, not a count. */
  size(): Promise<number> {
    return this.#run('size', () => this.#reader.size())
  }

  /** The changes committed from this call on, by any process. */
  watch(range?: Range): AsyncIterableIterator<Change<S>> {
    return this.#iterate('watch', () => {
      const watcher = new Watcher<S>(this.#history, range, ended => this.#watchers.delete(ended))
      this.#watchers.add(watcher)
      return watcher
    })
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new StoreClosedError()
  }

  // ---- snapshots

  /** Takes a snapshot: one small commit, however large the state is. @returns its version, `v1`, `v2`, … */
  createSnapshot(options?: SnapshotOptions): Promise<VersionId> {
    return this.#run('createSnapshot', () => this.#snapshots.createSnapshot(options))
  }

  /** Takes a snapshot and notes what it cost against a base, by default the newest. */
  createDeltaSnapshot(options?: DeltaSnapshotOptions): Promise<VersionId> {
    return this.#run('createDeltaSnapshot', () => this.#snapshots.createDeltaSnapshot(options))
  }

  /**
   * Makes the state equal to a snapshot's; snapshots taken since stay. An abort leaves the state as it was.
   *
   * @throws {SnapshotNotFoundError}
   */
  restoreSnapshot(version: VersionId, options?: CancelOptions): Promise<CommitSummary> {
    return this.#run('restoreSnapshot', () => this.#snapshots.restoreSnapshot(version, options))
  }

  /** Restores the newest snapshot with a tag; with `latest: false` the oldest. @throws {SnapshotNotFoundError} */
  restoreSnapshotByTag(tag: string, options?: { readonly latest?: boolean }): Promise<CommitSummary> {
    return this.#run('restoreSnapshotByTag', () => this.#snapshots.restoreSnapshotByTag(tag, options))
  }

  /** The whole state of a snapshot. @throws {SnapshotNotFoundError} */
  getSnapshotData(version: VersionId): Promise<S> {
    return this.#run('getSnapshotData', () => this.#snapshots.getSnapshotData(version))
  }

  /** A read-only view of a snapshot. Its calls reject with `SnapshotNotFoundError` once the snapshot is gone. */
  at(version: VersionId): ReadableState<S> {
    this.#assertOpen()
    return this.#snapshots.at(version)
  }

  /** The snapshots at which a key changed, newest first, with what it held from there on. */
  history<K extends KeyOf<S>>(key: K): AsyncGenerator<HistoryEntry<S[K]>, void, undefined> {
    return this.#iterate('history', () => this.#snapshots.history<S[K]>(key))
  }

  /**
   * The version that a name stands for: `head`, `v12`, a tag (the newest snapshot that has it), `@2026-01-31` (the newest
   * by the end of that day), and any of these with `~3` (three snapshots before).
   *
   * @throws {SnapshotNotFoundError} naming the nearest there are.
   */
  resolveVersion(name: string): Promise<VersionId | 'head'> {
    return this.#run('resolveVersion', () => this.#snapshots.resolveVersion(name))
  }

  /** All snapshots, oldest first. */
  listSnapshots(): Promise<SnapshotInfo[]> {
    return this.#run('listSnapshots', () => this.#snapshots.listSnapshots())
  }

  /** Adds tags to a snapshot. Policies spare those that have one. @throws {SnapshotNotFoundError} */
  tagSnapshot(version: VersionId, tags: string | readonly string[]): Promise<void> {
    return this.#run('tagSnapshot', () => this.#snapshots.tagSnapshot(version, tags))
  }

  /** Removes tags; those the snapshot does not have are ignored. @throws {SnapshotNotFoundError} */
  untagSnapshot(version: VersionId, tags: string | readonly string[]): Promise<void> {
    return this.#run('untagSnapshot', () => this.#snapshots.untagSnapshot(version, tags))
  }

  /** How many snapshots each tag has. */
  listTags(): Promise<Record<string, number>> {
    return this.#run('listTags', () => this.#snapshots.listTags())
  }

  /** Deletes a snapshot; what no other can see is freed in the background. @throws {SnapshotNotFoundError} */
  deleteSnapshot(version: VersionId): Promise<void> {
    return this.#run('deleteSnapshot', () => this.#snapshots.deleteSnapshot(version))
  }

  /** Deletes the snapshots that a policy does not keep; with `dryRun`, only says which. */
  pruneSnapshots(policy: RetentionPolicy, options?: { readonly dryRun?: boolean }): Promise<PruneResult> {
    return this.#run('pruneSnapshots', () => this.#snapshots.pruneSnapshots(policy, options))
  }

  /** What differs between two snapshots, or one and the current state (`'head'`). @throws {SnapshotNotFoundError} */
  compareSnapshots(version1: VersionId | 'head', version2: VersionId | 'head'): Promise<SnapshotComparison> {
    return this.#run('compareSnapshots', () => this.#snapshots.compareSnapshots(version1, version2))
  }

  /** The same, streamed in key order, with the values. */
  diff(
    version1: VersionId | 'head',
    version2: VersionId | 'head',
    range?: Range,
  ): AsyncGenerator<Difference, void, undefined> {
    return this.#iterate('diff', () => this.#snapshots.diff(version1, version2, range))
  }

  // ---- moving data

  /**
   * Writes the current state to a `.json` or `.jsonl` file, with an optional `.gz`, all of one moment. The file is
   * replaced whole, or left as it was.
   *
   * @throws {ExportError | UnserializableValueError}
   */
  exportData(path: string, options?: ExportOptions): Promise<ExportSummary> {
    return this.#run('exportData', meter => counted(meter, exportData(this.#history, path, options)))
  }

  /**
   * Makes the state equal to a file's, in one commit.
   *
   * @throws {ImportError} if the file is missing or not as it should be; the state is then as it was.
   */
  importData(path: string, options: TransferOptions = {}): Promise<CommitSummary> {
    return this.#run('importData', async meter => {
      const source = importSource(this.#history, path, options, value => this.#encode(value, meter))
      return toSummary(await this.#history.bulk(source))
    })
  }

  /**
   * Writes a snapshot to a portable, checksummed file: whole, or with `base` as the difference from another snapshot.
   * The file is replaced whole, or left as it was.
   *
   * @throws {SnapshotNotFoundError | ExportError}
   */
  exportSnapshot(version: VersionId, path: string, options?: ExportSnapshotOptions): Promise<ExportSummary> {
    return this.#run('exportSnapshot', meter =>
      counted(meter, this.#snapshots.exportSnapshot(version, path, options)),
    )
  }

  /**
   * Adds the snapshot of a file that `exportSnapshot()` wrote, and leaves the current state as it is. A snapshot that is
   * here already is not added again.
   *
   * @returns the version it has here.
   * @throws {ImportError} if the file is missing or damaged, or is a difference whose base is not here; the store is
   * then as it was.
   */
  importSnapshot(path: string, options?: ImportSnapshotOptions): Promise<VersionId> {
    return this.#run('importSnapshot', () => this.#snapshots.importSnapshot(path, options))
  }

  // ---- care

  /** Looks at every record: its checksum, that its value decodes, that the tables fit each other. */
  verify(options: VerifyOptions = {}): Promise<Verification> {
    return this.#run('verify', async () => this.#history.verify(checkVerifyOptions(options)))
  }

  /**
   * Does the background work now, packs the history as tightly as it goes, and gives file space back where the engine
   * can: that of LMDB rewrites its files, beside the old ones, while writes wait and reads go on.
   *
   * @throws the signal's reason once it is aborted; nothing is lost, and what was packed stays packed.
   *
   * @example
   * ```ts
   * await state.compact({
   *   signal: AbortSignal.timeout(60_000),
   *   onProgress: ({ phase, entries, entriesTotal }) => console.log(phase, entries, entriesTotal),
   * })
   * ```
   */
  compact(options: CompactOptions = {}): Promise<CompactSummary> {
    return this.#run('compact', async () =>
      this.#history.compact(
        checkOptions<CompactOptions>(options, { signal: abortSignal, onProgress: callback }, 'compact()'),
      ),
    )
  }

  /**
   * Replaces the key of an encrypted store. From then on it opens with the new key only; whoever has it open goes on.
   *
   * That rewrites one row: the records themselves are encrypted with keys that are kept in the store, wrapped. Where somebody
   * may have had the old key and the store, `{ reencrypt: true }` replaces those as well and encrypts all records anew.
   *
   * @throws {InvalidArgumentError} if it is not a key.
   * @throws {EncryptionError} with code `ENCRYPTION_NOT_ENCRYPTED` if the store is not encrypted.
   */
  rotateEncryptionKey(newKey: EncryptionKey, options?: RotateOptions): Promise<void> {
    return this.#run('rotateEncryptionKey', async () => {
      const { engine } = this.#history
      if (isEncrypted(engine)) return engine.rotateKey(newKey, options)
      throw new EncryptionError(
        'The store is not encrypted, so that there is no key to replace. copyStore() copies it to an encrypted one.',
        { code: 'ENCRYPTION_NOT_ENCRYPTED' },
      )
    })
  }

  /** Counts, bytes and latencies. */
  getMetrics(): Promise<Metrics> {
    return this.#run('getMetrics', async () => {
      const [storage, head, snapshots, packed] = await Promise.all([
        this.#history.stats(),
        this.#history.head(),
        this.#history.snapshots(),
        this.#history.packTotals(),
      ])
      const history = storage.tables.history
      return {
        operations: this.#recorder.report(),
        cache: this.#parts.reads.metrics(),
        delta: {
          strategy: this.#parts.delta,
          records: history?.entries ?? 0,
          bytes: history?.bytes ?? 0,
          packed,
        },
        snapshotCount: snapshots.length,
        keys: head.size,
        storage: { ...storage, engine: this.#history.engine.name },
      }
    })
  }

  /**
   * Waits for what is under way and releases everything. Later calls get `StoreClosedError`; watchers end.
   *
   * Called inside the function of a transaction, it does not wait for calls, which would be to wait for itself: that
   * transaction fails.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const watcher of [...this.#watchers]) watcher.end()
    await this.#autoSnapshot?.stop()
    if (!this.#transactions.inside) await this.#recorder.idle()
    await this.#parts.reads.close()
    await this.#history.close()
  }

  /** What `await using` calls: {@link Persistence.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Counts the bytes of a file that was written. */
async function counted(meter: ByteMeter, exporting: Promise<ExportSummary>): Promise<ExportSummary> {
  const summary = await exporting
  meter.bytes += summary.bytes
  return summary
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value
}

/** A plain object whose properties are keys. Anything else is refused: a Map, say, has none, and would count as empty. */
function propertiesOf(data: unknown, name: string): Readonly<Record<string, unknown>> {
  const prototype: unknown =
    typeof data === 'object' && data !== null ? Object.getPrototypeOf(data) : undefined
  if (prototype !== null && prototype !== Object.prototype) {
    throw invalidOption(name, 'a plain object whose properties are the keys', data)
  }
  const [symbol] = Object.getOwnPropertySymbols(data)
  if (symbol !== undefined) encodeKey(symbol)
  return data as Record<string, unknown>
}

/** `undefined` is how a read says that a key is absent, so it cannot be a value of its own. */
function assertDefined(value: unknown): void {
  if (value !== undefined) return
  throw new UnserializableValueError(
    'undefined cannot be stored as a value: reads return it for absent keys. Use delete() to remove a key, or null.',
    '$',
  )
}

/** Says under which key a value stands that cannot be stored. */
function encodeUnder<T>(key: string, value: unknown, encode: (value: unknown) => T): T {
  try {
    assertDefined(value)
    return encode(value)
  } catch (error) {
    if (!(error instanceof UnserializableValueError)) throw error
    throw new UnserializableValueError(
      `Key ${JSON.stringify(decodeKey(encodeKey(key)))}: ${error.message}`,
      error.path,
      {
        cause: error,
      },
    )
  }
}
