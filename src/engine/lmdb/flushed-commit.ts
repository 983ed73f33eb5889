import { closeSync, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs'
import { crc32 } from 'node:zlib'
import { BOOT, BOOT_BYTES } from './boot.ts'
import { META_PAGES, PageDamage, parseMeta } from './page.ts'

/*
 * The newest commit that is known to be on disk.
 *
 * Commits are acknowledged before they are flushed, and the system may write their pages to the disk in any order. So after
 * a loss of power the two pages that tell where the trees are may lead to pages that were never written. The note here tells
 * where they were at a commit all of whose pages had been flushed before it was written, and in which run of the system.
 * Opened in another run, the store goes back to it: see power-loss.ts.
 *
 * It stands in the first page, behind what LMDB keeps there and never touches, in one sector of the disk: so it is
 * either as it was before or as it is now. It is written under LMDB's write lock only.
 */

/** Where the trees are, as a commit has left them. */
export interface CommitMeta {
  readonly transaction: number
  /** What LMDB has about it in a page: from the size of the map on. */
  readonly bytes: Uint8Array
}

/** A commit, and the run of the system in which it was flushed. */
export interface FlushedCommit extends CommitMeta {
  readonly boot: Uint8Array
}

const MAGIC = Buffer.from('varvedsk', 'latin1')
/** What LMDB writes of a page at each commit: all but what never changes. */
const META_START = 40
const META_LENGTH = 128
const META_END = META_START + META_LENGTH
/** The place of the transaction's number in it. */
const TRANSACTION = 152 - META_START
/** In the middle of a sector of 512 bytes: far behind what LMDB has in the page, whose second half lmdb-js may use. */
const POSITION = 3072
const BOOT_AT = MAGIC.byteLength
const META_AT = BOOT_AT + BOOT_BYTES
const CHECKSUM = META_AT + META_LENGTH
const LENGTH = CHECKSUM + 4
const NOTHING = Buffer.alloc(LENGTH)

/** Where the note is in a data file. */
export const NOTE = { position: POSITION, length: LENGTH } as const

/**
 * Reads the note from a data file; `undefined` where there is none, as in a new file.
 *
 * @throws {PageDamage} if it cannot be read
 */
export function readFlushedCommit(descriptor: number): FlushedCommit | undefined {
  return parseFlushedCommit(readAt(descriptor, NOTE.position, NOTE.length))
}

/** {@link readFlushedCommit}, of the bytes that {@link NOTE} says. */
export function parseFlushedCommit(bytes: Buffer): FlushedCommit | undefined {
  if (bytes.equals(NOTHING)) return undefined
  const isWhole =
    bytes.subarray(0, BOOT_AT).equals(MAGIC) &&
    bytes.readUInt32LE(CHECKSUM) === crc32(bytes.subarray(0, CHECKSUM))
  if (!isWhole) throw new PageDamage('tells of no commit that was flushed')
  const meta = bytes.subarray(META_AT, CHECKSUM)
  return { boot: bytes.subarray(BOOT_AT, META_AT), bytes: meta, transaction: transactionOf(meta) }
}

/** Whether the system has died since a commit was noted, as far as can be told. */
export function isOfAnotherRun({ boot }: FlushedCommit): boolean {
  return BOOT === undefined || Buffer.compare(boot, BOOT) !== 0
}

/** Notes that a commit has been flushed. To be called under the write lock. */
export function writeFlushedCommit(descriptor: number, boot: Uint8Array, { bytes }: CommitMeta): void {
  const note = Buffer.concat([MAGIC, boot, bytes, Buffer.alloc(4)])
  note.writeUInt32LE(crc32(note.subarray(0, CHECKSUM)), CHECKSUM)
  writeSync(descriptor, note, 0, LENGTH, POSITION)
}

/**
 * Notes that a commit has been flushed, unless the note is of a later one, which others have flushed. To be called under the
 * write lock.
 */
export function noteFlush(descriptor: number, boot: Uint8Array, commit: CommitMeta): void {
  const note = readWholeNote(descriptor)
  if (note === undefined || note.transaction <= commit.transaction)
    writeFlushedCommit(descriptor, boot, commit)
}

/** Whether the note is of this commit, and of this run of the system. */
export function isNoteOf(descriptor: number, boot: Uint8Array, { transaction }: CommitMeta): boolean {
  const note = readWholeNote(descriptor)
  return note?.transaction === transaction && Buffer.compare(note.boot, boot) === 0
}

/** The note, where it can be read: the next one takes its place in any case. */
function readWholeNote(descriptor: number): FlushedCommit | undefined {
  try {
    return readFlushedCommit(descriptor)
  } catch (error) {
    if (error instanceof PageDamage) return undefined
    throw error
  }
}

/**
 * Flushes the newest commit of a file and notes that, unless the note says so. To be called under the write lock, before
 * anything is written that no pin keeps from being written over what the note leads to.
 */
export function flushNewest(file: string, boot: Uint8Array): void {
  const descriptor = openSync(file, 'r+')
  try {
    const newest = readNewestCommit(descriptor)
    if (isNoteOf(descriptor, boot, newest)) return
    fdatasyncSync(descriptor)
    noteFlush(descriptor, boot, newest)
    fdatasyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** Takes the note away: for who flushes every commit. To be called under the write lock. */
export function clearFlushedCommit(descriptor: number): void {
  writeSync(descriptor, NOTHING, 0, LENGTH, POSITION)
}

/** What a data file says of its newest commit. */
export interface NewestCommit extends CommitMeta {
  readonly pageBytes: number
}

/**
 * What a data file says of its newest commit. To be called under the write lock, or while nobody has the file open: else
 * it may be read half written.
 *
 * @throws {PageDamage} if its first page cannot be read
 */
export function readNewestCommit(descriptor: number): NewestCommit {
  const first = readAt(descriptor, 0, META_END)
  const { pageBytes } = parseMeta(first)
  const [a, b] = [first, readAt(descriptor, pageBytes, META_END)].map(page => page.subarray(META_START)) as [
    Buffer,
    Buffer,
  ]
  const bytes = transactionOf(a) > transactionOf(b) ? a : b
  return { bytes, transaction: transactionOf(bytes), pageBytes }
}

/** The beginning of a page that says what a commit does, as {@link readNewestCommit} has it. */
export function metaPageOf(firstPage: Uint8Array, { bytes }: CommitMeta): Buffer {
  return Buffer.concat([firstPage.subarray(0, META_START), bytes])
}

function readAt(descriptor: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  readSync(descriptor, bytes, 0, length, position)
  return bytes
}

/**
 * Lets both pages lead to where the trees were at a commit, under the numbers of the last two commits of the file: LMDB has
 * the last one in its lock file, too. To be called under the write lock.
 */
export function goBackTo(
  descriptor: number,
  { bytes }: CommitMeta,
  { transaction, pageBytes }: NewestCommit,
): void {
  for (const number of [transaction - 1, transaction]) {
    const meta = Buffer.from(bytes)
    meta.writeBigUInt64LE(BigInt(number), TRANSACTION)
    writeSync(descriptor, meta, 0, META_LENGTH, (number % META_PAGES) * pageBytes + META_START)
  }
}

function transactionOf(meta: Buffer): number {
  return Number(meta.readBigUInt64LE(TRANSACTION))
}
