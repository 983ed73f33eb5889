import { readdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'
import { blockFor } from './block-for.ts'

/*
 * Whoever opens LMDB's files sets the number of the newest commit, which is in the lock file, to what the data file
 * said a moment before: see startsFromNewest() in binding.ts. Until that has been set right, transactions begin from an
 * older commit. Writers find that out. To find it out at every read would make reads a third slower; so who opens the
 * files says so by a file beside them, early enough, and readers look for such files every few milliseconds. Only while
 * there is one do they make sure at each read.
 */

const PREFIX = 'OPENING-'
/** Whoever dies while opening leaves its file. Nobody takes as long as this, in milliseconds. */
const ABANDONED_MS = 60_000
/** The same where there is no such process, unless it is one of another machine or container. */
const ABANDONED_BY_NOBODY_MS = 1_000

let openings = 0

/**
 * Tells readers that this thread is about to open the files of a store, and returns what ends that. Where others may have
 * them open, it first blocks for `noticeMs`, so that all of them have noticed.
 */
export function announceOpening(store: string, lockFile: string, noticeMs: number): () => void {
  const file = join(store, `${PREFIX}${process.pid}-${threadId}-${++openings}`)
  try {
    writeFileSync(file, '')
  } catch {
    // Who may not write here has no lock file to write to either.
    return () => undefined
  }
  // After the file is there: whoever opens the store from now on sees it.
  if (mayBeOpen(lockFile)) blockFor(noticeMs)
  return () => {
    try {
      unlinkSync(file)
    } catch {
      // Gone with its folder, or to be removed as abandoned.
    }
  }
}

/** Whether anybody is opening the files of a store. Removes what those have left who died at it. */
export function isBeingOpened(store: string): boolean {
  try {
    let found = false
    for (const name of readdirSync(store)) {
      if (!name.startsWith(PREFIX)) continue
      found = true
      const file = join(store, name)
      const limit = isAlive(Number(name.split('-')[1])) ? ABANDONED_MS : ABANDONED_BY_NOBODY_MS
      if (Date.now() - statSync(file).mtimeMs > limit) unlinkSync(file)
    }
    return found
  } catch {
    // It may have gone this moment; and where nothing can be seen, it is safe to take it that somebody does.
    return true
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

/** Whether somebody may have the files open: LMDB locks the first byte of the lock file as long as it does. */
function mayBeOpen(lockFile: string): boolean {
  const inode = statSync(lockFile, { throwIfNoEntry: false })?.ino
  if (inode === undefined) return false
  try {
    return readFileSync('/proc/locks', 'latin1').includes(`:${inode} `)
  } catch {
    // Not Linux.
    return true
  }
}
