import { closeSync, fdatasyncSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { EngineError } from '../../core/errors.ts'
import { type Lmdb, noteCommit, openRoot, openTables, type Root, startsFromNewest } from './binding.ts'
import { BOOT } from './boot.ts'
import {
  clearFlushedCommit,
  type FlushedCommit,
  goBackTo,
  isOfAnotherRun,
  readFlushedCommit,
  readNewestCommit,
  writeFlushedCommit,
} from './flushed-commit.ts'
import { DATA_FILE, LOCK_FILE } from './generation.ts'
import { announceOpening } from './openings.ts'
import { META_PAGES, PageDamage } from './page.ts'
import { NOTICE_MS } from './trust.ts'

/*
 * Takes a store back to the newest commit that is known to be on disk, where the system has died since: the commits after it
 * may be there in part (flushed-commit.ts).
 *
 * Whoever opens the store next does so before they look at anything else in it; so nobody has made a commit in this run of
 * the system that could be taken away. Several may open it at the same time: it is done under the write lock, and only while
 * the note is of another run of the system. If the system dies once more meanwhile, all begins anew.
 */

/** Whether a data file has commits that may not be whole. */
export function mayBeTorn(file: string): boolean {
  const descriptor = openSync(file, 'r')
  try {
    const note = noteOfAnotherRun(descriptor)
    return note !== undefined && readNewestCommit(descriptor).transaction !== note.transaction
  } catch (error) {
    // Whoever looks at the whole beginning of the file reports it.
    if (error instanceof PageDamage) return false
    throw error
  } finally {
    closeSync(descriptor)
  }
}

function noteOfAnotherRun(descriptor: number): FlushedCommit | undefined {
  const note = readFlushedCommit(descriptor)
  return note !== undefined && isOfAnotherRun(note) ? note : undefined
}

/**
 * Goes back to the newest commit that is whole for certain.
 *
 * @param store the store's folder
 * @param folder that of the generation, which can be written to
 */
export async function goBackToFlushed(lmdb: Lmdb, store: string, folder: string): Promise<void> {
  const isOpen = announceOpening(store, join(folder, LOCK_FILE), NOTICE_MS)
  const descriptor = openSync(join(folder, DATA_FILE), 'r+')
  // This looks at nothing but the first two pages: where they lead to may be anything.
  const root = openRoot(lmdb, folder, { readOnly: false })
  try {
    const newest = root.transactionSync(() => {
      const note = noteOfAnotherRun(descriptor)
      if (note === undefined) return undefined
      if (isOpenElsewhere(root)) throw ofAnotherRun(store)
      return goBack(descriptor, note)
    })
    if (newest === undefined) return
    // Both pages are of this commit now. Each is to tell of one that has written the list of tables, as they always do.
    for (let number = newest; number < newest + META_PAGES; number++) {
      root.transactionSync(() => {
        // Others may have made commits since.
        if (root.env.info().lastTxnId === number && startsFromNewest(root)) noteCommit(root, openTables(root))
      })
    }
  } finally {
    closeSync(descriptor)
    isOpen()
    await root.close()
  }
}

/**
 * Whether somebody else has the files open: the first one to open them empties the table of readers, in which each then has
 * a place.
 */
function isOpenElsewhere({ env }: Root): boolean {
  return env.info().numReaders > 0
}

/** Under the write lock. Answers the number of the newest commit. */
function goBack(descriptor: number, note: FlushedCommit): number {
  const newest = readNewestCommit(descriptor)
  goBackTo(descriptor, note, newest)
  fdatasyncSync(descriptor)
  if (BOOT === undefined) clearFlushedCommit(descriptor)
  else writeFlushedCommit(descriptor, BOOT, readNewestCommit(descriptor))
  fdatasyncSync(descriptor)
  return newest.transaction
}

/** What is thrown where a store would have to be taken back, and cannot be written. */
export function cannotGoBack(store: string): EngineError {
  return new EngineError(
    `Cannot read the store in ${JSON.stringify(store)}: the system has died, or the files were copied, while it was ` +
      'being written, and its last commits may be incomplete. Open it once where it can be written; that takes it back to ' +
      'the newest commit that is complete.',
    { code: 'ENGINE_NOT_WRITABLE' },
  )
}

/** What is thrown where others have a store open that seems to have been left by a system that died. */
function ofAnotherRun(store: string): EngineError {
  return new EngineError(
    `Cannot open the store in ${JSON.stringify(store)}: a process has it open that tells another number of the run of the ` +
      'system (/proc/sys/kernel/random/boot_id), as in a container that has one of its own. Open it where that process ' +
      'runs, or once it has closed it.',
  )
}
