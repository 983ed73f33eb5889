import { mkdir } from 'node:fs/promises'
import type { EngineCompactOptions, View } from '../engine.ts'
import { copyTables } from './copy-tables.ts'
import type { StoreFolder } from './environment.ts'
import { toEngineError } from './errors.ts'
import { createLockFile } from './first-files.ts'
import { flushFolder, generationFolder, removeGeneration } from './generation.ts'
import { openWriter } from './writer.ts'

/**
 * Makes a new generation of what a view shows: whole and on disk once it resolves, gone again if it fails. To be
 * called under the write lock of the current generation, which is the one before, and is named by CURRENT.
 */
export async function createNextGeneration(
  { lmdb, path }: StoreFolder,
  generation: number,
  source: View,
  options: EngineCompactOptions,
): Promise<void> {
  const { signal } = options
  const folder = generationFolder(path, generation)
  try {
    // What a process that died has left.
    await removeGeneration(path, generation)
    await mkdir(folder)
    await createLockFile(folder)
    const writer = openWriter(lmdb, folder, path)
    try {
      await copyTables(source, writer, options)
    } finally {
      await writer.close()
    }
    await flushFolder(folder)
    await flushFolder(path)
    signal?.throwIfAborted()
  } catch (error) {
    await removeGeneration(path, generation).catch(() => undefined)
    throw signal?.aborted && error === signal.reason ? error : toEngineError(error, 'compact', path)
  }
}
