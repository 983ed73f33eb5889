import { setImmediate as nextTurn } from 'node:timers/promises'
import { fromByteString } from '../core/bytes.ts'
import { DataIntegrityError, StoreClosedError } from '../core/errors.ts'
import { counterTupleKey, keyText } from '../core/key.ts'
import type { Logger } from '../core/logger.ts'
import { Turns } from '../core/turns.ts'
import type { Engine, View } from '../engine/engine.ts'
import { ChangeCounter } from './change-counter.ts'
import {
  appendRun,
  type ChangedKeys,
  discardChangesBelow,
  type EpochRange,
  packChangeLists,
  readChangedKeys,
} from './change-list.ts'
import { type LogEntry, readLog } from './commit-log.ts'
import { BRIEF_KEYS, type Committer, type ExclusiveResult } from './committer.ts'
import { foldedThrough } from './folded-through.ts'
import { freeVersions } from './free-versions.ts'
import { type Head, withHead } from './head.ts'
import type { HistoryLimits } from './limits.ts'
import { MemoryRelief } from './memory-relief.ts'
import { openCounter, sealCounter } from './meta-row.ts'
import type { Packer } from './packer.ts'
import { epochsToFree, listSnapshotRows, unmarkForFreeing } from './snapshot-table.ts'
import { abandonedStages, removeStagedRows } from './stage.ts'
import { StoredBytesChange } from './stored-bytes.ts'

/** A compaction leaves so many log entries, or fewer. */
const FEW_LOG_ENTRIES = 16
/** Up to which epoch the change lists are packed. */
const PACKED_LISTS_KEY = Buffer.from('packed-lists')
/** Between two pieces of work while callers are writing, in milliseconds. */
const PAUSE = 200
/** After a store was opened, in milliseconds. */
const AFTER_OPENING_MS = 100
/** Rows that a step reads or writes, roughly, of tables that may be large. */
const STEP_ROWS = 1000
/** What the log says of a key beside its name, in bytes. */
const KEY_OVERHEAD = 8
/** A few rows of the log may have all the keys that are folded at a time; a page of them is a megabyte. */
const FIRST_LOG_ROWS = 4
/** Keys whose versions are read at the same time, when they are looked through for freeing. */
const FREED_TOGETHER = 32

/**
 * Work that keeps the store small, done in the background in small commits: folding the log of sealed epochs into
 * their change lists, trimming the log, freeing what dropped snapshots alone could see, counting long lists, removing
 * stages left behind.
 *
 * Every step finds its work in the store and is decided under the write exclusion, so that it may be done twice, by
 * several processes, or cut off at any point.
 */
export class Maintenance {
  readonly #engine: Engine
  readonly #committer: Committer
  readonly #logger: Logger
  readonly #limits: HistoryLimits
  readonly #packer: Packer
  readonly #counter: ChangeCounter
  readonly #relief: MemoryRelief
  #running: Promise<void> | undefined
  #afterOpening: NodeJS.Timeout | undefined
  #again = false
  /** What the committer counted when the background last gave way. */
  #activity = 0
  /** Calls that wait for the work to be done: then there is no holding back. */
  #finishing = 0
  #endPause: () => void = () => undefined
  #closed = false

  constructor(engine: Engine, committer: Committer, logger: Logger, limits: HistoryLimits, packer: Packer) {
    this.#packer = packer
    this.#engine = engine
    this.#committer = committer
    this.#logger = logger
    this.#limits = limits
    this.#counter = new ChangeCounter(engine, committer, limits)
    this.#relief = new MemoryRelief(engine)
  }

  /** Sees to what there is to do: at once, or after a turn of the event loop. */
  kick({ afterTurn = false }: { readonly afterTurn?: boolean } = {}): void {
    if (this.#closed) return
    this.#again = true
    this.#running ??= this.#run(afterTurn).finally(() => {
      this.#running = undefined
      if (this.#again && this.#finishing === 0) this.kick()
    })
  }

  /** Whether the log is long enough to be folded although its epoch is open. */
  isDue(head: Head): boolean {
    return isLong(head, this.#limits)
  }

  /**
   * Resolves when nothing is left to do of what there was when it was called: others who go on to write must not keep it
   * from coming to an end. Rejects with what keeps the work from being done.
   */
  async finish(signal?: AbortSignal): Promise<void> {
    let isDone = false
    this.#finishing++
    clearTimeout(this.#afterOpening)
    this.#endPause()
    try {
      await this.#running
      // What was asked for until now is of commits that the goal includes.
      this.#again = false
      const goal = await this.#goal()
      while (!this.#closed && (await this.#step(goal))) signal?.throwIfAborted()
      isDone = true
    } finally {
      this.#finishing--
      // What was asked for meanwhile is of later commits.
      if (!isDone) this.#again = true
      if (this.#again && this.#finishing === 0) this.kick()
    }
  }

  /** Leaves no more of the log and of the change lists than must be: for `compact()`. */
  async tighten(): Promise<void> {
    // From the start: lists that snapshots dropped since have ceased to separate are merged.
    await this.#committer.background((_view, batch) => {
      batch.delete('meta', PACKED_LISTS_KEY)
      return { value: undefined }
    })
    const goal = await this.#goal()
    while (await this.#packChanges(1, goal));
    while (await this.#trim(Math.min(FEW_LOG_ENTRIES, this.#limits.keptLogEntries), goal));
  }

  /** As {@link kick}, once whoever has just opened the store has had the event loop: they may do no more than read. */
  kickAfterOpening(): void {
    this.#afterOpening = setTimeout(() => this.kick(), AFTER_OPENING_MS).unref()
  }

  /** Stops after the step under way. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#afterOpening)
    this.#endPause()
    await this.#running
  }

  async #run(afterTurn: boolean): Promise<void> {
    // An embedded engine answers at once: without a turn, whoever made the commit would hear of it after the first steps.
    if (afterTurn) await nextTurn()
    // Whoever finishes the work goes on with it, and asks for the rest.
    while (this.#again && !this.#closed && this.#finishing === 0) {
      this.#again = false
      try {
        // Callers' commits queue in between: a step is one commit, and a turn of the event loop follows.
        this.#activity = this.#committer.activity
        while (!this.#closed && this.#finishing === 0 && (await this.#step(EVERYTHING))) await this.#giveWay()
      } catch (error) {
        if (error instanceof StoreClosedError) return
        this.#logger.warn(
          { err: error },
          'varve: background work failed; it is tried again after the next snapshot',
        )
        return
      }
    }
  }

  /** After a commit: lets the event loop turn, and while callers are writing, lets them have it for some time. */
  async #giveWay(): Promise<void> {
    // Nothing may pause once it is closed: the pause does not keep the process alive, which waits for the end.
    const holdsBack = this.#committer.activity !== this.#activity && this.#finishing === 0 && !this.#closed
    if (!holdsBack) await nextTurn()
    else await this.#pause()
    this.#activity = this.#committer.activity
  }

  /** Holds back while callers are writing: few of their commits are to wait for one of the background's. */
  #pause(): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, PAUSE)
      timer.unref()
      this.#endPause = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Does one small piece of work, of what `goal` includes. Returns whether there may be more. */
  async #step(goal: Goal): Promise<boolean> {
    // Folding tells by itself what it has read: after most snapshots it is all there is to do.
    if (await this.#fold(goal)) return true
    const hasWorked =
      (await this.#trim(this.#limits.keptLogEntries, goal)) ||
      (await this.#free(goal)) ||
      (await this.#packChanges(this.#limits.packListEpochs, goal)) ||
      (await this.#counter.step(() => this.#closed, goal.epoch)) ||
      (await this.#pack(goal)) ||
      (await this.#removeStages())
    if (hasWorked) await this.#relief.worked(STEP_ROWS, 0)
    return hasWorked
  }

  /** What there is now. */
  #goal(): Promise<Goal> {
    return this.#read(async (_view, { sequence, epoch }) => ({ sequence, epoch }))
  }

  #read<T>(read: (view: View, head: Head) => Promise<T>): Promise<T> {
    return withHead(this.#engine, read)
  }

  async #fold(goal: Goal): Promise<boolean> {
    const piece = await this.#read(async (view, head) =>
      head.folded < goal.sequence ? gatherRuns(view, head, this.#limits) : undefined,
    )
    if (piece === undefined) return false
    const { from, through, runs } = piece
    const folded = await this.#committer.background<boolean>(
      async (view, batch, head): Promise<ExclusiveResult<boolean>> => {
        // Somebody else has folded meanwhile: look again.
        if (head.folded !== from) return { value: true }
        for (const [epoch, changes] of runs) await appendRun(view, batch, epoch, changes, this.#limits)
        return { value: true, head: { ...head, folded: through } }
      },
      { brief: keysOf(runs) <= BRIEF_KEYS },
    )
    // The keys follow one another in the log, and again in the lists.
    await this.#relief.worked(0, 2 * bytesOf(runs))
    return folded
  }

  async #trim(kept: number, goal: Goal): Promise<boolean> {
    const surplus = (head: Head): number => Math.min(head.folded, head.sequence - kept) + 1
    const due = await this.#read(async (view, head) => {
      if (head.logStart <= goal.sequence && surplus(head) - head.logStart >= kept) return true
      // Those that the last pass has left, or a writer that died before the next one.
      const { rows } = await view.scan('log', {
        lt: counterTupleKey(Math.min(head.logStart, goal.sequence)),
        limit: 1,
        keysOnly: true,
      })
      return rows.length > 0
    })
    if (!due) return false
    return this.#committer.background<boolean>(async (view, batch, head) => {
      const keepFrom = Math.max(head.logStart, surplus(head))
      const { rows, more } = await view.scan('log', {
        lt: counterTupleKey(keepFrom),
        limit: this.#limits.trimRows,
        keysOnly: true,
      })
      for (const row of rows) batch.delete('log', row.key)
      // First the head says that entries are gone, then they go: nobody takes a gap for silence.
      return { value: more, head: { ...head, logStart: keepFrom } }
    })
  }

  async #free(goal: Goal): Promise<boolean> {
    const gap = await this.#read(findGap)
    if (gap === undefined || gap.first > goal.epoch) return false
    const { freeKeys } = this.#limits
    let above = ''
    for (let more = true; more; ) {
      const page = await this.#read(view =>
        readChangedKeys(view, { after: gap.first, through: gap.next }, this.#limits, above),
      )
      for (let start = 0; start < page.keys.length; start += freeKeys) {
        if (this.#closed) return false
        const keys = page.keys.slice(start, start + freeKeys).map(fromByteString)
        await this.#committer.background(async (view, batch, head) => {
          const snapshots = (await listSnapshotRows(view)).map(snapshot => snapshot.epoch)
          const stored = new StoredBytesChange()
          const free = async (key: Uint8Array): Promise<void> => {
            try {
              await freeVersions(view, batch, key, [...snapshots, head.epoch], stored)
            } catch (err) {
              // What is damaged stays, and keeps nothing else from being freed.
              if (!(err instanceof DataIntegrityError)) throw err
              this.#logger.warn({ err, key: keyText(key) }, 'varve: a damaged key is not freed')
            }
          }
          for (let at = 0; at < keys.length; at += FREED_TOGETHER) {
            await Promise.all(keys.slice(at, at + FREED_TOGETHER).map(free))
          }
          await stored.flush(view, batch)
          return { value: undefined }
        })
        await this.#relief.worked(STEP_ROWS, 0)
        await nextTurn()
      }
      above = page.keys.at(-1) ?? above
      more = page.more
    }
    return this.#committer.background<boolean>(async (view, batch, head) => {
      for (const epoch of gap.marks) unmarkForFreeing(batch, epoch)
      await discardChangesBelow(view, batch, await oldestNeeded(view, head, new Set(gap.marks)))
      return { value: true }
    })
  }

  /** Packs the change lists of epochs sealed since the last time, once there are `least` of them. */
  async #packChanges(least: number, goal: Goal): Promise<boolean> {
    const due = async (view: View, head: Head): Promise<EpochRange | undefined> => {
      const stored = await view.get('meta', PACKED_LISTS_KEY)
      const after = stored === undefined ? 0 : openCounter(PACKED_LISTS_KEY, stored)
      if (after >= goal.epoch) return undefined
      const through = await foldedThrough(view, head)
      return through - after < least ? undefined : { after, through }
    }
    if ((await this.#read(due)) === undefined) return false
    return this.#committer.background<boolean>(async (view, batch, head) => {
      const range = await due(view, head)
      if (range === undefined) return { value: false }
      const snapshots = (await listSnapshotRows(view)).map(snapshot => snapshot.epoch)
      const through = await packChangeLists(view, batch, range, snapshots, this.#limits)
      batch.put('meta', PACKED_LISTS_KEY, sealCounter(PACKED_LISTS_KEY, through))
      return { value: true }
    })
  }

  #pack(goal: Goal): Promise<boolean> {
    return this.#packer.step(
      goal.epoch,
      () => this.#closed,
      () => this.#giveWay(),
      () => this.#finishing > 0,
    )
  }

  async #removeStages(): Promise<boolean> {
    const stages = await this.#read(view => abandonedStages(view, Date.now()))
    const stage = stages[0]
    if (stage === undefined) return false
    return this.#committer.background<boolean>(async (view, batch) => {
      const more = await removeStagedRows(view, batch, stage, this.#limits.trimRows)
      return { value: more || stages.length > 1 }
    })
  }
}

/** How far work is wanted: of what was committed up to a sequence number, and of epochs up to this one. */
interface Goal {
  readonly sequence: number
  readonly epoch: number
}

const EVERYTHING: Goal = { sequence: Number.MAX_SAFE_INTEGER, epoch: Number.MAX_SAFE_INTEGER }

function isLong(head: Head, { unfoldedEntries }: HistoryLimits): boolean {
  return head.sequence - head.folded > unfoldedEntries
}

interface FoldPiece {
  readonly from: number
  readonly through: number
  readonly runs: ReadonlyMap<number, ChangedKeys>
}

function keysOf(runs: ReadonlyMap<number, ChangedKeys>): number {
  let count = 0
  for (const { keys } of runs.values()) count += keys.length
  return count
}

/** What keys take in the log or in a list, at most. */
function bytesOf(runs: ReadonlyMap<number, ChangedKeys>): number {
  let bytes = 0
  for (const changes of runs.values()) for (const key of changes.keys) bytes += key.length + KEY_OVERHEAD
  return bytes
}

/**
 * The next stretch of the log to fold: entries of sealed epochs, or of the open one if its log is long, in entries or in
 * keys. Whole commits only, so that one number says how far folding has come; a single commit may exceed the bound by
 * itself.
 */
async function gatherRuns(view: View, head: Head, limits: HistoryLimits): Promise<FoldPiece | undefined> {
  const entries = await entriesToFold(view, head, limits)
  const last = entries.at(-1)
  if (last === undefined) return undefined
  const runs = new Map<number, ChangedKeys>()
  const turns = new Turns()
  for (const { epoch, changes } of entries) {
    if (changes.length === 0) continue
    const run: ChangedKeys = runs.get(epoch) ?? { keys: [], bytes: 0 }
    runs.set(epoch, run)
    changes.visitNames((name, bytes) => {
      run.keys.push(name)
      run.bytes += bytes
    })
    await turns.breathe()
  }
  return { from: head.folded, through: last.sequence, runs }
}

/** The entries of the next piece, as they are stored: that there is none yet is often found out, and costs little. */
async function entriesToFold(view: View, head: Head, limits: HistoryLimits): Promise<readonly LogEntry[]> {
  const evenOpen = isLong(head, limits)
  const turns = new Turns()
  const gathered: LogEntry[] = []
  let keys = 0
  let through = head.folded
  let complete = true
  for await (const entries of readLog(view, head.folded, undefined, FIRST_LOG_ROWS)) {
    await turns.breathe()
    for (const entry of entries) {
      if (keys >= limits.runKeys && entry.sequence > through) return gathered
      if (entry.epoch > head.epoch) return complete ? gathered : []
      if (entry.epoch === head.epoch && complete && !evenOpen) {
        if (gathered.length > 0) return gathered
        // Of the open epoch either a whole run, or nothing yet.
        complete = false
      }
      through = entry.sequence
      gathered.push(entry)
      // One without any takes memory as well.
      keys += Math.max(1, entry.changes.length)
    }
  }
  return complete ? gathered : []
}

interface Gap {
  /** The first marked epoch: only keys changed after it can have versions to free. */
  readonly first: number
  /** The epoch of the first snapshot after the last mark, or the open one. */
  readonly next: number
  readonly marks: readonly number[]
}

/** The epochs marked for freeing. All are seen to in one pass, in which a key is looked at once. */
async function findGap(view: View, head: Head): Promise<Gap | undefined> {
  const marks = await epochsToFree(view)
  const first = marks[0]
  const last = marks.at(-1)
  if (first === undefined || last === undefined) return undefined
  const next = (await listSnapshotRows(view)).find(snapshot => snapshot.epoch > last)?.epoch ?? head.epoch
  return { first, next, marks }
}

/**
 * The oldest epoch that anyone can still compare from: the oldest snapshot, or one that is still to be freed, as freeing
 * reads the lists. The list of that epoch itself is kept: it says how much its snapshot changed.
 */
async function oldestNeeded(view: View, head: Head, done: ReadonlySet<number>): Promise<number> {
  const oldestMark = (await epochsToFree(view)).find(epoch => !done.has(epoch)) ?? head.epoch
  const oldestSnapshot = (await listSnapshotRows(view))[0]?.epoch ?? head.epoch
  return Math.min(oldestSnapshot, oldestMark)
}
