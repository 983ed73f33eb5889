import { closeSync, fdatasyncSync, openSync } from 'node:fs'
import type { MaybePromise } from '../../core/maybe-promise.ts'
import {
  type CommitMeta,
  clearFlushedCommit,
  isNoteOf,
  noteFlush,
  readNewestCommit,
} from './flushed-commit.ts'

/*
 * Flushes commits behind their callers' backs.
 *
 * A commit is acknowledged once the system has it: the death of the process cannot take it away then. Meanwhile, one
 * flush after the other goes on beside the commits, each for all that were made before it; and the data file says which
 * commit is known to be on disk (flushed-commit.ts), to which a loss of power takes the store back.
 *
 * What has to hold is that the pages of the noted commit are not written over, by anybody. LMDB writes over pages that were
 * freed after the oldest commit that somebody reads. So:
 *
 * - Who commits has a pin, a read transaction, on the commit that the note on disk tells of, or on an older one. A pin keeps
 *   the pages of every later commit, too: those that a later note may tell of.
 * - Who has none flushes all there is, and notes that, before they write: so whoever dies with their pins leaves a note
 *   that somebody else's pin keeps, or one that is replaced before any page is.
 * - A pin is let go of once the note of the next one is itself on disk. A note that is written but not flushed may be on disk
 *   or not; the pins of both are there.
 * - The note never goes back to an older commit: whoever has brought a later one to disk has let go of the pins before it, and
 *   who notes the older one may die with theirs. Each finds a later note than theirs as good: their pin keeps it, too.
 *
 * A step under the write lock notes the commit that the last flush was for, and pins the newest one; the flush after it
 * brings the note to disk and the pages of the newest commit. So there is one flush a round, and one more at the end.
 */

/** Flushes the commits of one environment of this thread. */
export interface Flusher {
  /** To be called at the beginning of a transaction that may write, under the write lock, before it does. */
  admit(): void
  /** The transaction that was admitted has ended, and has committed so many rows. */
  ended(rows: number): void
  /** Waits while much is committed that is not on disk yet. */
  keepUp(): MaybePromise<void>
  /** Resolves once a commit is on disk, and those before it. */
  flush(transaction: number): Promise<void>
  /** Flushes what is left, and lets go of everything. */
  close(): Promise<void>
}

/** What a flusher needs of the environment around it. */
export interface FlusherOptions {
  /** The data file. */
  readonly file: string
  readonly boot: Uint8Array
  /** Runs `step` in a transaction that writes nothing, under the write lock, and not while another of this thread is under way. */
  underLock(step: () => void): Promise<void>
  /** Flushes the file. */
  sync(): Promise<void>
  /** Begins a read transaction, which shows the newest commit, and returns what ends it. */
  pin(): () => void
  /** Ends the read transactions of processes that have died. */
  checkReaders(): void
}

/** A commit whose pages are kept. */
interface Pinned extends CommitMeta {
  release(): void
}

interface FlushCall {
  readonly transaction: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** With so many rows committed and not flushed, the next commit waits: a loss of power takes so much, and the file may grow by it. */
const MAX_WAITING_ROWS = 32_768
/** So long after the last commit, in milliseconds, its pages are kept: a store that nobody writes to keeps none from others. */
const IDLE_MS = 1000
/** So long, in milliseconds, a flush waits for more commits. */
const PAUSE_MS = 20
const CHECK_READERS_MS = 1000

export function createFlusher({ file, boot, underLock, sync, pin, checkReaders }: FlusherOptions): Flusher {
  const descriptor = openSync(file, 'r+')
  /** On the commit that the note on disk tells of, or an older one. */
  let base: Pinned | undefined
  /** The commit that this flusher has last brought to disk, with a note of it or of a later one. */
  let flushed = Number.NEGATIVE_INFINITY
  /** On later commits. */
  const later = new Set<Pinned>()
  /** Rows committed that no flush is under way for. */
  let waiting = 0
  /** Who waits for these to be taken to be flushed, and who waits for a commit to be on disk. */
  const onTaken: (() => void)[] = []
  let onFlushed: FlushCall[] = []
  /** Ends the pause before the next flush. */
  let hurry = nothing
  let isHurried = false
  let timer: NodeJS.Timeout | undefined
  let isAdmitted = false
  let rounds: Promise<void> | undefined
  /** Set while nobody is known to commit. */
  let idle: NodeJS.Timeout | undefined
  let checked = 0
  /** A flush has failed: nothing can be known of the disk any more. */
  let failure: { readonly error: unknown } | undefined

  /** Under the write lock. */
  function pinNewest(): Pinned {
    // Pinned first: what is read then is that commit, since nobody makes another.
    const release = pin()
    try {
      return { ...readNewestCommit(descriptor), release }
    } catch (error) {
      release()
      throw error
    }
  }

  /** Lets commits gather, while nobody waits: the pages that each of them writes are flushed once then. */
  async function pause(): Promise<void> {
    if (isHurried || onFlushed.length > 0 || onTaken.length > 0) return
    await new Promise<void>(resolve => {
      hurry = resolve
      timer = setTimeout(resolve, PAUSE_MS).unref()
    })
    clearTimeout(timer)
    hurry = nothing
  }

  function checkReadersNow(): void {
    const now = performance.now()
    if (now < checked + CHECK_READERS_MS) return
    checked = now
    checkReaders()
  }

  /**
   * Under the write lock: sees to it that the newest commit is on disk, and noted there, and pins it.
   *
   * It blocks the thread while it flushes. All threads of Node's pool may be waiting for the lock.
   */
  function establish(): void {
    checkReadersNow()
    const newest = pinNewest()
    try {
      // Whether the note is on disk, only who has flushed it knows.
      if (newest.transaction !== flushed || !isNoteOf(descriptor, boot, newest)) {
        fdatasyncSync(descriptor)
        noteFlush(descriptor, boot, newest)
        fdatasyncSync(descriptor)
        flushed = newest.transaction
      }
    } catch (error) {
      // The next flush would tell nothing of what this one has failed to write.
      failure = { error }
      newest.release()
      throw error
    }
    base = newest
  }

  /** Flushes until all is flushed, and noted. */
  async function run(): Promise<void> {
    /** Flushed, and not noted yet. */
    let ready: Pinned | undefined
    try {
      do {
        await pause()
        const noted = ready
        let next: Pinned | undefined
        await underLock(() => {
          if (noted !== undefined) noteFlush(descriptor, boot, noted)
          if (waiting === 0) return
          next = pinNewest()
          later.add(next)
          waiting = 0
        })
        for (const resolve of onTaken.splice(0)) resolve()
        await flushFile()
        if (noted !== undefined) {
          base?.release()
          base = noted
          later.delete(noted)
          flushed = noted.transaction
          answer()
        }
        ready = next
        checkReadersNow()
      } while (ready !== undefined || waiting > 0)
    } catch (error) {
      giveUp(error)
    }
  }

  async function flushFile(): Promise<void> {
    try {
      await sync()
    } catch (error) {
      failure = { error }
      throw error
    }
  }

  /** Until the next commit; for good, where a flush has failed. */
  function giveUp(error: unknown): void {
    // What is pinned stays so then: the note on disk may be of any of these. Else the oldest pin keeps them all, or nobody
    // here commits.
    if (failure === undefined) {
      for (const pinned of later) pinned.release()
      later.clear()
    }
    for (const { reject } of onFlushed.splice(0)) reject(error)
    for (const resolve of onTaken.splice(0)) resolve()
  }

  function answer(): void {
    const isDone = (call: FlushCall): boolean => call.transaction <= flushed
    for (const { resolve } of onFlushed.filter(isDone)) resolve()
    onFlushed = onFlushed.filter(call => !isDone(call))
  }

  /** Begins to flush, unless that is under way: then it goes on until all is flushed. */
  function start(): void {
    clearTimeout(idle)
    idle = undefined
    rounds ??= run().then(() => {
      rounds = undefined
      restSoon()
    })
  }

  /** Lets go of the last pin in a while. What writes nothing does not put that off: others may be writing. */
  function restSoon(): void {
    if (rounds === undefined) idle ??= setTimeout(rest, IDLE_MS).unref()
  }

  function rest(): void {
    if (failure !== undefined || rounds !== undefined) return
    if (isAdmitted) {
      idle?.refresh()
      return
    }
    idle = undefined
    base?.release()
    base = undefined
  }

  return {
    admit() {
      if (failure !== undefined) throw failure.error
      isAdmitted = true
      if (base === undefined) establish()
    },

    ended(rows) {
      isAdmitted = false
      waiting += rows
      if (rows > 0) start()
      else restSoon()
    },

    keepUp() {
      if (waiting <= MAX_WAITING_ROWS || rounds === undefined) return undefined
      hurry()
      return new Promise(resolve => onTaken.push(resolve))
    },

    async flush(transaction) {
      if (failure !== undefined) throw failure.error
      if (transaction <= flushed) return
      // It may be somebody else's, whom no flush of this one is under way for.
      waiting = Math.max(waiting, 1)
      start()
      hurry()
      await new Promise<void>((resolve, reject) => onFlushed.push({ transaction, resolve, reject }))
    },

    async close() {
      isHurried = true
      // Where a round could not be made.
      if (waiting > 0 && failure === undefined) start()
      hurry()
      while (rounds !== undefined) await rounds
      clearTimeout(idle)
      for (const pinned of base === undefined ? later : [base, ...later]) pinned.release()
      base = undefined
      later.clear()
      closeSync(descriptor)
    },
  }
}

/**
 * For systems on which a run cannot be told from another: LMDB flushes the pages of each commit before the one that leads to
 * them, and no note is needed. One that another system has left is taken away.
 */
export function createNoFlusher({ file, sync }: Pick<FlusherOptions, 'file' | 'sync'>): Flusher {
  let isCleared = false
  return {
    admit() {
      if (isCleared) return
      const descriptor = openSync(file, 'r+')
      try {
        clearFlushedCommit(descriptor)
        fdatasyncSync(descriptor)
        isCleared = true
      } finally {
        closeSync(descriptor)
      }
    },
    ended: nothing,
    keepUp: nothing,
    flush: sync,
    close: async () => undefined,
  }
}

function nothing(): void {}
