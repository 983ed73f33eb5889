import { randomUUID } from 'node:crypto'
import { type FileHandle, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createGzip } from 'node:zlib'
import { ExportError } from '../core/errors.ts'
import { systemReason } from './system-reason.ts'
import { throughZlib } from './zlib-stream.ts'

/** How a file is written. */
export interface AtomicWriteOptions {
  /** Looked at between chunks, and before the file takes its place; its reason is thrown. */
  readonly signal?: AbortSignal | undefined
  /** Compress with gzip. */
  readonly gzip?: boolean | undefined
}

/** The name of a temporary file: a random one, by which it can be told from the files of others. */
const TEMPORARY = /^\.varve-[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\.tmp$/

/** A temporary file that nobody has written to for so long was left by a process that died. In milliseconds. */
const ABANDONED_AFTER = 24 * 60 * 60 * 1000

/**
 * Writes a file as a whole or not at all: readers see the former file, or none, until the new one is complete.
 *
 * The chunks go to a temporary file in the same folder, which is flushed to disk and then renamed over `path`. Whatever
 * fails before that, the temporary file is removed and the former file is as it was; if the process dies, whoever writes to
 * the folder a day later removes it. A file that is replaced keeps its permissions; a symbolic link is followed.
 *
 * @param chunks Read only as fast as they are written. What it throws is thrown on.
 * @returns the size of the file in bytes.
 * @throws {ExportError} if the file cannot be written.
 */
export async function atomicWrite(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  options: AtomicWriteOptions = {},
): Promise<number> {
  const { signal } = options
  /** Runs a file operation. Errors of `chunks` are not among those it turns into an `ExportError`. */
  const attempt = async <T>(operation: Promise<T>): Promise<T> => {
    try {
      return await operation
    } catch (error) {
      throw new ExportError(`Cannot export to ${JSON.stringify(path)}: ${systemReason(error)}.`, {
        file: path,
        cause: error,
      })
    }
  }

  signal?.throwIfAborted()
  const former = await attempt(statIfThere(path))
  if (former?.isDirectory()) {
    throw new ExportError(`Cannot export to ${JSON.stringify(path)}: it is a folder. Name a file in it.`, {
      file: path,
    })
  }
  const target = former === undefined ? path : await attempt(realpath(path))
  await removeAbandoned(dirname(target))
  const temporary = join(dirname(target), `.varve-${randomUUID()}.tmp`)
  const handle = await attempt(open(temporary, 'wx'))
  try {
    let bytes = 0
    try {
      if (former !== undefined) await attempt(handle.chmod(former.mode))
      for await (const chunk of options.gzip ? throughZlib(chunks, createGzip()) : chunks) {
        signal?.throwIfAborted()
        await attempt(handle.writeFile(chunk))
        bytes += chunk.byteLength
      }
      await attempt(handle.sync())
    } finally {
      await attempt(handle.close())
    }
    signal?.throwIfAborted()
    await attempt(rename(temporary, target))
    await flushFolder(dirname(target))
    return bytes
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error
  }
}

/** Removes the temporary files that processes have left in a folder. What cannot be removed is no failure of the export. */
async function removeAbandoned(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [])
  for (const name of names) {
    if (!TEMPORARY.test(name)) continue
    const file = join(folder, name)
    const written = (await stat(file).catch(() => undefined))?.mtimeMs
    if (written !== undefined && written < Date.now() - ABANDONED_AFTER) {
      await rm(file, { force: true }).catch(() => {})
    }
  }
}

async function statIfThere(path: string) {
  try {
    return await stat(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * Makes the renaming itself survive a loss of power. Some platforms have no such operation, and a failure is no failure
 * of the export: the new file is in place, and at worst a loss of power brings the former one back, whole.
 */
async function flushFolder(path: string): Promise<void> {
  let folder: FileHandle | undefined
  try {
    folder = await open(path, 'r')
    await folder.sync()
  } catch {
    // See above.
  } finally {
    await folder?.close().catch(() => {})
  }
}
