import { type FileHandle, open } from 'node:fs/promises'
import { createGunzip } from 'node:zlib'
import { importError } from './import-error.ts'
import { systemReason } from './system-reason.ts'
import { throughZlib } from './zlib-stream.ts'

/** What is read, and unpacked, at a time. */
const CHUNK_BYTES = 256 * 1024

/** How far an import has come. */
export interface ImportProgress {
  /** Bytes of the file that have been read: compressed ones, where it is compressed. */
  readonly bytesRead: number
  /** Bytes of the file when it was opened; 0 for what has no size, such as a pipe. */
  readonly bytesTotal: number
}

/** How a file is opened. */
export interface OpenImportOptions {
  /** Looked at between chunks; its reason is thrown. */
  readonly signal?: AbortSignal | undefined
  /** Called after each chunk of the file. What it throws ends the import. */
  readonly onProgress?: ((progress: ImportProgress) => void) | undefined
}

/** Whether a file is, or is to be, compressed with gzip: its name ends in `.gz`. */
export function isGzipName(path: string): boolean {
  return /\.gz$/i.test(path)
}

/**
 * The contents of a file, in chunks; unpacked, if its name ends in `.gz`.
 *
 * It reads only as fast as its chunks are taken, so memory stays bounded, whatever a compressed file unpacks to.
 *
 * @throws {ImportError} if the file is missing, not readable or a folder, or the compressed data is damaged or cut.
 */
export async function* openImport(path: string, options: OpenImportOptions = {}): AsyncGenerator<Uint8Array> {
  options.signal?.throwIfAborted()
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw unreadable(path, error)
  })
  try {
    const chunks = readChunks(handle, path, options)
    yield* isGzipName(path) ? gunzip(chunks, path) : chunks
  } finally {
    await handle.close()
  }
}

async function* readChunks(
  handle: FileHandle,
  path: string,
  { signal, onProgress }: OpenImportOptions,
): AsyncGenerator<Uint8Array> {
  const reading = (error: unknown) => {
    throw unreadable(path, error)
  }
  const { size } = await handle.stat().catch(reading)
  for (let bytesRead = 0; ; ) {
    signal?.throwIfAborted()
    const chunk = await handle.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, null).catch(reading)
    if (chunk.bytesRead === 0) return
    bytesRead += chunk.bytesRead
    onProgress?.({ bytesRead, bytesTotal: size })
    yield chunk.buffer.subarray(0, chunk.bytesRead)
  }
}

async function* gunzip(chunks: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* throughZlib(chunks, createGunzip({ chunkSize: CHUNK_BYTES }))
  } catch (error) {
    throw isZlibError(error) ? damaged(path, error) : error
  }
}

function isZlibError(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')
}

function damaged(path: string, error: Error & { readonly code: string }): Error {
  const problem =
    error.code === 'Z_BUF_ERROR'
      ? 'the compressed data ends too early: the file is truncated'
      : `it is not gzip data, or it is damaged (${error.message})`
  return importError(path, undefined, `${problem}. Get a whole copy of it.`, error)
}

function unreadable(path: string, error: unknown): Error {
  return importError(path, undefined, `${systemReason(error)}.`, error)
}
