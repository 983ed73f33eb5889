import { crc32 } from 'node:zlib'
import { asBuffer, copyBytes } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { counterAt, counterTupleKey } from '../core/key.ts'
import { type MaybePromise, whenReady } from '../core/maybe-promise.ts'
import { MAX_VARINT_BYTES, VarintReader, writeSignedVarint, writeVarint } from '../core/varint.ts'
import type { Batch, Row, View } from '../engine/engine.ts'
import type { HistoryLimits } from './limits.ts'

/**
 * The commit log: one entry a commit, `sequence → (writer, operation numbers, epoch, keys)`.
 *
 * One append for each commit is cheaper than an index entry for each key. The log tells watchers and caches in
 * other processes what changed, answers whether an operation happened, and is folded into the sorted `changes` of
 * its epoch after the seal. An entry with many keys is cut into parts, so that no record grows with the commit.
 */

/** What a commit did to a key; `TOUCHED` where the current state is as it was. */
export const TOUCHED = 0
export const ADDED = 1
export const CHANGED = 2
export const REMOVED = 3
export type ChangeKind = typeof TOUCHED | typeof ADDED | typeof CHANGED | typeof REMOVED

/** One key of a commit. */
export interface LoggedChange {
  readonly key: Uint8Array
  readonly kind: ChangeKind
  /** Bytes of the record that was written, less those of the one written over that is kept nowhere. */
  readonly bytes: number
}

/** One part of an entry. */
export interface LogEntry {
  readonly sequence: number
  /** The epoch in which the keys were written. Greater than the visible epoch while a large commit is pending. */
  readonly epoch: number
  readonly writer: string
  readonly firstOperation: number
  readonly lastOperation: number
  readonly changes: LoggedChanges
}

/** What an entry says of its keys: read as it is gone through. */
export interface LoggedChanges extends Iterable<LoggedChange> {
  readonly length: number
  /** Of all changes together. */
  readonly bytes: number
  /** Shows each key as a byte string, which takes much less than as bytes of its own, and the bytes of its change. */
  visitNames(visit: (name: string, bytes: number) => void): void
}

/** How a stored key is stored elsewhere. */
export type Rekey = (key: Uint8Array) => Uint8Array

/** Who made a commit: the writer and the range of its operation numbers. */
export interface CommitAuthor {
  readonly writer: string
  readonly firstOperation: number
  readonly lastOperation: number
}

const WRITER_BYTES = 8
const HEADER_BYTES = WRITER_BYTES + 3 * MAX_VARINT_BYTES + MAX_VARINT_BYTES
const CHECKSUM_BYTES = 4
/** What checksums start from, so that no entry can pass for a row of another table. */
const TABLE_CHECKSUM = crc32('log')

/** Appends the entry of one commit, in as many parts as it needs. A commit without changes still has its entry. */
export function appendLogEntry(
  batch: Batch,
  sequence: number,
  epoch: number,
  author: CommitAuthor,
  changes: readonly LoggedChange[],
  limits: HistoryLimits,
): void {
  const entry = new LogEntryWriter(batch, sequence, epoch, author, limits)
  for (const { key, kind, bytes } of changes) entry.add(key, kind, bytes)
  entry.end()
}

/** Appends the entry of one commit, a part as soon as it is full. */
export class LogEntryWriter {
  readonly #batch: Batch
  readonly #sequence: number
  readonly #epoch: number
  readonly #author: CommitAuthor
  readonly #partKeys: number
  readonly #changes = new ChangeBuffer()
  #parts = 0

  constructor(
    batch: Batch,
    sequence: number,
    epoch: number,
    author: CommitAuthor,
    { logPartKeys }: HistoryLimits,
  ) {
    this.#batch = batch
    this.#sequence = sequence
    this.#epoch = epoch
    this.#author = author
    this.#partKeys = logPartKeys
  }

  add(key: Uint8Array, kind: ChangeKind, bytes: number): void {
    this.#changes.add(key, kind, bytes)
    if (this.#changes.count === this.#partKeys) this.#put()
  }

  /** Puts the last part. An entry without changes has one. */
  end(): void {
    if (this.#parts === 0 || this.#changes.count > 0) this.#put()
  }

  #put(): void {
    const key = counterTupleKey(this.#sequence, this.#parts++)
    this.#batch.put('log', key, encodePart(key, this.#epoch, this.#author, this.#changes))
    this.#changes.clear()
  }
}

/** Changes as they stand in an entry, one behind the other. */
class ChangeBuffer {
  count = 0
  length = 0
  bytes: Buffer = Buffer.allocUnsafe(1024)

  add(key: Uint8Array, kind: ChangeKind, bytes: number): void {
    const { byteLength } = key
    const most = this.length + byteLength + 2 * MAX_VARINT_BYTES
    if (most > this.bytes.length) this.#grow(most)
    // Kind and key length share a varint: keys of up to 31 bytes cost one byte above their own.
    const at = writeVarint(this.bytes, this.length, byteLength * 4 + kind)
    copyBytes(key, 0, byteLength, this.bytes, at)
    this.length = writeSignedVarint(this.bytes, at + byteLength, bytes)
    this.count++
  }

  clear(): void {
    this.count = 0
    this.length = 0
  }

  #grow(most: number): void {
    const larger = Buffer.allocUnsafe(Math.max(most, 2 * this.bytes.length))
    larger.set(this.bytes.subarray(0, this.length))
    this.bytes = larger
  }
}

function encodePart(
  rowKey: Uint8Array,
  epoch: number,
  author: CommitAuthor,
  changes: ChangeBuffer,
): Uint8Array {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + changes.length + CHECKSUM_BYTES)
  bytes.write(author.writer, 0, WRITER_BYTES, 'hex')
  let at = writeVarint(bytes, WRITER_BYTES, epoch)
  at = writeVarint(bytes, at, author.firstOperation)
  at = writeVarint(bytes, at, author.lastOperation)
  at = writeVarint(bytes, at, changes.count)
  bytes.set(changes.bytes.subarray(0, changes.length), at)
  at += changes.length
  // It starts from that of the row's key: the place in the log is a part of what an entry says.
  bytes.writeUInt32LE(crc32(bytes.subarray(0, at), crc32(rowKey as Buffer, TABLE_CHECKSUM)), at)
  return bytes.subarray(0, at + CHECKSUM_BYTES)
}

function decodePart({ key: rowKey, value: bytes }: Row): LogEntry {
  const sequence = counterAt(rowKey)
  const buffer = asBuffer(bytes)
  const end = bytes.byteLength - CHECKSUM_BYTES
  if (end < WRITER_BYTES || !isChecked(rowKey, buffer, end)) {
    throw new DataIntegrityError(
      `Entry ${sequence} of the commit log does not match its checksum: it is damaged.`,
    )
  }
  const reader = new VarintReader(bytes, WRITER_BYTES, end)
  const epoch = reader.next()
  const firstOperation = reader.next()
  const lastOperation = reader.next()
  const count = reader.next()
  return {
    sequence,
    epoch,
    writer: buffer.toString('hex', 0, WRITER_BYTES),
    firstOperation,
    lastOperation,
    changes: new StoredChanges(bytes, reader.offset, end, count),
  }
}

/**
 * The changes of a part, as they are stored. As objects, those of a page of entries were some ten times as large, and all
 * in memory for as long as somebody worked on the first: most who read the log want a few of them, or each one once.
 */
class StoredChanges implements LoggedChanges {
  readonly length: number
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #end: number

  constructor(bytes: Uint8Array, start: number, end: number, length: number) {
    this.length = length
    this.#bytes = bytes
    this.#start = start
    this.#end = end
  }

  get bytes(): number {
    const reader = this.#reader()
    let sum = 0
    for (let left = this.length; left > 0; left--) {
      reader.skip(Math.floor(reader.next() / 4))
      sum += reader.nextSigned()
    }
    return sum
  }

  visitNames(visit: (name: string, bytes: number) => void): void {
    const reader = this.#reader()
    const buffer = asBuffer(this.#bytes)
    for (let left = this.length; left > 0; left--) {
      const length = Math.floor(reader.next() / 4)
      const start = reader.offset
      reader.skip(length)
      visit(buffer.toString('latin1', start, reader.offset), reader.nextSigned())
    }
  }

  *[Symbol.iterator](): Generator<LoggedChange, void, undefined> {
    const reader = this.#reader()
    for (let left = this.length; left > 0; left--) {
      const tag = reader.next()
      const key = reader.take(Math.floor(tag / 4))
      yield { key, kind: (tag % 4) as ChangeKind, bytes: reader.nextSigned() }
    }
  }

  #reader(): VarintReader {
    return new VarintReader(this.#bytes, this.#start, this.#end)
  }
}

/** Rows of format 1 have a checksum that does not know their keys. */
function isChecked(rowKey: Uint8Array, bytes: Buffer, end: number): boolean {
  const [content, checksum] = [bytes.subarray(0, end), bytes.readUInt32LE(end)]
  return checksum === crc32(content, crc32(rowKey as Buffer, TABLE_CHECKSUM)) || checksum === crc32(content)
}

/** The same row with other names for its keys. */
export function rekeyLogRow({ key, value }: Row, rekey: Rekey): Row {
  const { epoch, changes, ...author } = decodePart({ key, value })
  const renamed = new ChangeBuffer()
  for (const change of changes) renamed.add(rekey(change.key), change.kind, change.bytes)
  return { key, value: encodePart(key, epoch, author, renamed) }
}

/** The part of an entry that is in a row. @throws {DataIntegrityError} if it does not match its checksum. */
export function readLogRow(row: Row): LogEntry {
  return decodePart(row)
}

/** @throws {DataIntegrityError} if the row is not whole. */
export function checkLogRow(row: Row): void {
  for (const _ of decodePart(row).changes);
}

/** The first part of the log after `sequence`; `undefined` at its end. */
export function firstLogged(view: View, after: number): MaybePromise<LogEntry | undefined> {
  const page = view.scan('log', { gt: counterTupleKey(after, MAX_PART), limit: 1 })
  return whenReady(page, ({ rows: [row] }) => row && decodePart(row))
}

/**
 * The parts of the log after `sequence`, oldest first, in pages of one engine scan each.
 *
 * With a view they all belong to its commit; `through` is the last sequence wanted. Who may want few of them says how many
 * rows the first page is to have: each page has twice those of the one before.
 */
export async function* readLog(
  view: View,
  after: number,
  through = Number.MAX_SAFE_INTEGER,
  firstRows?: number,
): AsyncGenerator<LogEntry[], void, undefined> {
  let gt = counterTupleKey(after, MAX_PART)
  const lte = counterTupleKey(Math.min(through, MAX_PART), MAX_PART)
  for (let limit = firstRows; ; limit &&= 2 * limit) {
    const page = await view.scan('log', { gt, lte, limit })
    const last = page.rows.at(-1)
    if (last === undefined) return
    yield page.rows.map(decodePart)
    if (!page.more) return
    gt = last.key as Buffer<ArrayBuffer>
  }
}

/**
 * A sequence up to which no entry is of an epoch after `epoch`, found by halves between `known`, one whose entry is of an
 * epoch before it, and the newest. Epochs ascend along the log, but for those of a large commit, which alternate between
 * one and the next: so no entry stands after one that is later by more than one.
 */
export async function lastOfEpochs(
  view: View,
  epoch: number,
  known: number,
  newest: number,
): Promise<number> {
  let [through, beyond] = [known, newest + 1]
  while (beyond - through > 1) {
    const middle = through + Math.floor((beyond - through) / 2)
    const key = counterTupleKey(middle, 0)
    const value = await view.get('log', key)
    // It is lost: who goes through them all finds out what of that matters.
    if (value === undefined) return through
    if (decodePart({ key, value }).epoch < epoch) through = middle
    else beyond = middle
  }
  return through
}

/** The epoch in which the last entry of the log was written; 0 if there is none. */
export async function lastLoggedEpoch(view: View): Promise<number> {
  const { rows } = await view.scan('log', { reverse: true, limit: 1 })
  const last = rows[0]
  return last === undefined ? 0 : decodePart(last).epoch
}

const MAX_PART = 2 ** 48 - 1
