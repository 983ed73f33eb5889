import { randomUUID } from 'node:crypto'
import { link, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LOCK_FILE } from './generation.ts'

/** The length that LMDB gives the lock file on 64-bit machines. It makes a shorter one longer, and takes a longer one as it is. */
const LOCK_BYTES = 65_744
/** Room that LMDB needs beside it for a new data file, and for its first commit. */
const FIRST_PAGES_BYTES = 64 * 1024

/** What says that there is no room. Anything else LMDB reports itself, or gets by without. */
const NO_ROOM: readonly unknown[] = ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO']

/**
 * Makes the lock file, with all its bytes on disk, in a folder that has none.
 *
 * LMDB makes one that is all hole and maps it: on a full disk the first look at it would end the process (SIGBUS), and lmdb-js
 * ends it where LMDB finds no room for the first pages. Here that is an error. The file gets its name when it is whole: one
 * that is in use is never written to.
 *
 * @throws where there is no room
 */
export async function reserveLockFile(folder: string): Promise<void> {
  const file = join(folder, LOCK_FILE)
  if ((await stat(file).catch(() => undefined)) !== undefined) return
  const temporary = `${file}.${randomUUID()}`
  try {
    const handle = await open(temporary, 'wx', 0o664)
    try {
      await handle.writeFile(new Uint8Array(LOCK_BYTES + FIRST_PAGES_BYTES))
      await handle.truncate(LOCK_BYTES)
    } finally {
      await handle.close()
    }
    // Fails where somebody else has made one meanwhile.
    await link(temporary, file)
  } catch (error) {
    if (NO_ROOM.includes((error as NodeJS.ErrnoException).code)) throw error
  } finally {
    await rm(temporary, { force: true }).catch(() => undefined)
  }
}

/** Removes what processes have left that died while they made one; who still does gets by without. */
export async function removeUnfinishedLockFiles(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(`${LOCK_FILE}.`)) await rm(join(folder, name), { force: true })
  }
}
