import { randomBytes } from 'node:crypto'

/**
 * Names commits so that "did mine happen?" can be answered from the log after a connection broke.
 *
 * An id is the random name of the writer that made it and a number counting up within that writer; the operations
 * of one commit therefore have ids that fill a range, and the log keeps only its ends.
 */
export class OperationIds {
  readonly writer: string = randomBytes(8).toString('hex')
  #last = 0

  /** The next number of this writer. */
  next(): number {
    return ++this.#last
  }

  /** The public form of an id of this writer. */
  format(number: number): string {
    return `${this.writer}-${number}`
  }
}
