import { counterTupleKey } from '../core/key.ts'
import type { Engine, View } from '../engine/engine.ts'
import { changeCounts, countedThrough, putChangeCount, putCountedThrough } from './change-counts.ts'
import { type EpochRange, firstListedEpoch, readChangedKeys, visitFolded } from './change-list.ts'
import { countedPages, counting } from './change-summary.ts'
import type { Committer } from './committer.ts'
import { foldedThrough } from './folded-through.ts'
import { type Head, withHead } from './head.ts'
import type { HistoryLimits } from './limits.ts'
import { listSnapshotRows, type SnapshotRow, snapshotBefore } from './snapshot-table.ts'

/** Epochs whose lists are to be counted: those that a snapshot has of its own. */
interface Due extends EpochRange {
  readonly version: number
}

/**
 * Counts the keys of long change lists in the background, once they are complete, so that listing the snapshots does not
 * have to.
 *
 * The lists of sealed epochs say the same for ever, however they are packed: a count may take its time, in a fresh view
 * for each page, and is good if at its end the same snapshots stand on both sides and no list was discarded.
 */
export class ChangeCounter {
  readonly #engine: Engine
  readonly #committer: Committer
  readonly #limits: HistoryLimits
  /** What the store says of how far counting has come, and how far this process knows that there is nothing to count. */
  #stored = 0
  #seen = 0
  #hasCounts = false

  constructor(engine: Engine, committer: Committer, limits: HistoryLimits) {
    this.#engine = engine
    this.#committer = committer
    this.#limits = limits
  }

  /** Counts the lists of one snapshot, of an epoch up to `goal`. Returns whether there may be more to do. */
  async step(isClosed: () => boolean, goal: number): Promise<boolean> {
    const due = await withHead(this.#engine, (view, head) => this.#next(view, head, goal))
    if (due === undefined) return this.#noteSeen()
    let changes = 0
    const limits = counting(this.#limits)
    const read = (above: string) => withHead(this.#engine, view => readChangedKeys(view, due, limits, above))
    for await (const { keys } of countedPages(read)) {
      if (isClosed()) return false
      changes += keys.length
    }
    let bytes = 0
    const sum = (_epoch: number, _count: number, listed: number): boolean => {
      bytes += listed
      return false
    }
    await withHead(this.#engine, view => visitFolded(view, due, { list: sum, key: () => undefined }))
    return this.#committer.background<boolean>(async (view, batch) => {
      const rows = await listSnapshotRows(view)
      const i = rows.findIndex(({ version }) => version === due.version)
      const row = rows[i]
      // Otherwise they are not the epochs of a snapshot any more: look again.
      if (row === undefined || (await listedAfter(view, rows[i - 1])) !== due.after) return { value: true }
      putChangeCount(batch, due.through, { after: due.after, changes, bytes })
      putCountedThrough(batch, due.version)
      return { value: true }
    })
  }

  /** The next snapshot whose lists are many, and not counted. */
  async #next(view: View, head: Head, goal: number): Promise<Due | undefined> {
    const stored = await countedThrough(view)
    // It falls when a snapshot goes whose lists were counted.
    if (stored !== this.#stored) this.#seen = stored
    this.#stored = stored
    const rows = await listSnapshotRows(view, this.#seen)
    const [first] = rows
    if (first === undefined) return undefined
    const complete = Math.min(goal, await foldedThrough(view, head))
    const counts = await changeCounts(view)
    this.#hasCounts = counts.size > 0
    let previous = await snapshotBefore(view, first)
    for (const row of rows) {
      const { version, epoch: through } = row
      if (through > complete) return undefined
      const after = await listedAfter(view, previous)
      previous = row
      if (counts.get(through)?.after !== after && (await this.#isLong(view, { after, through })))
        return { version, after, through }
      this.#seen = version
    }
    return undefined
  }

  /** Whether lists are so many that packing leaves them as they are. */
  async #isLong(view: View, { after, through }: EpochRange): Promise<boolean> {
    const { epochRows } = this.#limits
    const [gte, lt] = [counterTupleKey(after + 1), counterTupleKey(through + 1)]
    const { rows } = await view.scan('changes', { gte, lt, limit: epochRows + 1, keysOnly: true })
    return rows.length > epochRows
  }

  /**
   * Now and then, so that not every process begins at the first snapshot; at once where there are counts, so that the
   * number falls when one of them goes.
   */
  async #noteSeen(): Promise<boolean> {
    if (this.#seen - this.#stored < (this.#hasCounts ? 1 : this.#limits.packListEpochs)) return false
    return this.#committer.background<boolean>(async (view, batch) => {
      if ((await countedThrough(view)) === this.#stored) putCountedThrough(batch, this.#seen)
      return { value: true }
    })
  }
}

/** The epochs that count for a snapshot begin after this one; `previous` is the snapshot before it. */
async function listedAfter(view: View, previous: SnapshotRow | undefined): Promise<number> {
  return Math.max(previous?.epoch ?? 0, (await firstListedEpoch(view)) - 1)
}
