import { constants, existsSync } from 'node:fs'
import { access, mkdir, open, realpath, stat } from 'node:fs/promises'
import { endianness } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { EngineError } from '../../core/errors.ts'
import type { Lmdb } from './binding.ts'
import { toEngineError } from './errors.ts'
import { problemOfStart } from './file-start.ts'
import { createDataFile, createLockFile } from './first-files.ts'
import {
  DATA_FILE,
  flushFolder,
  generationFolder,
  generationsIn,
  LOCK_FILE,
  readCurrentGeneration,
} from './generation.ts'
import { KNOWS_PAGES } from './page.ts'
import { openPageFile } from './page-file.ts'
import { cannotGoBack, goBackToFlushed, mayBeTorn } from './power-loss.ts'

/** A folder that LMDB can be let at. */
export interface PreparedFolder {
  /** Its real path. */
  readonly folder: string
  readonly writable: boolean
}

/**
 * Creates the folder if it is absent, and looks at what is in it: lmdb-js crashes the process where LMDB refuses to
 * open a file, instead of throwing.
 *
 * A folder that cannot be written will do if it holds a store to read.
 */
export async function prepareFolder(lmdb: Lmdb, path: string): Promise<PreparedFolder> {
  try {
    await createFolder(path)
    const folder = await realpath(path)
    for (;;) {
      const { current, exists } = await findDataFile(lmdb, folder)
      try {
        return { folder, writable: await prepareFiles(folder, current, exists) }
      } catch (error) {
        // Whoever has moved the store meanwhile has removed the files that were found.
        const isMoved =
          isMissing(error) && generationFolder(folder, readCurrentGeneration(folder)) !== current
        if (!isMoved) throw error
      }
    }
  } catch (cause) {
    throw toEngineError(cause, 'open', path)
  }
}

/** Sees to it that the files of a generation are there. Answers whether they can be written. */
async function prepareFiles(folder: string, current: string, exists: boolean): Promise<boolean> {
  try {
    await assertWritable(folder, current)
  } catch (error) {
    if (!exists) throw error
    return false
  }
  await createLockFile(current)
  if (!exists) await createDataFile(current)
  return true
}

/** @throws an error of the system if something of a generation may not be written. */
async function assertWritable(folder: string, current: string): Promise<void> {
  await access(folder, constants.W_OK)
  for (const file of ['', DATA_FILE, LOCK_FILE]) await ifPresent(access(join(current, file), constants.W_OK))
}

/**
 * Creates a folder and what is missing above it, so that a loss of power does not take them away again.
 *
 * `mkdir` of Node does so too, but never ends where a folder that is there refuses to have another made in it with
 * `ENOENT`, as `/proc` does: it takes that to mean that the parent is missing, and makes it again, for ever.
 */
async function createFolder(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    if (await isFolder(path)) return
    const parent = dirname(path)
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || parent === path || (await isFolder(parent))) {
      throw error
    }
    await createFolder(parent)
    await createFolder(path)
    // The store flushes what lists its own folder, and this is listed there; what lists that one is seen to here. Where
    // something may be created that may not be read, this is as far as it goes.
    await flushFolder(dirname(parent)).catch(() => undefined)
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    stats => stats.isDirectory(),
    () => false,
  )
}

/** The length of LMDB's files in a folder, in bytes. */
export async function lengthOfFiles(folder: string): Promise<number> {
  const lengths = await Promise.all(
    // LMDB makes no lock file where it cannot write.
    [DATA_FILE, LOCK_FILE].map(file => ifPresent(stat(join(folder, file)).then(({ size }) => size))),
  )
  return lengths.reduce<number>((sum, length) => sum + (length ?? 0), 0)
}

/**
 * The folder of the current generation, and whether there is a data file in it.
 *
 * @throws EngineError if it cannot be one of LMDB's
 */
async function findDataFile(
  lmdb: Lmdb,
  store: string,
): Promise<{ readonly current: string; readonly exists: boolean }> {
  let previous: number | undefined
  for (;;) {
    const generation = readCurrentGeneration(store)
    const current = generationFolder(store, generation)
    await settle(lmdb, store, current)
    const problem = await problemOf(join(current, DATA_FILE))
    if (problem === undefined) return { current, exists: true }
    if (generation === previous) {
      const isNew = generation === 0 && generationsIn(store).every(number => number === 0)
      if (problem === ABSENT && isNew) return { current, exists: false }
      if (problem === ABSENT && generation === 0) {
        throw new EngineError(
          `Cannot open the store in ${JSON.stringify(store)}: there are folders of generations in it, and the file CURRENT ` +
            'that names one of them is missing. Put it back, or let repair(), or "varve verify --repair", make a new store.',
          { code: 'ENGINE_DAMAGED' },
        )
      }
      const message = `Cannot open the store in ${JSON.stringify(current)}: ${DATA_FILE} in it ${problem}.`
      if (!problem.startsWith(DAMAGED) && problem !== CUT_OFF) throw new EngineError(message)
      throw new EngineError(
        `${message} Restore it from a backup, or let repair(), or "varve verify --repair", make a new store of what is whole.`,
        { code: 'ENGINE_DAMAGED' },
      )
    }
    previous = generation
    // Another process may be creating the file right now, or may have moved the store.
    if (problem !== ABSENT) await delay(CREATION_MS)
  }
}

/** Takes the store back to a commit that is whole, if the system has died while it was being written. */
async function settle(lmdb: Lmdb, store: string, folder: string): Promise<void> {
  const file = join(folder, DATA_FILE)
  if (!KNOWS_PAGES || !existsSync(file) || !mayBeTorn(file)) return
  await assertWritable(store, folder).catch(() => {
    throw cannotGoBack(store)
  })
  await createLockFile(folder)
  await goBackToFlushed(lmdb, store, folder)
}

const ABSENT = 'is absent'
const CUT_OFF = 'has lost its end'
const DAMAGED = 'is damaged: '
const CREATION_MS = 50

/**
 * The beginning of a data file (struct MDB_page, then struct MDB_meta, as lmdb-js 3 has them on 64-bit machines): two
 * pages, of which the one with the greater transaction number counts.
 */
const META = { magic: 24, version: 28, pageSize: 48, mainRoot: 136, transaction: 152, end: 160 } as const
const MAGIC = 0xbeefc0de
const DATA_VERSION = 2
/** The root of a tree without pages. */
const NO_PAGE = 2n ** 64n - 1n

/** What speaks against a data file, to be read after its name. */
async function problemOf(file: string): Promise<string | undefined> {
  const handle = await ifPresent(open(file, constants.O_RDONLY))
  if (handle === undefined) return ABSENT
  try {
    const { size } = await handle.stat()
    if (size === 0) return ABSENT
    if (!['x64', 'arm64'].includes(process.arch)) return undefined
    const read = async (position: number): Promise<DataView> =>
      new DataView((await handle.read(new Uint8Array(META.end), 0, META.end, position)).buffer.buffer)
    const little = endianness() === 'LE'
    const first = await read(0)
    if (first.getUint32(META.magic, little) !== MAGIC) return 'is not an LMDB data file'
    if ((first.getUint32(META.version, little) & 0xffff) !== DATA_VERSION)
      return 'is of another version of LMDB'
    const pageSize = first.getUint32(META.pageSize, little)
    const second = await read(pageSize)
    const transaction = (meta: DataView): bigint => meta.getBigUint64(META.transaction, little)
    const root = (transaction(second) > transaction(first) ? second : first).getBigUint64(
      META.mainRoot,
      little,
    )
    const pages = root === NO_PAGE ? 2n : root + 1n
    // Only now: commits make the file longer, and then say so.
    if (BigInt((await handle.stat()).size) < pages * BigInt(pageSize)) return CUT_OFF
    const problem = KNOWS_PAGES ? problemOfPages(file) : undefined
    return problem && `${DAMAGED}${problem}`
  } catch (error) {
    // Removed meanwhile.
    if (isMissing(error)) return ABSENT
    throw error
  } finally {
    await handle.close()
  }
}

function problemOfPages(path: string): string | undefined {
  const file = openPageFile(path)
  try {
    return problemOfStart(file)
  } finally {
    file.close()
  }
}

/** `undefined` where the file does not exist. */
function ifPresent<T>(promise: Promise<T>): Promise<T | undefined> {
  return promise.catch((error: unknown) => {
    if (isMissing(error)) return undefined
    throw error
  })
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}
