import { fromByteString, toByteString } from '../core/bytes.ts'
import { partitionPoint } from '../core/partition-point.ts'
import type { View } from '../engine/engine.ts'
import { readStaged, type StagedRow, type StageId, scanRun } from './stage.ts'

/** At least so many keys are read of a run at a time, … */
const MIN_KEYS_OF_RUN = 64
/** … and about so many of all runs together. */
const KEYS_AT_A_TIME = 8192
/** At most so many values are read at a time. */
const MAX_VALUES = 128

interface Run {
  /** Keys that were read and not merged yet, as byte strings. */
  keys: string[]
  /** The last key that was read. */
  last: Uint8Array | undefined
  /** Whether there may be keys above it. */
  more: boolean
}

/**
 * Merges the runs of a stage: its keys in key order, of each key the row of the latest run.
 *
 * Only keys are held, some of each run. The rows of a stage that is complete never change, so that every call may bring
 * another view.
 */
export class StageReader {
  readonly stage: StageId
  readonly #runs: readonly Run[]
  /** Merged keys and their runs. */
  #merged: [key: string, run: number][] = []
  #next = 0

  constructor(stage: StageId, runs: number, above: Uint8Array | undefined) {
    this.stage = stage
    this.#runs = Array.from({ length: runs }, () => ({ keys: [], last: above, more: true }))
  }

  /** The next key, as a byte string, without moving on; `undefined` if it has to be read first, or at the end. */
  peek(): string | undefined {
    return this.#merged[this.#next]?.[0]
  }

  /** Moves past the key that `peek` gave. */
  skip(): void {
    this.#next++
  }

  /** Sees to it that `peek` has a key. Answers whether there is any. */
  async fill(view: View): Promise<boolean> {
    while (this.#next === this.#merged.length) {
      if (this.#runs.every(run => !run.more && run.keys.length === 0)) return false
      await this.#merge(view)
    }
    return true
  }

  /** The next rows, until `maxRows` of them or about `maxBytes`: at least one, unless at the end. */
  async rows(view: View, maxRows: number, maxBytes: number): Promise<StagedRow[]> {
    const rows: StagedRow[] = []
    let bytes = 0
    // The sizes of values are not known before they are read. If they are large, the first few will tell.
    for (let count = 1; rows.length < maxRows && bytes < maxBytes; count = Math.min(2 * count, MAX_VALUES)) {
      if (!(await this.fill(view))) break
      const end = Math.min(this.#next + Math.min(count, maxRows - rows.length), this.#merged.length)
      const part = this.#merged.slice(this.#next, end)
      this.#next = end
      const found = part.map(([key, run]) => ({ key: fromByteString(key), run }))
      for (const row of await readStaged(view, this.stage, found)) {
        rows.push(row)
        bytes += row.target.bytes.byteLength
      }
    }
    return rows
  }

  async #merge(view: View): Promise<void> {
    const limit = Math.max(MIN_KEYS_OF_RUN, Math.ceil(KEYS_AT_A_TIME / this.#runs.length))
    /** Above this key, a run may have keys that were not read. */
    let bound: string | undefined
    for (const [number, run] of this.#runs.entries()) {
      while (run.keys.length === 0 && run.more) {
        const { keys, more } = await scanRun(view, { stage: this.stage, run: number }, run.last, limit)
        run.keys = keys.map(toByteString)
        run.last = keys.at(-1) ?? run.last
        run.more = more
      }
      const last = run.keys.at(-1)
      if (run.more && last !== undefined && (bound === undefined || last < bound)) bound = last
    }
    const latest = new Map<string, number>()
    for (const [number, run] of this.#runs.entries()) {
      const { keys } = run
      const limit = bound
      const split =
        limit === undefined ? keys.length : partitionPoint(keys.length, i => (keys[i] as string) <= limit)
      for (let i = 0; i < split; i++) latest.set(keys[i] as string, number)
      run.keys = keys.slice(split)
    }
    this.#merged = [...latest].sort(([a], [b]) => (a < b ? -1 : 1))
    this.#next = 0
  }
}
