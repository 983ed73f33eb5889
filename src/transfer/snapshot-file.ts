import { DeltaError, ExportError } from '../core/errors.ts'
import type { EncodedValue } from '../core/value-codec.ts'
import { VarintReader, varintLength, writeVarint } from '../core/varint.ts'
import { FRAME, type Frame, FrameReader, FrameWriter } from './snapshot-frames.ts'
import { decodeSnapshotHeader, encodeSnapshotHeader, type SnapshotFileHeader } from './snapshot-header.ts'
import {
  BaseDigest,
  BlockWriter,
  MAX_BLOCK_BYTES,
  readBlock,
  resolveRow,
  type SnapshotChange,
  type SnapshotRow,
} from './snapshot-rows.ts'

/**
 * Snapshot files, format 1. `docs/snapshot-file.md` says the same at more length.
 *
 * ```
 * file    = 89 "VARVE" 0A, format (1 byte); frame…; SHA-256 of all bytes before
 * frame   = type (1 byte), length, stored length, CRC-32 of these nine bytes; content; CRC-32 of the content as stored
 * content = raw deflate where the stored length is less than the length, else as it is
 * ```
 *
 * Integers of fixed length have four bytes, the least significant first; `varint` is LEB128. There is one frame of
 * type 1, the header: JSON, see {@link SnapshotFileHeader}; any number of type 2, blocks of rows; and one of type 3,
 * the end:
 *
 * ```
 * row     = varint: length of the key; the key in UTF-8; [base]; tag (1 byte); [varint: length; bytes]
 * base    = only in a difference. varint: 0 if the base lacks the key, else 1 + the length of its value there
 * tag     = 0: the snapshot lacks the key, and no bytes follow. 1: a value as JSON. 2: a value as V8 writes it.
 *           11, 12 (hexadecimal): the same as the binary delta that makes it of the base's value
 * end     = varint: number of rows; [SHA-256 of what the rows replace in the base: only in a difference]
 * ```
 *
 * Keys ascend bytewise through the whole file. A block has at most 1 MiB, or a single row. So a file is written and
 * read with the memory of a block or of the largest value, and whatever is changed, cut, repeated, left out or put
 * into another order is found out: by the checksums where it is, and at the latest by the digest.
 *
 * A whole file holds every key of the snapshot; a difference, those whose value is not the base's to the byte.
 */

/** The longest header: an export refuses to write more, and an import to read more. */
const MAX_HEADER_BYTES = 64 * 1024 * 1024
const BASE_DIGEST_BYTES = 32
const LIMITS = { [FRAME.header]: MAX_HEADER_BYTES, [FRAME.rows]: MAX_BLOCK_BYTES, [FRAME.end]: 64 }

/** The base's values are looked up for at most so many rows, and about so many bytes, at a time. */
const LOOKUP_ROWS = 500
const LOOKUP_BYTES = 1024 * 1024

/** A key of the snapshot and its value; in a difference also keys that the snapshot lacks. */
export interface SnapshotEntry {
  readonly key: Uint8Array
  readonly value: EncodedValue | undefined
}

/** A file of which every checksum has been found right. */
export interface CheckedSnapshotFile {
  readonly file: string
  readonly header: SnapshotFileHeader
  /** Tells this file from any other. */
  readonly digest: Buffer
}

/** What the base of a difference holds at some keys, in their order. */
export type BaseLookup = (keys: readonly Uint8Array[]) => Promise<readonly (EncodedValue | undefined)[]>

/**
 * The bytes of a snapshot file.
 *
 * @param changes In ascending order of the keys' bytes. Read only as fast as the bytes are taken.
 * @throws {ExportError} if the header takes more than 64 MiB.
 */
export async function* writeSnapshotFile(
  header: SnapshotFileHeader,
  changes: AsyncIterable<readonly SnapshotChange[]>,
  file: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const text = encodeSnapshotHeader(header)
  if (text.byteLength > MAX_HEADER_BYTES) {
    throw new ExportError(
      `Cannot export ${header.version} to ${JSON.stringify(file)}: its tags, description and userInfo take ${text.byteLength} bytes, and a file has room for ${MAX_HEADER_BYTES}.`,
      { file },
    )
  }
  const isDifference = header.base !== undefined
  const frames = new FrameWriter()
  yield frames.preamble()
  yield await frames.frame(FRAME.header, text)
  const block = new BlockWriter(isDifference)
  const base = new BaseDigest()
  let rows = 0
  for await (const batch of changes) {
    for (const change of batch) {
      const full = block.add(change)
      if (full !== undefined) yield await frames.frame(FRAME.rows, full)
      if (isDifference) base.update(change.key, change.before)
      rows++
    }
  }
  const last = block.take()
  if (last !== undefined) yield await frames.frame(FRAME.rows, last)
  yield await frames.frame(FRAME.end, encodeEnd(rows, isDifference ? base.digest() : undefined))
  yield frames.digest()
}

function encodeEnd(rows: number, baseDigest: Uint8Array | undefined): Uint8Array {
  const count = Buffer.allocUnsafe(varintLength(rows))
  writeVarint(count, 0, rows)
  return baseDigest === undefined ? count : Buffer.concat([count, baseDigest])
}

/**
 * Reads a file to its end and checks all its checksums, without unpacking its rows.
 *
 * @throws {ImportError} if it is not a snapshot file, or a single bit of it is not as it was written.
 */
export async function checkSnapshotFile(
  chunks: AsyncIterable<Uint8Array>,
  file: string,
): Promise<CheckedSnapshotFile> {
  const frames = new FrameReader(chunks, file, LIMITS)
  try {
    const header = await readHeader(frames)
    while ((await nextAfterHeader(frames)).type !== FRAME.end);
    return { file, header, digest: await frames.end() }
  } finally {
    await frames.close()
  }
}

/**
 * The entries of a file that {@link checkSnapshotFile} has passed, in the order of their keys.
 *
 * Those of a difference are made of the base's values, which `lookup` is asked for; only after the last one is it
 * certain that all of these were right.
 *
 * @throws {ImportError} if the file is not as an export writes it, has been replaced since, or does not fit the base.
 */
export async function* readSnapshotFile(
  chunks: AsyncIterable<Uint8Array>,
  { file, header, digest }: CheckedSnapshotFile,
  lookup: BaseLookup,
): AsyncGenerator<SnapshotEntry, void, undefined> {
  const frames = new FrameReader(chunks, file, LIMITS)
  const isDifference = header.base !== undefined
  const base = new BaseDigest()
  let rows = 0
  let previous: Uint8Array | undefined
  try {
    await readHeader(frames)
    let frame = await nextAfterHeader(frames)
    for (; frame.type !== FRAME.end; frame = await nextAfterHeader(frames)) {
      const block = await frames.content(frame)
      for (const batch of lookupBatches(readRows(frames, frame, block, isDifference, previous))) {
        const befores = isDifference ? await lookup(batch.map(row => row.key)) : []
        for (const [i, row] of batch.entries()) {
          const before = befores[i]
          if (isDifference) base.update(row.key, before)
          yield { key: row.key, value: resolve(frames, frame, header, row, before) }
          previous = row.key
          rows++
        }
      }
    }
    const end = readEnd(frames, frame, await frames.content(frame), isDifference)
    if (end.rows !== rows) {
      throw frames.damaged(
        frame.index,
        `it counts ${end.rows} rows, and there are ${rows}: blocks are missing`,
      )
    }
    if (end.baseDigest !== undefined && !end.baseDigest.equals(base.digest())) throw otherBase(frames, header)
    if (!(await frames.end()).equals(digest)) {
      throw frames.error('it was replaced while it was read. Import it again.')
    }
  } finally {
    await frames.close()
  }
}

async function readHeader(frames: FrameReader): Promise<SnapshotFileHeader> {
  await frames.begin()
  const frame = await frames.next()
  if (frame.type !== FRAME.header) throw frames.damaged(frame.index, 'it should be the header')
  const content = await frames.content(frame)
  try {
    return decodeSnapshotHeader(content)
  } catch (cause) {
    throw frames.damaged(frame.index, `the header cannot be read (${messageOf(cause)})`, cause)
  }
}

async function nextAfterHeader(frames: FrameReader): Promise<Frame> {
  const frame = await frames.next()
  if (frame.type === FRAME.header) throw frames.damaged(frame.index, 'it is a second header')
  return frame
}

function* readRows(
  frames: FrameReader,
  frame: Frame,
  block: Uint8Array,
  isDifference: boolean,
  previous: Uint8Array | undefined,
): Generator<SnapshotRow, void, undefined> {
  try {
    yield* readBlock(block, isDifference, previous)
  } catch (cause) {
    throw unreadableRows(frames, frame, cause)
  }
}

/** Rows in groups for which the base's values may be in memory together. */
function* lookupBatches(rows: Iterable<SnapshotRow>): Generator<readonly SnapshotRow[], void, undefined> {
  let batch: SnapshotRow[] = []
  let bytes = 0
  for (const row of rows) {
    const length = row.beforeLength ?? 0
    if (batch.length >= LOOKUP_ROWS || (batch.length > 0 && bytes + length > LOOKUP_BYTES)) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(row)
    bytes += length
  }
  if (batch.length > 0) yield batch
}

function resolve(
  frames: FrameReader,
  frame: Frame,
  header: SnapshotFileHeader,
  row: SnapshotRow,
  before: EncodedValue | undefined,
): EncodedValue | undefined {
  if (row.beforeLength !== before?.bytes.byteLength) throw otherBase(frames, header)
  try {
    return resolveRow(row, before)
  } catch (cause) {
    if (cause instanceof DeltaError) throw otherBase(frames, header, cause)
    throw unreadableRows(frames, frame, cause)
  }
}

function readEnd(
  frames: FrameReader,
  frame: Frame,
  content: Uint8Array,
  isDifference: boolean,
): { readonly rows: number; readonly baseDigest: Buffer | undefined } {
  try {
    const reader = new VarintReader(content)
    const rows = reader.next()
    const baseDigest = isDifference ? Buffer.from(reader.take(BASE_DIGEST_BYTES)) : undefined
    if (reader.done) return { rows, baseDigest }
  } catch (cause) {
    throw frames.damaged(frame.index, 'the end cannot be read', cause)
  }
  throw frames.damaged(frame.index, 'the end is longer than it should be')
}

function unreadableRows(frames: FrameReader, frame: Frame, cause: unknown): Error {
  return frames.damaged(frame.index, `its rows cannot be read (${messageOf(cause)})`, cause)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function otherBase(frames: FrameReader, { base }: SnapshotFileHeader, cause?: unknown): Error {
  return frames.error(
    `it is a difference from ${base?.version} (${base?.id}), and the snapshot of that id here holds other values. Export the snapshot whole, without a base.`,
    cause,
  )
}
