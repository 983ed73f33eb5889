import { randomUUID } from 'node:crypto'
import { link, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DATA_FILE, LOCK_FILE } from './generation.ts'
import { emptyMetaPage, KNOWS_PAGES, META_PAGES } from './page.ts'

/** The length that LMDB gives the lock file on 64-bit machines. It makes a shorter one longer, and takes a longer one as it is. */
const LOCK_BYTES = 65_744
/** Room that LMDB needs beside it for its first commits. */
const FIRST_COMMITS_BYTES = 64 * 1024

/**
 * The page size of new data files: that of the system, which LMDB would take too. Where it is not known to be this, LMDB
 * makes the file.
 */
const PAGE_BYTES = KNOWS_PAGES && process.arch === 'x64' ? 4096 : undefined

/** What says that there is no room. Anything else LMDB reports itself, or gets by without. */
const NO_ROOM: readonly unknown[] = ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO']

/**
 * Makes the lock file, with room on the disk for all its bytes, in a folder that has none.
 *
 * LMDB makes one that is all hole and maps it: on a full disk the first look at it would end the process (SIGBUS), and lmdb-js
 * ends it where LMDB finds no room for the first pages. Here that is an error.
 *
 * @throws where there is no room
 */
export function createLockFile(folder: string): Promise<void> {
  return createWhole(join(folder, LOCK_FILE), new Uint8Array(LOCK_BYTES), { spare: FIRST_COMMITS_BYTES })
}

/**
 * Makes a data file without rows in a folder that has none. If power fails while LMDB makes one, a part of it may be left,
 * which cannot be told from a damaged store.
 *
 * @throws where there is no room
 */
export async function createDataFile(folder: string): Promise<void> {
  if (PAGE_BYTES === undefined) return
  const pages = Array.from({ length: META_PAGES }, (_, page) => emptyMetaPage(page, PAGE_BYTES))
  await createWhole(join(folder, DATA_FILE), Buffer.concat(pages), { flush: true })
}

interface CreateOptions {
  /** So many bytes there must be room for beside it. */
  readonly spare?: number
  /** Whether it is on disk before it has its name. */
  readonly flush?: boolean
}

/** Makes a file unless there is one. It gets its name once it is whole: so one that is in use is never written to. */
async function createWhole(
  file: string,
  content: Uint8Array,
  { spare = 0, flush = false }: CreateOptions,
): Promise<void> {
  if ((await stat(file).catch(() => undefined)) !== undefined) return
  const temporary = `${file}.${randomUUID()}`
  try {
    const handle = await open(temporary, 'wx', 0o664)
    try {
      await handle.writeFile(content)
      if (spare > 0) {
        await handle.writeFile(new Uint8Array(spare))
        await handle.truncate(content.byteLength)
      }
      if (flush) await handle.sync()
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

/** Removes what processes have left that died while they made a file; who still does gets by without. */
export async function removeUnfinishedFiles(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const isUnfinished = [DATA_FILE, LOCK_FILE].some(file => name.startsWith(`${file}.`))
    if (isUnfinished) await rm(join(folder, name), { force: true })
  }
}
