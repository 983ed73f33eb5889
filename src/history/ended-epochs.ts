import { partitionPoint } from '../core/partition-point.ts'

/**
 * When epochs had ended, in numbers of transactions, as far as pages of a damaged file tell.
 *
 * A page that no tree leads to shows what was there when it was written. What it has of an epoch that had ended by then is
 * what that epoch left; anything else may have been written over, or removed, before it ended.
 */
export class EndedEpochs {
  /** By the number of a transaction, the greatest epoch that had certainly ended by then. */
  readonly #noted = new Map<number, number>()
  /** The same in order, each the greatest one so far; made when it is first asked for. */
  #ordered: { readonly transaction: number; readonly epoch: number }[] | undefined

  /** Notes that by the time of a transaction, an epoch and all before it had ended. */
  note(epoch: number, transaction: number): void {
    this.#noted.set(transaction, Math.max(this.#noted.get(transaction) ?? 0, epoch))
    this.#ordered = undefined
  }

  /** Whether an epoch is known to have ended before what a transaction wrote. */
  isBefore(epoch: number, transaction: number): boolean {
    this.#ordered ??= this.#order()
    const ordered = this.#ordered
    const last = partitionPoint(
      ordered.length,
      i => (ordered[i] as { transaction: number }).transaction <= transaction,
    )
    return (ordered[last - 1]?.epoch ?? 0) >= epoch
  }

  #order(): { transaction: number; epoch: number }[] {
    let greatest = 0
    return [...this.#noted]
      .sort(([a], [b]) => a - b)
      .map(([transaction, epoch]) => {
        greatest = Math.max(greatest, epoch)
        return { transaction, epoch: greatest }
      })
  }
}
