import { isPromiseLike, type MaybePromise } from '../core/maybe-promise.ts'
import type { Head } from './head.ts'

/** How far somebody has read the log, and the epoch that readers saw there. */
export interface LogPosition {
  readonly sequence: number
  readonly epoch: number
}

/** Somebody who begins to follow the log. */
interface Start {
  /** What was known at the call to be committed by then: it begins no earlier. */
  readonly least: LogPosition
  /** It begins no later. */
  most: LogPosition | undefined
}

/**
 * Where those begin who follow the log from a call on.
 *
 * The end of the log is asked for in that call. But by the time a server looks, this process may have read and committed
 * more, and answers may come in another order than they were given. Whoever follows the log is to be told of each commit
 * that is answered after the call, and of whatever a read did not show that was asked for after it: he begins no later
 * than any of them met the log.
 */
export class LogStarts {
  readonly #starts = new Set<Start>()
  /** Commits, and reads of the head for which a start has to wait. */
  readonly #underWay = new Set<PromiseLike<unknown>>()
  /** The newest end of the log that this process has met. */
  #newest: LogPosition = { sequence: 0, epoch: 0 }
  /** Where a large commit of this process began that has not become visible since. */
  #pending: LogPosition | undefined

  /** Whether somebody does not know yet where to begin. */
  get waiting(): boolean {
    return this.#starts.size > 0
  }

  /** Finds out where to begin. `find` asks for the end of the log. */
  async begin(find: () => Promise<LogPosition>): Promise<LogPosition> {
    const start: Start = { least: this.#newest, most: this.#pending }
    this.#starts.add(start)
    try {
      const end = await find()
      // What was under way by then may have met the log before.
      await Promise.allSettled(this.#underWay)
      return start.most === undefined ? end : earlier(start.most, end)
    } finally {
      this.#starts.delete(start)
    }
  }

  /** Has those who begin wait for a commit, or for a read of the head, to say what it met. */
  waitFor<T extends MaybePromise<unknown>>(call: T): T {
    if (!isPromiseLike(call)) return call
    this.#underWay.add(call)
    const ended = (): void => void this.#underWay.delete(call)
    call.then(ended, ended)
    return call
  }

  /** Notes the end of the log, for readers, that a read or a commit met. */
  met(position: LogPosition): void {
    this.#newest = later(this.#newest, position)
    if (this.#pending !== undefined && position.sequence > this.#pending.sequence) this.#pending = undefined
    for (const start of this.#starts) {
      const most = later(start.least, position)
      start.most = start.most === undefined ? most : earlier(start.most, most)
    }
  }

  /** Notes a head. While a large commit is pending, it does not say where the log ends for readers. */
  metHead(head: Head): void {
    if (head.pending === 0) this.met(head)
  }

  /** Notes a commit of this process, which met one head and left another. */
  committed(met: Head, left: Head): void {
    this.metHead(met)
    if (met.pending === 0 && left.pending !== 0) this.#pending = met
    this.metHead(left)
  }
}

function earlier(a: LogPosition, b: LogPosition): LogPosition {
  return b.sequence < a.sequence ? b : a
}

function later(a: LogPosition, b: LogPosition): LogPosition {
  return b.sequence > a.sequence || (b.sequence === a.sequence && b.epoch > a.epoch) ? b : a
}
