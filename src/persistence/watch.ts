import { fromByteString, toByteString } from '../core/bytes.ts'
import { PersistenceError } from '../core/errors.ts'
import type { View } from '../engine/engine.ts'
import { readChangedKeys } from '../history/change-list.ts'
import { ADDED, type LogEntry, type LoggedChange, REMOVED, readLog, TOUCHED } from '../history/commit-log.ts'
import type { Head } from '../history/head.ts'
import type { History } from '../history/history.ts'
import type { LogPosition } from '../history/log-starts.ts'
import { readManyAt } from '../history/reader.ts'
import { decodePayload, type ParsedRecord } from '../history/record.ts'
import { listSnapshotRows } from '../history/snapshot-table.ts'
import { inRange, type Range, toKeyRange } from '../snapshot/key-range.ts'
import type { KeyOf } from '../snapshot/state-reader.ts'

/** A committed change of one key. */
export type Change<S = Record<string, unknown>> = { [K in KeyOf<S>]: ChangeOf<S, K> }[KeyOf<S>]

/** A committed change of the key `K`. */
export interface ChangeOf<S, K extends KeyOf<S>> {
  readonly key: K
  /** What the commit did to the key. */
  readonly type: 'added' | 'changed' | 'removed'
  /**
   * What the key holds as the change is delivered, which is at least as new as the commit; `undefined` if it is gone.
   * Who applies each change in turn therefore always ends up with the current state.
   */
  readonly value: S[K] | undefined
  /** The number of the commit: greater for later ones; the changes of one commit share it. */
  readonly sequence: number
}

/** How often other processes' commits are looked for where the engine cannot tell of them. In milliseconds. */
const POLL_INTERVAL = 25

/** Changes handed over at a time. */
const MAX_BATCH_ENTRIES = 256

/**
 * The changes committed from now on, by any process, in the order of their commits.
 *
 * The iterator ends when it is returned, when its limit is reached, or when the store is closed. A watcher that falls
 * so far behind that the log has been trimmed is told of every key touched since; it misses no key, but may be told of
 * one twice. Where the snapshots of that time are gone as well, nobody knows those keys any more: it fails with a
 * `PersistenceError` of the code `WATCH_BEHIND`.
 */
export class Watcher<S> implements AsyncIterableIterator<Change<S>> {
  readonly #history: History
  readonly #wanted: (key: string) => boolean
  readonly #onEnd: (watcher: Watcher<S>) => void
  readonly #unsubscribe: (() => void)[] = []
  #left: number
  #timer: NodeJS.Timeout | undefined
  #start: Promise<LogPosition> | undefined
  #position: LogPosition = { sequence: 0, epoch: 0 }
  #buffer: Change<S>[] = []
  #ended = false
  #awake = true
  #wake: (() => void) | undefined
  #last: Promise<unknown> = Promise.resolve()

  constructor(history: History, range: Range | undefined, onEnd: (watcher: Watcher<S>) => void) {
    const keyRange = toKeyRange(range)
    this.#history = history
    this.#wanted = inRange(keyRange, history.keys)
    this.#left = keyRange.limit ?? Number.POSITIVE_INFINITY
    this.#onEnd = onEnd
    // "From now on" is from this call, not from the first `next()`.
    this.#start = history.start()
    this.#start.catch(() => undefined)
    this.#unsubscribe.push(history.onCommit(() => this.#rouse()))
    const { engine } = history
    if (engine.subscribe !== undefined) this.#unsubscribe.push(engine.subscribe(() => this.#rouse()))
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<Change<S>, undefined>> {
    const result = this.#last.then(() => this.#next())
    this.#last = result.catch(() => undefined)
    return result
  }

  async return(): Promise<IteratorResult<Change<S>, undefined>> {
    this.end()
    return { done: true, value: undefined }
  }

  /** Ends the iteration, also for a `next()` that is waiting. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#buffer = []
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
    this.#rouse()
    this.#onEnd(this)
  }

  #rouse(): void {
    this.#awake = true
    this.#wake?.()
  }

  async #next(): Promise<IteratorResult<Change<S>, undefined>> {
    try {
      if (this.#start !== undefined) {
        this.#position = await this.#start
        this.#start = undefined
      }
      while (!this.#ended && this.#left > 0) {
        const change = this.#buffer.shift()
        if (change !== undefined) {
          this.#left--
          return { done: false, value: change }
        }
        this.#awake = false
        await this.#fill()
        if (this.#buffer.length === 0) await this.#sleep()
      }
    } catch (error) {
      // Once it has ended, what it asked for is of no interest any more: the store may be closed.
      if (!this.#ended) {
        this.end()
        throw error
      }
    }
    this.end()
    return { done: true, value: undefined }
  }

  async #sleep(): Promise<void> {
    if (this.#awake || this.#ended) return
    await new Promise<void>(resolve => {
      this.#wake = resolve
      // Referenced: a program that waits for changes is not done.
      if (this.#history.engine.subscribe === undefined) this.#timer = setTimeout(resolve, POLL_INTERVAL)
    })
    clearTimeout(this.#timer)
    this.#wake = undefined
  }

  #fill(): Promise<void> {
    return this.#history.view(async (view, head) => {
      // There is something in it where an earlier view was lost on the way.
      this.#buffer = []
      if (head.sequence === this.#position.sequence) return
      const lost = head.logStart > this.#position.sequence + 1
      this.#position = lost ? await this.#catchUp(view, head) : await this.#follow(view, head)
    })
  }

  async #follow(view: View, head: Head): Promise<LogPosition> {
    let { sequence, epoch } = this.#position
    let taken = 0
    for await (const entries of readLog(view, sequence)) {
      for (const entry of entries) {
        // What is pending will be visible, all at once, with the epoch it is written in.
        if (entry.epoch > head.epoch || (taken >= MAX_BATCH_ENTRIES && entry.sequence > sequence)) {
          return { sequence, epoch }
        }
        sequence = entry.sequence
        epoch = entry.epoch
        taken++
        await this.#deliver(view, head, entry)
      }
    }
    return { sequence, epoch }
  }

  async #deliver(view: View, head: Head, { sequence, changes }: LogEntry): Promise<void> {
    const wanted: LoggedChange[] = []
    for (const change of changes) {
      if (change.kind !== TOUCHED && this.#wanted(toByteString(change.key))) wanted.push(change)
    }
    if (wanted.length === 0) return
    const records = await readManyAt(
      view,
      wanted.map(({ key }) => key),
      head.epoch,
    )
    for (const [i, { key, kind }] of wanted.entries()) {
      const type = kind === ADDED ? 'added' : kind === REMOVED ? 'removed' : 'changed'
      this.#buffer.push(toChange(this.#history.keys.decode(key), type, records[i], sequence))
    }
  }

  /** Where the log is gone, the change lists still name every key touched in the epochs since. */
  async #catchUp(view: View, head: Head): Promise<LogPosition> {
    // Those of epochs below the oldest snapshot are discarded in the background.
    const oldest = (await listSnapshotRows(view))[0]?.epoch ?? head.epoch
    if (this.#position.epoch < oldest) {
      throw new PersistenceError(
        'WATCH_BEHIND',
        'The watcher fell so far behind that the changes it has missed are no longer kept. Read the state again, and watch anew; take changes faster than they are made.',
      )
    }
    let above = ''
    for (let more = true; more; ) {
      const range = { after: this.#position.epoch - 1, through: head.epoch }
      const page = await readChangedKeys(view, range, this.#history.limits, above)
      const keys = page.keys.filter(this.#wanted).map(fromByteString)
      const records = await readManyAt(view, keys, head.epoch)
      for (const [i, key] of keys.entries()) {
        const type = records[i] === undefined ? 'removed' : 'changed'
        this.#buffer.push(toChange(this.#history.keys.decode(key), type, records[i], head.sequence))
      }
      above = page.keys.at(-1) ?? above
      more = page.more
    }
    // The entries of a pending commit are told once it has ended.
    return this.#history.positionIn(view, head)
  }
}

function toChange<S>(
  key: string,
  type: 'added' | 'changed' | 'removed',
  record: ParsedRecord | undefined,
  sequence: number,
): Change<S> {
  const change: ChangeOf<S, KeyOf<S>> = {
    key: key as KeyOf<S>,
    type,
    value: record && (decodePayload(record) as S[KeyOf<S>]),
    sequence,
  }
  // Each key's value is of that key's type, which the compiler cannot see.
  return change as Change<S>
}
