import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { EngineError } from '../core/errors.ts'
import { DATA_FILE, generationFolder, readCurrentGeneration } from '../engine/lmdb/generation.ts'
import type { PersistenceOptions } from '../persistence/options.ts'

/** The folder that is taken if nothing names another. */
const DEFAULT_STORE = './.varve'

/** Where the store of a command is: what `--store` says, else `VARVE_STORE`, else `./.varve`. */
export function storePlace(option: string | undefined, env: NodeJS.ProcessEnv): string {
  return option ?? (env['VARVE_STORE'] || DEFAULT_STORE)
}

/**
 * What opens the store at a place.
 *
 * @param create whether a store may be made where there is none. A command that reads must not leave one behind
 *   because of a misspelt name.
 * @throws {EngineError} if there is none, and none is to be made.
 */
export async function storeOptions(
  place: string,
  cwd: string,
  create: boolean,
): Promise<Pick<PersistenceOptions, 'basePath' | 'engine'>> {
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(place)?.[1]
  if (scheme !== undefined) {
    throw new EngineError(
      `This varve has no engine for ${JSON.stringify(`${scheme}://`)}. A store is a folder, such as ${DEFAULT_STORE}.`,
    )
  }
  const folder = resolve(cwd, place)
  if (create || (await holdsStore(folder))) return { basePath: folder }
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
    { code: 'ENGINE_NO_STORE' },
  )
}

/** Whether there is a store in a folder. */
export async function holdsStore(folder: string): Promise<boolean> {
  try {
    return existsSync(join(generationFolder(folder, readCurrentGeneration(folder)), DATA_FILE))
  } catch (error) {
    // Opening it says what is wrong with it.
    return error instanceof EngineError
  }
}
