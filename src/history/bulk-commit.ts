import { toByteString } from '../core/bytes.ts'
import { ConflictError } from '../core/errors.ts'
import { versionKey } from '../core/key.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { Batch, Engine, View } from '../engine/engine.ts'
import { LostViews } from '../engine/view-lost.ts'
import { withView } from '../engine/with-view.ts'
import { CommitKeys } from './commit-keys.ts'
import { ADDED, appendLogEntry, CHANGED, type LoggedChange, REMOVED, readLog, TOUCHED } from './commit-log.ts'
import type { Committer, OperationCounts as Counts, ExclusiveResult } from './committer.ts'
import { Draft } from './draft.ts'
import { decodeHead, HEAD_KEY, type Head } from './head.ts'
import type { HistoryLimits } from './limits.ts'
import { MemoryRelief } from './memory-relief.ts'
import { PatchBuffer, type Target } from './patch-buffer.ts'
import {
  encodeRecord,
  type ParsedRecord,
  type Payload,
  parseRecord,
  payloadsEqual,
  sameEncoding,
  TOMBSTONE,
  TOMBSTONE_PAYLOAD,
} from './record.ts'
import { markForFreeing, putSnapshot } from './snapshot-table.ts'
import {
  abandonStage,
  assertStaged,
  cursorKey,
  type FinishedCommit,
  finishPending,
  type PendingCommit,
  putPending,
  putStaged,
  readFinished,
  readPending,
  STAGE_LOST,
  toCursor,
  touchStage,
} from './stage.ts'
import { StageReader } from './stage-reader.ts'

/**
 * Commits of any size: `save`, `clear`, restore and import.
 *
 * 1. **Prepare**, outside the write exclusion: compare with the current state and gather a patch, in memory or, if
 *    it outgrows that, staged in the store. Callers go on working meanwhile.
 * 2. **Decide**, in one commit: catch up with the keys that others wrote since the preparation began. A small patch is
 *    applied there and then, and that is all.
 * 3. **Roll forward** a staged one, in small commits, under the epoch after the open one. Readers look no further
 *    than the open epoch, and every record that is superseded is preserved as if a snapshot sealed that epoch, so that
 *    they go on seeing the state from before. The commit that ends it opens the new epoch: all becomes visible at once.
 *
 * Nothing between the decision and the end can fail for a reason of its own, and the staged rows are in the store: if
 * the writer dies, whoever commits next finishes its work. So a commit of ten million keys is as atomic as one of a
 * single key, needs no more memory, can be cancelled until it is decided, and keeps nobody from reading.
 */

/** A large change, as its preparation and the catching up need to know it. */
export interface BulkSource {
  /**
   * Adds to the patch what each key shall hold that differs, or may differ, from what it holds: now, or as of the commit
   * whose sequence number it answers. No large commit was under way then.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: most sources look at what is there when they are asked
  prepare(patch: PatchBuffer): Promise<number | void>
  /**
   * What keys that were written since the preparation began shall hold; `undefined` to leave one as it is. Runs in
   * the deciding commit.
   */
  targets(
    view: View,
    keys: readonly Uint8Array[],
    patch: PatchBuffer,
  ): Promise<readonly ({ target: Payload | undefined } | undefined)[]>
  /** Called every now and then while a change that was staged is rolled forward. */
  readonly onProgress?: ((progress: BulkProgress) => void) | undefined
}

/** How far a large change has come, once it has been decided and can no more be cancelled. */
export interface BulkProgress {
  /** Entries that are in place. */
  readonly entries: number
  /** Entries of the change in all. */
  readonly entriesTotal: number
}

/** What became of the keys of a patch. */
export interface BulkSummary {
  readonly operationId: string
  readonly set: number
  readonly deleted: number
  /** Keys of the resulting state that were so before. */
  readonly unchanged: number
}

/** What a bulk commit makes of its patch: the current state, or a snapshot beside it. */
export type BulkGoal = { readonly kind: 'state' } | { readonly kind: 'snapshot'; readonly metadata: Payload }

const MAX_ATTEMPTS = 5

/** Makes a bulk commit. See the head of this file. */
export async function bulkCommit(
  engine: Engine,
  committer: Committer,
  source: BulkSource,
  goal: BulkGoal,
  limits: HistoryLimits,
): Promise<BulkSummary> {
  let lostStages = 0
  const views = new LostViews()
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const patch = new PatchBuffer(engine, committer, limits)
    try {
      const summary = await prepareAndDecide(engine, committer, source, goal, limits, patch)
      if (summary !== undefined) return summary
      await patch.discard()
    } catch (error) {
      await patch.discard().catch(() => undefined)
      if (error === STAGE_LOST) lostStages++
      else if (!views.mayGoOn(error)) throw error
    }
  }
  throw new ConflictError(
    lostStages > 0
      ? 'Another host took what this large change had prepared for abandoned, and removed it: the clocks of the hosts differ by an hour or more. Nothing was changed; set the clocks right and try again.'
      : 'Other writers committed faster than this large change could catch up with. Try again when there is less traffic.',
  )
}

async function prepareAndDecide(
  engine: Engine,
  committer: Committer,
  source: BulkSource,
  goal: BulkGoal,
  limits: HistoryLimits,
  patch: PatchBuffer,
): Promise<BulkSummary | undefined> {
  const operation = committer.ids.next()
  const operationId = committer.ids.format(operation)
  const settled = await settledSequence(engine, committer, limits)
  let since = (await source.prepare(patch)) ?? settled
  // A snapshot is always rolled forward: it takes two epochs.
  if (goal.kind === 'snapshot' || patch.stage !== undefined) await patch.flush()
  for (;;) {
    // With the head, what is needed whatever it says: what others wrote, and the records of a patch in memory, where they are
    // not known, or travel with the rest at no cost.
    const start = since
    const inMemory = patch.stage === undefined ? [...patch.rows] : []
    const known = engine.remote === true ? undefined : currentRecords(inMemory)
    const early = (view: View): Promise<EarlyReads> =>
      Promise.all([
        keysSince(view, start, limits.catchUpKeys),
        known === undefined ? recordsOf(view, inMemory) : undefined,
        // Others have mostly written nothing; then there is nothing more to ask for.
        source.targets(view, [], patch),
      ])
    const decide = async (
      view: View,
      batch: Batch,
      head: Head,
      [behind, records]: EarlyReads,
    ): Promise<ExclusiveResult<Decision>> => {
      if (head.logStart > start + 1) return { value: { kind: 'lost' } }
      if (behind === undefined) return { value: { kind: 'behind', sequence: head.sequence } }
      const targets = behind.length === 0 ? [] : await source.targets(view, behind, patch)
      const updates = behind.flatMap((key, i) => {
        const found = targets[i]
        return found === undefined ? [] : [{ key, target: found.target }]
      })
      if (patch.stage === undefined) {
        // Every commit that changes a key counts up the sequence: what was read while it stood still is as it is now.
        const current = head.sequence === start ? known : undefined
        const rows = [...inMemory, ...updates]
        const stored = current ?? [
          ...(records ?? (await recordsOf(view, inMemory))),
          ...(await recordsOf(view, updates)),
        ]
        return commitPatch(
          view,
          batch,
          head,
          committer,
          operation,
          rows,
          stored,
          current !== undefined,
          limits,
        )
      }
      await assertStaged(view, patch.stage)
      // The last run: what others wrote meanwhile wins over what was gathered before.
      const run = { stage: patch.stage, run: patch.runs }
      for (const { key, target } of updates) putStaged(batch, run, key, target)
      touchStage(batch, patch.stage, Date.now())
      putPending(batch, {
        kind: goal.kind,
        stage: patch.stage,
        runs: patch.runs + 1,
        writer: committer.ids.writer,
        operation,
        since: head.sequence,
        growth: 0,
        set: 0,
        deleted: 0,
        ...(goal.kind === 'snapshot' && {
          metadata: {
            codec: goal.metadata.codec,
            bytes: Buffer.from(goal.metadata.bytes).toString('base64'),
          },
        }),
      })
      return { value: { kind: 'pending' }, head: { ...head, pending: 1 } }
    }
    const decision = await committer.exclusive(decide, { early })
    if (decision.kind === 'done') return { operationId, ...decision.counts }
    if (decision.kind === 'lost') return undefined
    if (decision.kind === 'pending') {
      let entries = 0
      await rollForward(engine, committer, limits, rows => {
        entries += rows
        source.onProgress?.({ entries, entriesTotal: Math.max(entries, patch.rowsStaged) })
      })
      return { operationId, ...(await outcome(engine, committer, operation)) }
    }
    await catchUp(engine, source, patch, since, decision.sequence)
    since = decision.sequence
  }
}

type EarlyReads = readonly [
  behind: Uint8Array[] | undefined,
  records: StoredRecords | undefined,
  targets: unknown,
]

/** Live records as they are stored. */
type StoredRecords = readonly (Uint8Array | undefined)[]

/** The live records that the rows of a patch differ from, if all of them were kept. */
function currentRecords(rows: readonly Target[]): StoredRecords | undefined {
  const records: (Uint8Array | undefined)[] = []
  for (const { current } of rows) {
    if (current === undefined) return undefined
    records.push(current.stored)
  }
  return records
}

function recordsOf(view: View, rows: readonly Target[]): MaybePromise<StoredRecords> {
  return view.getMany(
    'live',
    rows.map(row => row.key),
  )
}

type Decision =
  | { readonly kind: 'done'; readonly counts: Counts }
  | { readonly kind: 'pending' }
  | { readonly kind: 'behind'; readonly sequence: number }
  | { readonly kind: 'lost' }

/**
 * The sequence of the last commit, with none pending: the log of a pending one runs ahead of what readers see, and
 * keys that it names would neither be read as it leaves them nor be caught up with.
 */
async function settledSequence(engine: Engine, committer: Committer, limits: HistoryLimits): Promise<number> {
  for (;;) {
    const head = decodeHead(await engine.get('meta', HEAD_KEY))
    if (head.pending === 0) return head.sequence
    await rollForward(engine, committer, limits)
  }
}

/** The distinct keys logged after `since`; `undefined` if there are more than `most`. */
async function keysSince(view: View, since: number, most: number): Promise<Uint8Array[] | undefined> {
  const keys = new Map<string, Uint8Array>()
  for await (const entries of readLog(view, since)) {
    for (const entry of entries) for (const { key } of entry.changes) keys.set(toByteString(key), key)
    if (keys.size > most) return undefined
  }
  return [...keys.values()]
}

/** Extends the patch by what was logged in `(since, through]`, outside the write exclusion. */
async function catchUp(
  engine: Engine,
  source: BulkSource,
  patch: PatchBuffer,
  since: number,
  through: number,
): Promise<void> {
  await withView(engine, async view => {
    for await (const entries of readLog(view, since, through)) {
      const keys = entries.flatMap(entry => Array.from(entry.changes, change => change.key))
      const targets = await targetsNow(engine, source, keys, patch)
      for (const [i, key] of keys.entries()) {
        const found = targets[i]
        if (found !== undefined) patch.add(key, found.target)
      }
      if (patch.stage === undefined) await patch.relieve()
      else await patch.flush()
    }
  })
}

/** In a view of its own: rows of the patch that were staged since the log was opened are to be found in it. */
function targetsNow(
  engine: Engine,
  source: BulkSource,
  keys: readonly Uint8Array[],
  patch: PatchBuffer,
): ReturnType<BulkSource['targets']> {
  return withView(engine, view => source.targets(view, keys, patch))
}

/** Makes the change of a patch in memory. Later rows supersede earlier ones of the same key. */
async function commitPatch(
  view: View,
  batch: Batch,
  head: Head,
  committer: Committer,
  operation: number,
  rows: readonly Target[],
  records: StoredRecords,
  allDiffer: boolean,
  limits: HistoryLimits,
): Promise<ExclusiveResult<Decision>> {
  const keys = new CommitKeys(rows.map(row => row.key))
  const sorted: (Uint8Array | undefined)[] = []
  const latest: number[] = []
  for (let i = 0; i < rows.length; i++) {
    const place = keys.placeOf(i)
    sorted[place] = records[i]
    latest[place] = i
  }
  const draft = await Draft.of(head, keys, sorted, limits.sliceKeys)
  let set = 0
  let deleted = 0
  for (const i of latest) {
    const { key, target } = rows[i] as Target
    draft.begin(i)
    if (!allDiffer && payloadsEqual(draft.get(key), target)) continue
    if (target === undefined) {
      draft.delete(key)
      deleted++
    } else {
      draft.set(key, target)
      set++
    }
  }
  const { changes, growth } = await draft.flush(view, batch)
  const size = head.size + growth
  const value: Decision = { kind: 'done', counts: { set, deleted, unchanged: size - set } }
  if (changes.length === 0) return { value }
  const sequence = head.sequence + 1
  const author = { writer: committer.ids.writer, firstOperation: operation, lastOperation: operation }
  appendLogEntry(batch, sequence, head.epoch, author, changes, limits)
  return { value, head: { ...head, sequence, size } }
}

async function outcome(engine: Engine, committer: Committer, operation: number): Promise<Counts> {
  const own = committer.takeOutcome(operation)
  if (own !== undefined) return own
  const { writer } = committer.ids
  const finished = (await withView(engine, readFinished)).find(
    commit => commit.writer === writer && commit.operation === operation,
  )
  // Not there: another process finished it, and so many more have ended since that nobody remembers it.
  return finished === undefined ? { set: 0, deleted: 0, unchanged: 0 } : countsOf(finished)
}

function countsOf({ set, deleted, size }: FinishedCommit): Counts {
  return { set, deleted, unchanged: size - set }
}

/** Finishes the pending large commit, whoever decided it. Returns at once if there is none. */
export async function rollForward(
  engine: Engine,
  committer: Committer,
  limits: HistoryLimits,
  onRows?: (rows: number) => void,
): Promise<void> {
  const relief = new MemoryRelief(engine)
  const stage = new StagePosition()
  for (;;) {
    const step = await committer.exclusive(
      (view, batch, head) => rollForwardStep(view, batch, head, stage, limits),
      { evenIfPending: true },
    )
    if (step === 'none') return
    if ('rows' in step) {
      // Each row is read from the stage, and written where it belongs.
      await relief.worked(2 * step.rows, 2 * step.bytes)
      onRows?.(step.rows)
      continue
    }
    if (step.writer === committer.ids.writer) committer.keepOutcome(step.operation, countsOf(step))
    return
  }
}

/** Where a stage is read on, from one step to the next. */
class StagePosition {
  #reader: StageReader | undefined
  #cursor: string | undefined

  /** The reader of the last step, if nobody else has made one since and that one was committed. */
  readerOf(pending: PendingCommit): StageReader {
    const { stage, runs, cursor } = pending
    if (this.#reader?.stage === stage && this.#cursor === cursor) return this.#reader
    this.#reader = new StageReader(stage, runs, cursorKey(pending))
    return this.#reader
  }

  moveTo(cursor: string): void {
    this.#cursor = cursor
  }
}

interface Progress {
  readonly rows: number
  readonly bytes: number
}

async function rollForwardStep(
  view: View,
  batch: Batch,
  head: Head,
  stage: StagePosition,
  limits: HistoryLimits,
): Promise<{ value: 'none' | Progress | FinishedCommit; head?: Head }> {
  if (head.pending === 0) return { value: 'none' }
  const pending = await readPending(view)
  const rows = await stage.readerOf(pending).rows(view, limits.stageRows, limits.stageBytes)
  const last = rows.at(-1)
  if (last === undefined) {
    const finished: FinishedCommit = { ...pending, size: head.size + pending.growth }
    return { value: finished, head: await publish(view, batch, head, finished, limits) }
  }
  const cursor = toCursor(last.key)
  stage.moveTo(cursor)

  const live = await view.getMany(
    'live',
    rows.map(row => row.key),
  )
  const step = new RollForwardStep(batch, head.epoch, pending.kind)
  for (const [i, { key, target }] of rows.entries()) {
    step.apply(key, live[i], target.codec === TOMBSTONE ? undefined : target)
  }
  putPending(batch, {
    ...pending,
    cursor,
    growth: pending.growth + step.growth,
    set: pending.set + step.set,
    deleted: pending.deleted + step.deleted,
  })
  let sequence = head.sequence
  const author = {
    writer: pending.writer,
    firstOperation: pending.operation,
    lastOperation: pending.operation,
  }
  if (step.changes.length > 0) {
    if (pending.kind === 'state') {
      appendLogEntry(batch, ++sequence, head.epoch + 1, author, step.changes, limits)
    } else {
      // The keys differ from their neighbours in both epochs: there, and back.
      appendLogEntry(batch, ++sequence, head.epoch + 1, author, step.changes, limits)
      appendLogEntry(batch, ++sequence, head.epoch + 2, author, step.restored, limits)
    }
  }
  const bytes = rows.reduce((sum, row) => sum + row.target.bytes.byteLength, 0)
  return { value: { rows: rows.length, bytes }, head: { ...head, sequence } }
}

/** Ends a pending commit: opens the epoch in which its rows were written, or the one after the snapshot made of them. */
async function publish(
  view: View,
  batch: Batch,
  head: Head,
  pending: FinishedCommit,
  limits: HistoryLimits,
): Promise<Head> {
  await finishPending(view, batch, pending)
  abandonStage(batch, pending.stage)
  // Records were preserved as if a snapshot sealed the epoch; now it has gone like a dropped one.
  markForFreeing(batch, head.epoch)
  const written = head.epoch + 1
  const epoch = pending.kind === 'state' ? written : written + 1
  const ended: Head = { ...head, epoch, pending: 0, sequence: head.sequence + 1 }
  appendLogEntry(batch, ended.sequence, epoch, authorOf(pending), [], limits)
  if (pending.kind === 'state') return { ...ended, size: head.size + pending.growth }
  const metadata = pending.metadata ?? { codec: 1, bytes: '' }
  putSnapshot(batch, {
    version: head.nextVersion,
    epoch: written,
    metadata: { codec: metadata.codec, bytes: Buffer.from(metadata.bytes, 'base64') },
  })
  return { ...ended, latestSnapshot: written, nextVersion: head.nextVersion + 1 }
}

function authorOf({ writer, operation }: PendingCommit): {
  writer: string
  firstOperation: number
  lastOperation: number
} {
  return { writer, firstOperation: operation, lastOperation: operation }
}

/** Writes some staged rows under the epochs after the open one. */
class RollForwardStep {
  readonly changes: LoggedChange[] = []
  /** Of a snapshot: what the epoch after it changes, to have the current state again. */
  readonly restored: LoggedChange[] = []
  growth = 0
  set = 0
  deleted = 0
  readonly #batch: Batch
  readonly #epoch: number
  readonly #kind: PendingCommit['kind']

  constructor(batch: Batch, epoch: number, kind: PendingCommit['kind']) {
    this.#batch = batch
    this.#epoch = epoch
    this.#kind = kind
  }

  apply(key: Uint8Array, stored: Uint8Array | undefined, target: Payload | undefined): void {
    const original = stored === undefined ? undefined : parseRecord(key, stored)
    const unchanged = this.#kind === 'state' ? payloadsEqual : sameEncoding
    if (unchanged(original, target)) return
    if (target === undefined) this.deleted++
    else this.set++
    // Readers at the open epoch find the record here until the commit ends.
    if (original !== undefined)
      this.#batch.put('history', versionKey(key, original.birth), stored as Uint8Array)
    if (this.#kind === 'state') this.#applyToState(key, original, target)
    else this.#applyToSnapshot(key, original, target)
  }

  #applyToState(key: Uint8Array, original: ParsedRecord | undefined, target: Payload | undefined): void {
    const epoch = this.#epoch + 1
    if (target === undefined) {
      this.#batch.delete('live', key)
      this.#tombstone(key, epoch)
      this.growth--
      this.changes.push({ key, kind: REMOVED, bytes: 0 })
      return
    }
    const record = encodeRecord(key, epoch, target)
    this.#batch.put('live', key, record)
    if (original === undefined) this.growth++
    this.changes.push({ key, kind: original === undefined ? ADDED : CHANGED, bytes: record.byteLength })
  }

  #applyToSnapshot(key: Uint8Array, original: ParsedRecord | undefined, target: Payload | undefined): void {
    const sealed = this.#epoch + 1
    const restored = sealed + 1
    let bytes = 0
    if (target === undefined) {
      this.#tombstone(key, sealed)
    } else {
      const record = encodeRecord(key, sealed, target)
      bytes = record.byteLength
      this.#batch.put('history', versionKey(key, sealed), record)
    }
    this.changes.push({ key, kind: TOUCHED, bytes })
    let restoredBytes = 0
    if (original === undefined) {
      this.#tombstone(key, restored)
    } else {
      const record = encodeRecord(key, restored, original)
      restoredBytes = record.byteLength
      this.#batch.put('live', key, record)
    }
    this.restored.push({ key, kind: TOUCHED, bytes: restoredBytes })
  }

  #tombstone(key: Uint8Array, epoch: number): void {
    this.#batch.put('history', versionKey(key, epoch), encodeRecord(key, epoch, TOMBSTONE_PAYLOAD))
  }
}
