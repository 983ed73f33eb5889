import { partitionPoint } from '../core/partition-point.ts'
import type { EpochRange } from './change-list.ts'

/**
 * The epochs of a store, cut at those that something may end at which is kept: its snapshots, and those that were dropped
 * and whose versions are not freed yet. Nobody reads in between, but for the open epoch, which the last stretch ends with.
 */
export class Stretches {
  readonly #bounds: readonly number[]
  readonly #open: number

  /** `bounds` are the last epochs of all stretches but the last one, ascending. `open` may be infinite, where it is not known. */
  constructor(bounds: readonly number[], open: number) {
    this.#bounds = bounds
    this.#open = open
  }

  /** The number of the last stretch; the first one's is 0. */
  get last(): number {
    return this.#bounds.length
  }

  /** The stretch that an epoch belongs to. */
  of(epoch: number): number {
    return partitionPoint(this.#bounds.length, i => (this.#bounds[i] as number) < epoch)
  }

  epochsOf(stretch: number): EpochRange {
    return { after: this.#bounds[stretch - 1] ?? 0, through: this.endOf(stretch) ?? this.#open }
  }

  /** The epoch that a stretch ends at; `undefined` for the last one, which goes on. */
  endOf(stretch: number): number | undefined {
    return this.#bounds[stretch]
  }
}
