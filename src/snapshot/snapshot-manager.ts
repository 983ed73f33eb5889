import { randomUUID } from 'node:crypto'
import { publishPrune, publishSnapshot } from '../core/diagnostics.ts'
import { SnapshotNotFoundError } from '../core/errors.ts'
import { type MaybePromise, whenReady } from '../core/maybe-promise.ts'
import { abortSignal, boolean, callback, checkOptions, invalidOption } from '../core/options.ts'
import { encodeValue } from '../core/value-codec.ts'
import type { Engine, View } from '../engine/engine.ts'
import type { BulkProgress, BulkSummary } from '../history/bulk-commit.ts'
import { summarizeChanges } from '../history/change-summary.ts'
import { lastLoggedEpoch } from '../history/commit-log.ts'
import type { Head } from '../history/head.ts'
import { History, type HistoryOptions, type Moment, type SnapshotSelection } from '../history/history.ts'
import { openJsonRow, sealMeta } from '../history/meta-row.ts'
import { readVersions } from '../history/reader.ts'
import {
  decodePayload,
  type ParsedRecord,
  type Payload,
  payloadsEqual,
  TOMBSTONE,
  toPayload,
} from '../history/record.ts'
import {
  listSnapshotRows,
  newestSnapshot,
  requireSnapshot,
  type SnapshotRow,
} from '../history/snapshot-table.ts'
import type { ExportSummary } from '../transfer/transfer-options.ts'
import { compare, type Difference, diff, type SnapshotComparison } from './compare.ts'
import { type ExportSnapshotOptions, exportSnapshot } from './export-snapshot.ts'
import { type ImportSnapshotOptions, importSnapshot } from './import-snapshot.ts'
import type { Range } from './key-range.ts'
import {
  decodeMetadata,
  encodeMetadata,
  type SnapshotInfo,
  type SnapshotMetadata,
  toSnapshotInfo,
} from './metadata.ts'
import { restoreSource } from './restore.ts'
import { applyRetention, type RetentionPolicy, validateRetention } from './retention.ts'
import { type ReadableState, StateReader } from './state-reader.ts'
import { checkVersion, formatVersion, parseVersion, type VersionId } from './version.ts'
import { findVersion } from './version-name.ts'

/** What a snapshot may be given. */
export interface SnapshotOptions {
  /** A name that several snapshots may share; tagged ones are spared by retention policies. */
  readonly tag?: string
  /** Several of them. Those given here and as `tag` are put together. */
  readonly tags?: readonly string[]
  /** For people. Default: empty. */
  readonly description?: string
  /** Anything that can be stored as a value. */
  readonly userInfo?: unknown
}

/** What a delta snapshot may be given. */
export interface DeltaSnapshotOptions extends SnapshotOptions {
  /** The snapshot to measure against; by default the newest. */
  readonly baseVersion?: VersionId
}

/** What calls may be given that change the whole state. */
export interface CancelOptions {
  /** Cancels: the call rejects with its reason, and the state is as it was. */
  readonly signal?: AbortSignal
  /** Called every now and then while a large change is put in place, when it can no more be cancelled. */
  readonly onProgress?: (progress: BulkProgress) => void
}

/** A snapshot at which a key changed: it held `value` from there on, or was `deleted`. */
export type HistoryEntry<V = unknown> =
  | { readonly version: VersionId; readonly value: V; readonly deleted?: undefined }
  | { readonly version: VersionId; readonly deleted: true; readonly value?: undefined }

/** What pruning did, or would do: the versions of both sorts, oldest first. */
export interface PruneResult {
  readonly kept: VersionId[]
  readonly removed: VersionId[]
}

/** What a mutating call did, with the id under which the commit log knows it. */
export interface CommitSummary {
  readonly operationId: string
  /** Keys added or changed. */
  readonly set: number
  /** Keys removed. */
  readonly deleted: number
  /** Keys of the resulting state that were so before. */
  readonly unchanged: number
}

const POLICY_KEY = Buffer.from('retention')

/** Thrown inside a commit to say that there is nothing to take a snapshot of. */
const UNCHANGED = Symbol('unchanged')

/**
 * The snapshots of a store: taking, naming, reading, comparing, restoring and dropping them.
 *
 * `createPersistence()` has one inside; alone it serves programs that bring an engine and change the state elsewhere.
 *
 * @example
 * ```ts
 * import { memory } from 'varve/engine'
 * import { SnapshotManager } from 'varve/snapshot'
 *
 * const snapshots = await SnapshotManager.open(memory())
 * const version = await snapshots.createSnapshot({ tag: 'empty' })
 * console.log(version, await snapshots.listTags())
 * await snapshots.close()
 * ```
 */
export class SnapshotManager<S = Record<string, unknown>> {
  readonly #history: History
  readonly #compression: boolean

  /** @internal */
  constructor(history: History, compression = true) {
    this.#history = history
    this.#compression = compression
  }

  /** Opens the store of an engine. */
  static async open<S = Record<string, unknown>>(
    engine: Engine,
    options: HistoryOptions = {},
  ): Promise<SnapshotManager<S>> {
    return new SnapshotManager<S>(await History.open(engine, options))
  }

  /** Waits for what is under way and releases the engine. */
  close(): Promise<void> {
    return this.#history.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Takes a snapshot of the current state: one small commit, however large the state is. The stored retention policy is
   * applied in the same commit.
   *
   * @returns its version, `v1`, `v2`, …
   */
  async createSnapshot(options: SnapshotOptions = {}): Promise<VersionId> {
    const checked = checkSnapshotOptions(options, SNAPSHOT_CHECKS, 'createSnapshot()')
    return this.#seal(encodeMetadata(newMetadata(checked, { kind: 'full' })))
  }

  /** Seals, and drops what the stored policy does not keep any more. */
  async #seal(metadata: Payload | ((view: View, head: Head) => Promise<Payload>)): Promise<VersionId> {
    let dropped: readonly VersionId[] = []
    const row = await this.#history.seal(metadata, (view, sealed) =>
      whenReady(pruneByPolicy(view, sealed), selection => {
        dropped = selection?.all.filter(({ version }) => selection.versions.has(version)).map(nameOf) ?? []
        return selection
      }),
    )
    const version = nameOf(row)
    const engine = this.#history.engine.name
    publishSnapshot(() => ({ engine, version, tags: decodeMetadata(row.metadata).tags, origin: 'taken' }))
    this.#publishPrune(dropped, true)
    return version
  }

  #publishPrune(versions: readonly VersionId[], automatic: boolean): void {
    if (versions.length > 0) publishPrune(() => ({ engine: this.#history.engine.name, versions, automatic }))
  }

  /**
   * Takes a snapshot if anything was committed since the last one.
   *
   * @internal
   */
  async createSnapshotOfChanges(options: SnapshotOptions): Promise<void> {
    // Every snapshot opens an epoch, so that what was committed since the last one is in the open epoch.
    const isChanged = async (view: View, head: Head): Promise<boolean> =>
      (await lastLoggedEpoch(view)) === head.epoch
    // A look without the write exclusion, which most of the time is all.
    if (!(await this.#history.view(isChanged))) return
    const checked = checkSnapshotOptions(options, SNAPSHOT_CHECKS, 'createSnapshotOfChanges()')
    const metadata = async (view: View, head: Head): Promise<Payload> => {
      if (!(await isChanged(view, head))) throw UNCHANGED
      return encodeMetadata(newMetadata(checked, { kind: 'full' }))
    }
    try {
      await this.#seal(metadata)
    } catch (error) {
      if (error !== UNCHANGED) throw error
    }
  }

  /**
   * Takes a snapshot and notes what it cost against a base. It holds the whole state, as every snapshot does, and
   * stays readable when the base is deleted. In a store without snapshots it is a full one.
   *
   * @throws {SnapshotNotFoundError} if the base does not exist.
   */
  async createDeltaSnapshot(options: DeltaSnapshotOptions = {}): Promise<VersionId> {
    const checked = checkSnapshotOptions<DeltaSnapshotOptions>(options, DELTA_CHECKS, 'createDeltaSnapshot()')
    const wanted = checked.baseVersion === undefined ? undefined : parseVersion(checked.baseVersion)
    // A base that is not there is refused before anything is asked of the engine's writers.
    if (wanted !== undefined) await this.#history.snapshot(wanted)
    return this.#seal(async (view, head) => {
      // In the commit that seals: the base cannot be dropped, nor the state change, between measuring and sealing.
      const base = wanted === undefined ? await newestSnapshot(view) : await requireSnapshot(view, wanted)
      if (base === undefined) return encodeMetadata(newMetadata(checked, { kind: 'full' }))
      const [cost] = await summarizeChanges(
        view,
        [{ after: base.epoch, through: head.epoch }],
        this.#history.limits,
      )
      const metadata = newMetadata(checked, { kind: 'delta', baseVersion: formatVersion(base.version) })
      return encodeMetadata({ ...metadata, ...cost })
    })
  }

  /**
   * Makes the current state equal to a snapshot's. Snapshots taken since stay. An abort leaves the state as it was;
   * once the change has been decided, it comes too late.
   *
   * @throws {SnapshotNotFoundError}
   */
  async restoreSnapshot(version: VersionId, options: CancelOptions = {}): Promise<CommitSummary> {
    const number = parseVersion(version)
    const { signal, onProgress } = checkOptions<CancelOptions>(
      options,
      { signal: abortSignal, onProgress: callback },
      'restoreSnapshot()',
    )
    const source = restoreSource(this.#history, number, this.#compression, signal)
    return toSummary(await this.#history.bulk({ ...source, onProgress }))
  }

  /**
   * Restores the newest snapshot with a tag; with `latest: false` the oldest.
   *
   * @throws {SnapshotNotFoundError} if no snapshot has the tag.
   */
  async restoreSnapshotByTag(
    tag: string,
    options: { readonly latest?: boolean } = {},
  ): Promise<CommitSummary> {
    const name = checkTag(tag, 'tag')
    const { latest = true } = checkOptions<{ latest?: boolean }>(
      options,
      { latest: boolean },
      'restoreSnapshotByTag()',
    )
    const rows = (await this.#history.snapshots()).filter(row =>
      decodeMetadata(row.metadata).tags.includes(name),
    )
    const row = latest ? rows.at(-1) : rows[0]
    if (row === undefined) {
      throw new SnapshotNotFoundError(
        `No snapshot has the tag ${JSON.stringify(name)}. listTags() names the tags there are.`,
      )
    }
    return this.restoreSnapshot(formatVersion(row.version))
  }

  /** The whole state of a snapshot. @throws {SnapshotNotFoundError} */
  async getSnapshotData(version: VersionId): Promise<S> {
    return this.at(version).load()
  }

  /** A read-only view of a snapshot. Its calls reject with `SnapshotNotFoundError` once the snapshot is gone. */
  at(version: VersionId): ReadableState<S> {
    return new StateReader<S>(this.#history, () => parseVersion(version))
  }

  /** The snapshots at which a key changed, newest first, with what it held from there on. */
  async *history<V = unknown>(key: string): AsyncGenerator<HistoryEntry<V>, void, undefined> {
    const bytes = this.#history.keys.encode(key)
    const changes = await this.#history.view(async view => {
      const snapshots = await listSnapshotRows(view)
      const versions = await readVersions(view, bytes)
      const seen: { readonly version: number; readonly record: ParsedRecord }[] = []
      let next = snapshots.length
      // From the newest down: a version is seen by the snapshots from its birth to that of the one after it.
      for (const record of versions.reverse()) {
        let first: SnapshotRow | undefined
        while (next > 0 && (snapshots[next - 1] as SnapshotRow).epoch >= record.birth)
          first = snapshots[--next]
        if (first !== undefined) seen.push({ version: first.version, record })
      }
      // A value that was there before, or an absence before which there was nothing, is no change.
      return seen.filter(({ record }, i) => {
        const older = seen[i + 1]?.record
        return older === undefined ? record.codec !== TOMBSTONE : !payloadsEqual(record, older)
      })
    })
    for (const { version, record } of changes) {
      if (record.codec === TOMBSTONE) yield { version: formatVersion(version), deleted: true }
      else yield { version: formatVersion(version), value: decodePayload(record) as V }
    }
  }

  /**
   * The version that a name stands for, as people write them:
   *
   * - `head`: the current state
   * - `v12`: a snapshot
   * - a tag: the newest snapshot that has it
   * - `@2026-01-31`: the newest snapshot taken by the end of that day, `@2026-01-31T14:05` by the end of that minute; in
   *   local time, unless it ends in `Z` or an offset
   * - any of these and `~3`: three snapshots before. `head~1` is the newest snapshot
   *
   * @throws {SnapshotNotFoundError} naming the nearest there are.
   * @throws {InvalidArgumentError} if it is not a name, or a date that is none.
   */
  async resolveVersion(name: string): Promise<VersionId | 'head'> {
    if (name === 'head') return name
    const rows = await this.#history.snapshots()
    const named = rows.map(row => {
      const { createdAt, tags } = decodeMetadata(row.metadata)
      return { version: formatVersion(row.version), createdAt, tags }
    })
    return findVersion(named, name)
  }

  /** All snapshots, oldest first. */
  listSnapshots(): Promise<SnapshotInfo[]> {
    return this.#history.view(async view => {
      const rows = await listSnapshotRows(view)
      const ranges = rows.map((row, i) => ({ after: rows[i - 1]?.epoch ?? 0, through: row.epoch }))
      const costs = await summarizeChanges(view, ranges, this.#history.limits)
      return rows.map((row, i) => toSnapshotInfo(row, decodeMetadata(row.metadata), costs[i] ?? NO_COST))
    })
  }

  /** Adds tags. @throws {SnapshotNotFoundError} */
  async tagSnapshot(version: VersionId, tags: string | readonly string[]): Promise<void> {
    const names = checkTags(tags, 'tags')
    await this.#retag(version, existing => [...new Set([...existing, ...names])])
  }

  /** Removes tags; those the snapshot does not have are ignored. @throws {SnapshotNotFoundError} */
  async untagSnapshot(version: VersionId, tags: string | readonly string[]): Promise<void> {
    const names = new Set(checkTags(tags, 'tags'))
    await this.#retag(version, existing => existing.filter(tag => !names.has(tag)))
  }

  #retag(version: VersionId, change: (tags: readonly string[]) => readonly string[]): Promise<void> {
    return this.#history.updateSnapshot(parseVersion(version), payload => {
      const metadata = decodeMetadata(payload)
      return encodeMetadata({ ...metadata, tags: change(metadata.tags) })
    })
  }

  /** How many snapshots each tag has. */
  async listTags(): Promise<Record<string, number>> {
    const counts = new Map<string, number>()
    for (const row of await this.#history.snapshots()) {
      for (const tag of decodeMetadata(row.metadata).tags) counts.set(tag, (counts.get(tag) ?? 0) + 1)
    }
    return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  /**
   * Deletes a snapshot. It leaves the list at once; what no other can see is freed in the background.
   *
   * @throws {SnapshotNotFoundError}
   */
  async deleteSnapshot(version: VersionId): Promise<void> {
    const number = parseVersion(version)
    const dropped = await this.#history.drop(
      all => new Set(all.filter(row => row.version === number).map(row => row.version)),
    )
    if (dropped.length === 0)
      throw new SnapshotNotFoundError(
        `There is no snapshot ${version}. listSnapshots() names those that exist.`,
      )
    this.#publishPrune(dropped.map(nameOf), false)
  }

  /** Deletes the snapshots that a policy does not keep; with `dryRun`, only says which. */
  async pruneSnapshots(
    policy: RetentionPolicy,
    options: { readonly dryRun?: boolean } = {},
  ): Promise<PruneResult> {
    const checked = validateRetention(policy, 'retention')
    const { dryRun = false } = checkOptions<{ dryRun?: boolean }>(
      options,
      { dryRun: boolean },
      'pruneSnapshots()',
    )
    let kept: VersionId[] = []
    const choose = (all: readonly SnapshotRow[]): Set<number> => {
      const remove = removable(all, checked)
      kept = all.filter(row => !remove.has(row.version)).map(row => formatVersion(row.version))
      return remove
    }
    if (dryRun) {
      const all = await this.#history.snapshots()
      const remove = choose(all)
      return {
        kept,
        removed: all.filter(row => remove.has(row.version)).map(row => formatVersion(row.version)),
      }
    }
    const removed = (await this.#history.drop(choose)).map(nameOf)
    this.#publishPrune(removed, false)
    return { kept, removed }
  }

  /**
   * What differs between two snapshots, or between one and the current state (`'head'`). Reads only what was touched
   * between them.
   *
   * @throws {SnapshotNotFoundError}
   */
  async compareSnapshots(
    version1: VersionId | 'head',
    version2: VersionId | 'head',
  ): Promise<SnapshotComparison> {
    return compare(this.#history, [parseMoment(version1), parseMoment(version2)], [version1, version2])
  }

  /** The same, streamed in key order, with the values. */
  diff(
    version1: VersionId | 'head',
    version2: VersionId | 'head',
    range?: Range,
  ): AsyncGenerator<Difference, void, undefined> {
    return diff(this.#history, parseMoment(version1), parseMoment(version2), range)
  }

  /**
   * Writes a snapshot to a file of its own format, checksummed to the last bit and compressed: whole, or with `base`
   * as the difference from another snapshot. The file is replaced whole, or left as it was.
   *
   * @throws {SnapshotNotFoundError | ExportError}
   *
   * @example
   * ```ts
   * await snapshots.exportSnapshot('v1', './v1.snapshot')
   * await snapshots.exportSnapshot('v2', './v2.snapshot', { base: 'v1' })
   * await elsewhere.importSnapshot('./v1.snapshot')
   * await elsewhere.importSnapshot('./v2.snapshot')
   * ```
   */
  async exportSnapshot(
    version: VersionId,
    path: string,
    options?: ExportSnapshotOptions,
  ): Promise<ExportSummary> {
    return exportSnapshot(this.#history, version, path, options)
  }

  /**
   * Adds the snapshot of a file that {@link SnapshotManager.exportSnapshot} wrote, in one commit, with the time, tags,
   * description and user info it had. The current state and other snapshots stay as they are, and no retention policy
   * is applied; one that is stored counts the snapshot from the next one on.
   *
   * A difference needs its base here: the same snapshot, whatever version it has. A snapshot that is here already is
   * not added again.
   *
   * @returns the version it has here.
   * @throws {ImportError} if the file is missing, damaged or of a newer format, or its base is not here; the store is
   * then as it was.
   */
  async importSnapshot(path: string, options: ImportSnapshotOptions = {}): Promise<VersionId> {
    return importSnapshot(this.#history, path, options, this.#compression)
  }

  /**
   * The retention policy that the store keeps, by which each new snapshot prunes; `undefined` if it has none. Giving
   * one stores it for every process that opens the store.
   */
  getRetention(): Promise<RetentionPolicy | undefined> {
    return this.#history.view(readPolicy)
  }

  /**
   * Stores a retention policy for every process that opens the store. It removes nothing now: the next snapshot does.
   *
   * @throws {InvalidArgumentError} if it is not a policy.
   */
  async setRetention(policy: RetentionPolicy): Promise<void> {
    const checked = validateRetention(policy, 'retention')
    const current = await this.getRetention()
    if (JSON.stringify(current ?? {}) === JSON.stringify(checked)) return
    const { codec, bytes } = toPayload(encodeValue(checked), false)
    await this.#history.exclusive((_view, batch) => {
      batch.put('meta', POLICY_KEY, sealMeta(POLICY_KEY, Buffer.concat([Buffer.of(codec), bytes])))
      return { value: undefined }
    })
  }
}

function nameOf({ version }: SnapshotRow): VersionId {
  return formatVersion(version)
}

const NO_COST = { changes: 0, bytes: 0 }

function readPolicy(view: View): MaybePromise<RetentionPolicy | undefined> {
  return whenReady(view.get('meta', POLICY_KEY), stored => {
    if (stored === undefined) return undefined
    const policy = openJsonRow(POLICY_KEY, stored)
    return decodePayload({ codec: policy[0] as number, bytes: policy.subarray(1) }) as RetentionPolicy
  })
}

/** Which snapshots the stored policy does not keep, once `sealed` is taken. */
function pruneByPolicy(view: View, sealed: SnapshotRow): MaybePromise<SnapshotSelection | undefined> {
  return whenReady(readPolicy(view), policy => policy && selectByPolicy(view, sealed, policy))
}

async function selectByPolicy(
  view: View,
  sealed: SnapshotRow,
  policy: RetentionPolicy,
): Promise<SnapshotSelection> {
  const all = [...(await listSnapshotRows(view)), sealed]
  const versions = removable(all, policy)
  // Whatever a clock that was set back makes of its age: who asks for a snapshot gets one.
  versions.delete(sealed.version)
  return { all, versions }
}

function removable(all: readonly SnapshotRow[], policy: RetentionPolicy): Set<number> {
  const candidates = all.map(row => {
    const { createdAt, tags } = decodeMetadata(row.metadata)
    return { version: formatVersion(row.version), number: row.version, createdAt, tags }
  })
  return new Set(applyRetention(candidates, policy, Date.now()).remove.map(candidate => candidate.number))
}

/** @throws {InvalidArgumentError} */
function parseMoment(version: unknown): Moment {
  return version === 'head' ? 'head' : parseVersion(version)
}

/** @internal */
export function toSummary({ operationId, set, deleted, unchanged }: BulkSummary): CommitSummary {
  return { operationId, set, deleted, unchanged }
}

const SNAPSHOT_CHECKS = {
  tag: checkTag,
  tags: checkTags,
  description: checkText,
  userInfo: (value: unknown) => value,
}
const DELTA_CHECKS = { ...SNAPSHOT_CHECKS, baseVersion: checkVersion }

function checkSnapshotOptions<T extends SnapshotOptions>(
  options: unknown,
  checks: Parameters<typeof checkOptions<T>>[1],
  where: string,
): T {
  return checkOptions<T>(options, checks, where)
}

function checkTag(value: unknown, name: string): string {
  if (typeof value === 'string' && value !== '' && value.isWellFormed()) return value
  throw invalidOption(name, 'a non-empty, well-formed string', value)
}

function checkTags(value: unknown, name: string): readonly string[] {
  if (typeof value === 'string') return [checkTag(value, name)]
  if (!Array.isArray(value)) throw invalidOption(name, 'a tag or an array of tags', value)
  return value.map(tag => checkTag(tag, name))
}

function checkText(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  throw invalidOption(name, 'a string', value)
}

function newMetadata(
  options: SnapshotOptions,
  kind: Pick<SnapshotMetadata, 'kind' | 'baseVersion'>,
): SnapshotMetadata {
  const tags = [...new Set([...(options.tag === undefined ? [] : [options.tag]), ...(options.tags ?? [])])]
  return {
    id: randomUUID(),
    createdAt: Date.now(),
    tags,
    description: options.description ?? '',
    ...(options.userInfo !== undefined && { userInfo: options.userInfo }),
    ...kind,
  }
}
