import { readdirSync, readFileSync } from 'node:fs'
import { open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { EngineError } from '../../core/errors.ts'

/*
 * Where the files of a store are. LMDB's files never shrink; to give space back, the rows are copied to new files, a
 * **generation**, and everybody moves there. Generation 0 lies in the store's folder itself, each later one in a
 * folder of its own. The file CURRENT names the current one; where it is absent, that is 0.
 *
 * How a store moves from n to n + 1, and what holds at each point:
 *
 * 1. Under the write lock of n, which is current and is named by CURRENT, all rows are copied to n + 1 and flushed.
 *    Nobody looks at n + 1 yet: it may be removed by whoever holds that lock.
 * 2. The same transaction records in n that the store has moved. Nobody ever commits to n again, as every commit looks
 *    for that record first, inside its transaction. Readers look for it too, and go on in n + 1.
 * 3. The first commit to n + 1, whoever makes it, first lets CURRENT name n + 1, under the write lock of n + 1. So
 *    CURRENT never goes back, and nothing is in n + 1 alone before CURRENT names it, on disk.
 * 4. From then on the files of n may be removed: by whoever has moved the store, and by everybody after their own first
 *    commit to n + 1, since who has moved it may be dead. Whoever has them open finds the record; whoever was about to
 *    open them finds that CURRENT has changed since.
 *
 * After a crash CURRENT names n or n + 1. If n, its record decides which one counts, and both are whole. Whoever opens the
 * store for writing then does step 3 and 4.
 */

export const DATA_FILE = 'data.mdb'
export const LOCK_FILE = 'lock.mdb'

const CURRENT_FILE = 'CURRENT'
const FOLDER = /^generation-([1-9]\d*)$/

/** The folder that LMDB's files of a generation are in. */
export function generationFolder(store: string, generation: number): string {
  return generation === 0 ? store : join(store, `generation-${generation}`)
}

/**
 * The generation that CURRENT names: the current one, or, for a moment, the one before.
 *
 * @throws EngineError if CURRENT is damaged
 */
export function readCurrentGeneration(store: string): number {
  let text: string
  try {
    text = readFileSync(join(store, CURRENT_FILE), 'latin1')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0
    throw error
  }
  if (/^[1-9]\d{0,14}\n$/.test(text)) return Number(text)
  throw new EngineError(
    `Cannot open the store in ${JSON.stringify(store)}: the file ${CURRENT_FILE} in it is damaged. It holds the ` +
      'number of the folder generation-… with the greatest number that has a whole data file, and a line feed.',
  )
}

/** Lets CURRENT name a generation, at once and on disk. To be called under the write lock of that generation. */
export async function writeCurrentGeneration(store: string, generation: number): Promise<void> {
  const file = join(store, CURRENT_FILE)
  const temporary = `${file}.tmp`
  await writeFile(temporary, `${generation}\n`, { flush: true })
  await rename(temporary, file)
  await flushFolder(store)
}

/** Flushes what a folder lists. Windows cannot open folders, and needs no such thing. */
export async function flushFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The numbers of the generations that there is any file of. */
export async function listGenerations(store: string): Promise<number[]> {
  return numbersIn(await readdir(store))
}

/** The same, at once. */
export function generationsIn(store: string): number[] {
  return numbersIn(readdirSync(store))
}

function numbersIn(names: readonly string[]): number[] {
  const isOfFirst = (name: string): boolean => name === DATA_FILE || name === LOCK_FILE
  const numbers = names.map(name => (isOfFirst(name) ? 0 : Number(FOLDER.exec(name)?.[1])))
  return [...new Set(numbers.filter(number => !Number.isNaN(number)))]
}

/**
 * Removes the files of a generation. They may be open still: that does no harm, and on Windows keeps them.
 *
 * The lock file goes first. Somebody who opens the data file meanwhile finds what it holds, under a lock that nobody
 * needs any more; a new data file beside the old lock would confuse those who still read the old one.
 */
export async function removeGeneration(store: string, generation: number): Promise<void> {
  const folder = generationFolder(store, generation)
  await rm(join(folder, LOCK_FILE), { force: true })
  await rm(join(folder, DATA_FILE), { force: true })
  // Who is about to open it may make a lock file there once more, before they find that the store has moved.
  if (generation !== 0) await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 10 })
}
