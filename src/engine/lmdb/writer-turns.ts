import { randomInt } from 'node:crypto'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import type { MaybePromise } from '../../core/maybe-promise.ts'

/*
 * Whose turn it is to write, among all processes and threads that have a store open.
 *
 * LMDB's write lock goes to whoever is awake when it becomes free: mostly that is who has just let go of it, if they ask
 * again at once, and others wait as long as that goes on. So whoever asks for the lock sets a mark in a file beside the
 * data, and clears it once they have the lock. Whoever asks also looks at the marks: one that was there already when they
 * last asked is of somebody who has been passed over, and goes first. Who has been alone for a while sets a mark only if they
 * have to wait, and lets everybody go first who has one. So a writer waits for two commits of another: the one that is under
 * way, or has been asked for, when it sets its mark, and the one that its mark is first seen at. For a large commit the mark
 * is set as soon as it is known that there will be one.
 *
 * Marks are advice; it is the lock that keeps commits apart. Nobody waits for each other: who lets a mark go first has
 * committed since they saw it, so their own is the younger one. A mark whose owner has died, or is held up, is cleared by
 * who has waited for it for a while; an owner that still waits sets it again.
 */

/** The order of those who write to a store. Asked by one commit of this thread at a time. */
export interface WriterTurns {
  /** Says that a commit is about to be asked for that is worth a mark in any case: nobody is to pass it over until then. */
  announce(): void
  /**
   * Says that the write lock is wanted. It is to be asked for once this has come to an end: mostly at once.
   *
   * @param newest the number of the newest transaction, where that is known
   */
  ask(newest: number | undefined): MaybePromise<void>
  /** Whether nobody else has written for a while. */
  isAlone(): boolean
  /** The lock has been got, for the transaction of this number. */
  begun(transaction: number): void
  /** The lock has been got, or is not wanted any more. */
  done(): void
  /** Nobody asks any more. */
  close(): void
}

const FILE = 'TURNS'
/** A mark is two numbers: who, which is not 0, and which of their turns. Two that share a place are one too few. */
const PLACES = 512
const MARK_WORDS = 2
const MARK_BYTES = MARK_WORDS * Uint32Array.BYTES_PER_ELEMENT
const NO_MARK = new Uint32Array(MARK_WORDS)
const NO_MARKS = Buffer.alloc(PLACES * MARK_BYTES)
const ALL_PLACES = Array.from({ length: PLACES }, (_, place) => place)

/** So long, in milliseconds, somebody is let go first: more than it takes to wake up on a busy machine. */
const PATIENCE_MS = 100
/** A wait is mostly shorter than a timer can be, so it begins with turns of the event loop. */
const SHORT_MS = 1
/** A mark that may have been cleared, or written over, or has not been set, is set after so many milliseconds. */
const REMIND_MS = 10
/** After so many commits without one of somebody else between them, a writer takes it that it is alone. */
const ALONE_COMMITS = 8

/** @param store the store's folder */
export function createWriterTurns(store: string): WriterTurns {
  const who = randomInt(1, 2 ** 32)
  const ownPlace = who % PLACES
  const ownMark = Uint32Array.of(who, 0)
  const bytes = Buffer.alloc(PLACES * MARK_BYTES)
  const marks = new Uint32Array(bytes.buffer, bytes.byteOffset, PLACES * MARK_WORDS)
  /** The marks as they were when this writer last asked, without those that it has waited for in vain. */
  const seen = new Uint32Array(marks.length)
  /** Opened when it is needed; `null` where that fails: then the order is as it comes. */
  let file: number | null | undefined
  let reminder: NodeJS.Timeout | undefined
  let isMarked = false
  /** Whether somebody of this thread waits for the lock, and whether a commit is announced that is not asked for yet. */
  let isAsked = false
  let isAnnounced = false
  /** The last transaction of this writer, and how many there were without one of somebody else between them. */
  let last = Number.NEGATIVE_INFINITY
  let commitsAlone = 0

  function write(place: number, mark: Uint32Array): void {
    if (typeof file !== 'number') return
    try {
      writeSync(file, mark, 0, MARK_BYTES, place * MARK_BYTES)
    } catch {
      // There may be no room on the disk.
    }
  }

  function remind(): void {
    isMarked = true
    write(ownPlace, ownMark)
  }

  /** Most turns are over long before: a timer that is set again costs less than one that is made and cleared for each. */
  function remindLater(): void {
    reminder ??= setTimeout(() => {
      if (!isAsked) return
      remind()
      remindLater()
    }, REMIND_MS).unref()
    reminder.refresh()
  }

  /** Sets the mark for the next turn. */
  function mark(): void {
    ownMark[1] = (ownMark[1] as number) + 1
    remind()
  }

  /** Reads the marks. Answers whether there are any. */
  function look(): boolean {
    if (typeof file !== 'number') return false
    try {
      readSync(file, bytes, 0, bytes.length, 0)
    } catch {
      bytes.fill(0)
    }
    return !bytes.equals(NO_MARKS)
  }

  function isSet(place: number): boolean {
    return marks[place * MARK_WORDS] !== 0
  }

  /** Whether the mark at a place is there, and was there before. */
  function isOld(place: number): boolean {
    const at = place * MARK_WORDS
    return marks[at] !== 0 && marks[at] === seen[at] && marks[at + 1] === seen[at + 1]
  }

  async function letGoFirst(places: readonly number[]): Promise<void> {
    let left = places
    for (const begun = performance.now(); ; ) {
      const waited = performance.now() - begun
      if (waited > PATIENCE_MS) break
      await (waited < SHORT_MS ? nextTurn() : delay(1))
      left = look() ? left.filter(isOld) : []
      if (left.length === 0) return
    }
    for (const place of left) {
      write(place, NO_MARK)
      seen.set(NO_MARK, place * MARK_WORDS)
    }
  }

  function done(): void {
    if (!isAsked) return
    isAsked = false
    if (isAnnounced) {
      // A new one: if it were older than the turn that has come to its end, two could wait for each other, see above.
      mark()
      return
    }
    if (isMarked) write(ownPlace, NO_MARK)
    isMarked = false
  }

  /** Whether this writer's mark is among those that were read. */
  function isShown(): boolean {
    const at = ownPlace * MARK_WORDS
    return marks[at] === ownMark[0] && marks[at + 1] === ownMark[1]
  }

  return {
    announce() {
      if (isAnnounced) return
      isAnnounced = true
      if (file === undefined) file = openFile(store)
      if (!isAsked) mark()
    },

    isAlone: () => commitsAlone >= ALONE_COMMITS,

    ask(newest) {
      if (newest !== undefined && newest > last) commitsAlone = 0
      if (file === undefined) file = openFile(store)
      // Whoever sets no mark is waited for by nobody, so they can let others go first at once.
      const isUnmarked = commitsAlone >= ALONE_COMMITS && !isAnnounced
      const goesFirst = isUnmarked ? isSet : isOld
      const passedOver = look() ? ALL_PLACES.filter(place => place !== ownPlace && goesFirst(place)) : []
      seen.set(marks)
      isAsked = true
      if (isAnnounced) {
        isAnnounced = false
        // Whoever has waited for it in vain has cleared it.
        if (!isShown()) remind()
      } else {
        ownMark[1] = (ownMark[1] as number) + 1
        // A lone writer is spared the mark.
        if (!isUnmarked) remind()
      }
      remindLater()
      return passedOver.length === 0 ? undefined : letGoFirst(passedOver)
    },

    begun(transaction) {
      done()
      commitsAlone = transaction > last + 1 ? 0 : commitsAlone + 1
      last = transaction
    },

    done,

    close() {
      clearTimeout(reminder)
      if (isMarked) write(ownPlace, NO_MARK)
      if (typeof file === 'number') closeSync(file)
      file = null
    },
  }
}

function openFile(store: string): number | null {
  try {
    return openSync(join(store, FILE), constants.O_RDWR | constants.O_CREAT, 0o664)
  } catch {
    return null
  }
}
