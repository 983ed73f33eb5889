import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { EngineError } from '../core/errors.ts'
import type { Engine } from '../engine/engine.ts'
import { DATA_FILE, generationFolder, readCurrentGeneration } from '../engine/lmdb/generation.ts'
import { lmdb } from '../engine/lmdb.ts'
import { systemReason } from '../transfer/system-reason.ts'
import { isPostgres, postgresPlace } from './postgres-place.ts'

/** The folder that is taken if nothing names another. */
const DEFAULT_STORE = './.varve'
const NO_STORE = 'ENGINE_NO_STORE'

/** Where the store of a command is: what `--store` says, else `VARVE_STORE`, else `./.varve`. */
export function storePlace(option: string | undefined, env: NodeJS.ProcessEnv): string {
  return option ?? (env['VARVE_STORE'] || DEFAULT_STORE)
}

/**
 * The engine of the store at a place: a folder, or a URL.
 *
 * @param create whether a store may be made where there is none. A command that reads must not leave one behind
 *   because of a misspelt name.
 * @throws {EngineError} if there is none, and none is to be made.
 */
export async function engineAt(place: string, cwd: string, create: boolean): Promise<Engine> {
  if (isPostgres(place)) {
    // Loaded only where it is used.
    const { postgres } = await import('../engine/postgres.ts')
    return postgres({ ...postgresPlace(place), create })
  }
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(place)?.[1]
  if (scheme !== undefined) {
    throw new EngineError(
      `This varve has no engine for ${JSON.stringify(`${scheme}://`)}. A store is a folder, such as ${DEFAULT_STORE}, or a database, such as postgres://user@host/database?store=name.`,
    )
  }
  const folder = resolve(cwd, place)
  if (create || folderHoldsStore(folder)) return lmdb(folder)
  const isFolder = await stat(folder).then(
    found => found.isDirectory(),
    () => undefined,
  )
  const what = {
    true: 'the folder holds none',
    false: 'it is a file',
    undefined: 'the folder does not exist',
  }
  throw new EngineError(
    `There is no store at ${JSON.stringify(place)}: ${what[`${isFolder}`]}. ` +
      '"varve init" makes one; --store or VARVE_STORE names another.',
    { code: NO_STORE },
  )
}

/** Runs `use` with the engine of a new store beside the one at a place: on the same disk, or the same server. It is removed afterwards. */
export async function withScratchStore<T>(
  place: string,
  cwd: string,
  use: (engine: Engine) => Promise<T>,
): Promise<T> {
  if (!isPostgres(place)) {
    const folder = await scratchFolder(dirname(resolve(cwd, place)))
    try {
      return await use(lmdb(folder))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
  const { postgres, removeStore } = await import('../engine/postgres.ts')
  const options = { ...postgresPlace(place), store: `bench ${randomUUID()}` }
  try {
    return await use(postgres(options))
  } finally {
    await removeStore(options)
  }
}

async function scratchFolder(parent: string): Promise<string> {
  try {
    return await mkdtemp(join(parent, '.varve-bench-'))
  } catch (cause) {
    throw new EngineError(
      `Cannot make a store to measure writes on, in ${JSON.stringify(parent)}: ${systemReason(cause)}.`,
      { code: 'ENGINE_NOT_WRITABLE', cause },
    )
  }
}

/** Whether there is a store at a place. */
export async function holdsStore(place: string, cwd: string): Promise<boolean> {
  if (!isPostgres(place)) return folderHoldsStore(resolve(cwd, place))
  const engine = await engineAt(place, cwd, false)
  try {
    await engine.open()
    await engine.close()
    return true
  } catch (error) {
    if (error instanceof EngineError && error.code === NO_STORE) return false
    throw error
  }
}

function folderHoldsStore(folder: string): boolean {
  try {
    return existsSync(join(generationFolder(folder, readCurrentGeneration(folder)), DATA_FILE))
  } catch (error) {
    // Opening it says what is wrong with it.
    return error instanceof EngineError
  }
}
