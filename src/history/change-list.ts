import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib'
import { asBuffer, bytesEqual, fromByteString, toByteString } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { counterAt, counterTupleKey } from '../core/key.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import { Turns } from '../core/turns.ts'
import { MAX_VARINT_BYTES, VarintReader, writeSignedVarint, writeVarint } from '../core/varint.ts'
import {
  type Batch,
  MAX_KEY_BYTES,
  type Page,
  type Row,
  type ScanRange,
  type View,
} from '../engine/engine.ts'
import { type LogEntry, lastOfEpochs, type Rekey, readLog } from './commit-log.ts'
import { decodeHead, HEAD_KEY } from './head.ts'
import type { HistoryLimits } from './limits.ts'
import { openCounter, sealCounter } from './meta-row.ts'
import { SmallestKeys } from './smallest-keys.ts'
import { gatherBelow } from './stored-bytes.ts'

/**
 * The change lists: which keys each epoch touched, sorted.
 *
 * The log of an epoch is folded into one or more **runs**; a run is a sorted list of distinct keys, cut into chunks
 * under `(epoch, run, first key)`. An epoch with more keys than fit in memory has several runs, and a key may stand in
 * more than one of them. What is not folded yet is read from the log, so that the answer is always complete.
 *
 * Small lists of neighbouring epochs are later packed into one row, under `(first epoch, 0)`: keys recur from epoch to
 * epoch, and compressed together they cost a tenth. Packing also merges the lists of epochs that no snapshot separates
 * any more.
 */

/** What some commits have changed. */
export interface ChangedKeys {
  /** As byte strings (see `toByteString`), in any order; the same key may be there several times. */
  readonly keys: string[]
  /** By which the records of these keys grew, or shrank. */
  bytes: number
}

/** The epochs `after < epoch <= through`. */
export interface EpochRange {
  readonly after: number
  readonly through: number
}

/** One pass over the change lists of a range. */
export interface ChangePage {
  /** Sorted bytewise, and all above the key that was asked for. */
  readonly keys: readonly string[]
  /** Whether keys above the last one may follow. */
  readonly more: boolean
  /** Bytes of a record written in these epochs, on average; 0 where none was. */
  readonly recordBytes: number
}

const CHECKSUM_BYTES = 4
/** What checksums start from, so that no list can pass for a row of another table. */
const TABLE_CHECKSUM = crc32('changes')
const DEFLATE_THRESHOLD = 256
const PLAIN = 0
const DEFLATED = 1
const PACKED = 2
const EPOCH_AND_RUN_BYTES = 12
const MAX_COUNTER = 2 ** 48 - 1

/** Adds a run to `epoch`. There must be keys in `changes`. */
export async function appendRun(
  view: View,
  batch: Batch,
  epoch: number,
  changes: ChangedKeys,
  { chunkKeys }: HistoryLimits,
): Promise<void> {
  const last = await view.seek('changes', {
    key: counterTupleKey(epoch, MAX_COUNTER),
    min: counterTupleKey(epoch, 0),
  })
  const run = last === undefined ? 0 : counterAt(last.key, 1) + 1
  const turns = new Turns()
  const keys = distinct(changes.keys)
  for (const row of encodeRun(epoch, run, keys, changes.bytes, chunkKeys)) {
    batch.put('changes', row.key, row.value)
    await turns.breathe()
  }
}

/** Each key once, sorted. In place of a map from keys, which takes several times the room, and more while it grows. */
function distinct(keys: readonly string[]): string[] {
  return [...keys].sort().filter((key, i, sorted) => key !== sorted[i - 1])
}

/** A run of sorted, distinct keys. Its bytes are told by the first chunk. */
function* encodeRun(
  epoch: number,
  run: number,
  keys: readonly string[],
  bytes: number,
  chunkKeys: number,
): Generator<Row> {
  const prefix = counterTupleKey(epoch, run)
  for (let start = 0; start < keys.length; start += chunkKeys) {
    const chunk = keys.slice(start, start + chunkKeys)
    const key = Buffer.concat([prefix, fromByteString(chunk[0] as string)])
    yield { key, value: encodeChunk(key, chunk, start === 0 ? bytes : 0) }
  }
}

function encodeChunk(key: Uint8Array, keys: readonly string[], bytes: number): Uint8Array {
  const body = Buffer.allocUnsafe(listSize(keys))
  const at = writeList(body, 0, keys, bytes)
  const plain = body.subarray(0, at)
  const deflated = at < DEFLATE_THRESHOLD ? plain : deflateRawSync(plain, { chunkSize: Math.max(64, at) })
  return deflated.byteLength < at ? seal(key, DEFLATED, deflated) : seal(key, PLAIN, plain)
}

/** The checksum starts from that of the row's key: which epoch a list is of is a part of what it says. */
function seal(key: Uint8Array, kind: number, content: Uint8Array): Uint8Array {
  const row = Buffer.allocUnsafe(1 + content.byteLength + CHECKSUM_BYTES)
  row[0] = kind
  row.set(content, 1)
  row.writeUInt32LE(
    crc32(row.subarray(0, -CHECKSUM_BYTES), crc32(key as Buffer, TABLE_CHECKSUM)),
    1 + content.byteLength,
  )
  return row
}

function listSize(keys: readonly string[]): number {
  let size = 2 * MAX_VARINT_BYTES
  for (const key of keys) size += key.length + 2 * MAX_VARINT_BYTES
  return size
}

/** A list: how many keys, the bytes written, and each key by front coding: what it shares with the last, and the rest. */
function writeList(target: Buffer, offset: number, keys: readonly string[], bytes: number): number {
  let at = writeVarint(target, offset, keys.length)
  at = writeSignedVarint(target, at, bytes)
  let previous = ''
  for (const key of keys) {
    const limit = Math.min(previous.length, key.length)
    let shared = 0
    while (shared < limit && previous.charCodeAt(shared) === key.charCodeAt(shared)) shared++
    at = writeVarint(target, at, shared)
    at = writeVarint(target, at, key.length - shared)
    at += target.write(key.slice(shared), at, 'latin1')
    previous = key
  }
  return at
}

/** What a walk over rows is told. Keys come in order within a list; a list may be one of several of its epoch. */
export interface ListVisitor {
  /** Returns whether the keys of the list are wanted. */
  list(epoch: number, count: number, bytes: number): boolean
  key(epoch: number, key: string): void
}

function readList(reader: VarintReader, epoch: number, visitor: ListVisitor, isLast: boolean): void {
  const count = reader.next()
  const wanted = visitor.list(epoch, count, reader.nextSigned())
  if (!wanted && isLast) return
  let length = 0
  for (let i = 0; i < count; i++) {
    const shared = reader.next()
    const rest = reader.next()
    if (!wanted) {
      reader.skip(rest)
      continue
    }
    if (shared > length || shared + rest > keyBytes.byteLength) {
      throw new DataIntegrityError(`A change list of epoch ${epoch} is damaged.`)
    }
    reader.copy(keyBytes, shared, rest)
    length = shared + rest
    visitor.key(epoch, keyBytes.toString('latin1', 0, length))
  }
}

/**
 * The key that is being read. Not a string that grows out of the one before it: V8 keeps what strings are made of, and one
 * key would keep all those before it in memory.
 */
const keyBytes = Buffer.allocUnsafeSlow(MAX_KEY_BYTES)

/** Rows of format 1 have a checksum that does not know their keys. */
function isChecked(key: Uint8Array, bytes: Buffer, end: number): boolean {
  const [content, checksum] = [bytes.subarray(0, end), bytes.readUInt32LE(end)]
  return checksum === crc32(content, crc32(key as Buffer, TABLE_CHECKSUM)) || checksum === crc32(content)
}

/** Reads the lists of a row, of one epoch or of several. @throws {DataIntegrityError} if it is not whole */
export function readChangeRow(row: Row, visitor: ListVisitor): void {
  const epoch = counterAt(row.key)
  const bytes = asBuffer(row.value)
  const end = bytes.byteLength - CHECKSUM_BYTES
  if (end < 2 || !isChecked(row.key, bytes, end)) {
    throw new DataIntegrityError(`A change list of epoch ${epoch} does not match its checksum.`)
  }
  const content = bytes.subarray(1, end)
  if (bytes[0] !== PACKED) {
    readList(
      new VarintReader(bytes[0] === DEFLATED ? inflate(content, epoch) : content),
      epoch,
      visitor,
      true,
    )
    return
  }
  const header = new VarintReader(content)
  header.next()
  const reader = new VarintReader(inflate(content.subarray(header.offset), epoch))
  for (let at = epoch; !reader.done; ) {
    at += reader.next()
    readList(reader, at, visitor, false)
  }
}

function inflate(content: Uint8Array, epoch: number): Buffer {
  try {
    return inflateRawSync(content, { maxOutputLength: MAX_LIST_BYTES })
  } catch (cause) {
    throw new DataIntegrityError(`A change list of epoch ${epoch} cannot be inflated; it is damaged.`, {
      cause,
    })
  }
}

/** No row is longer by far, inflated: what a damaged one says takes no more memory. */
const MAX_LIST_BYTES = 2 ** 28

/** The last epoch whose list a row may hold. */
export function lastEpochOf(row: Row): number {
  if (row.value.byteLength === 0) {
    throw new DataIntegrityError(`A change list of epoch ${counterAt(row.key)} is damaged: it is empty.`)
  }
  return row.value[0] === PACKED ? new VarintReader(row.value, 1).next() : counterAt(row.key)
}

/** A row of several lists, under the first of their epochs. */
function encodePacked(lists: readonly PackedList[]): Row {
  const first = (lists[0] as PackedList).epoch
  let size = 0
  for (const { keys } of lists) size += MAX_VARINT_BYTES + listSize(keys)
  const body = Buffer.allocUnsafe(size)
  let at = 0
  let previous = first
  for (const { epoch, keys, bytes } of lists) {
    at = writeVarint(body, at, epoch - previous)
    at = writeList(body, at, keys, bytes)
    previous = epoch
  }
  const header = Buffer.allocUnsafe(MAX_VARINT_BYTES)
  const headerLength = writeVarint(header, 0, previous)
  const deflated = deflateRawSync(body.subarray(0, at), { level: 9, memLevel: 9 })
  const key = counterTupleKey(first, 0)
  return {
    key,
    value: seal(key, PACKED, Buffer.concat([header.subarray(0, headerLength), deflated])),
  }
}

interface PackedList {
  readonly epoch: number
  readonly keys: readonly string[]
  readonly bytes: number
}

/**
 * The same row with other names for its keys, which then have another order. `run` is one that the epoch does not have yet:
 * each chunk of a run becomes a run of its own.
 */
export function rekeyChangeRow(row: Row, run: number, rekey: Rekey): Row {
  const lists: { readonly epoch: number; readonly keys: string[]; readonly bytes: number }[] = []
  readChangeRow(row, {
    list: (epoch, _count, bytes) => lists.push({ epoch, keys: [], bytes }) > 0,
    key: (_epoch, key) => lists.at(-1)?.keys.push(toByteString(rekey(fromByteString(key)))),
  })
  for (const { keys } of lists) keys.sort()
  if (row.value[0] === PACKED) return encodePacked(lists)
  const { epoch, keys, bytes } = lists[0] as PackedList
  return encodeRun(epoch, run, keys, bytes, keys.length).next().value as Row
}

/** @throws {DataIntegrityError} if the row is not whole. */
export function checkChangeRow(row: Row): void {
  readChangeRow(row, { list: () => true, key: () => undefined })
}

/** Rows read at a time where some of them may be leapt over. */
const LEAP_ROWS = 32

/** The keys that are wanted of lists: rows that can have none are not read. `upTo` may fall as rows are read. */
interface KeyWindow {
  readonly above: string
  readonly upTo: string | undefined
}

/** The rows that may hold lists of a range, in order of their epochs, in pages. */
async function* rowsOf(
  view: View,
  range: EpochRange,
  window?: KeyWindow,
): AsyncGenerator<readonly Row[], void, undefined> {
  const start = counterTupleKey(range.after + 1)
  const lt = counterTupleKey(range.through + 1)
  const scan = (bound: ScanRange): MaybePromise<Page> =>
    view.scan('changes', { ...bound, lt, ...(window && { limit: LEAP_ROWS }) })
  // A packed row stands under its first epoch, which may lie before the range.
  const packed = view.seek('changes', { key: start, min: counterTupleKey(0) })
  let [before, page] = await Promise.all([packed, scan({ gte: start })])
  if (before !== undefined && lastEpochOf(before) > range.after) yield [before]
  for (;;) {
    if (page.rows.length > 0) yield page.rows
    const last = page.rows.at(-1)
    if (!page.more || last === undefined) return
    page = await scan((window && (await leap(view, last, window))) ?? { gt: last.key })
  }
}

/** Where to go on after a row of a long run, if what follows it is not in the window. */
async function leap(view: View, row: Row, { above, upTo }: KeyWindow): Promise<ScanRange | undefined> {
  if (row.value[0] === PACKED) return undefined
  const first = firstKeyOf(row)
  const epoch = counterAt(row.key)
  const run = counterAt(row.key, 1)
  if (upTo !== undefined && first > upTo) return { gte: counterTupleKey(epoch, run + 1) }
  if (first >= above) return undefined
  const prefix = row.key.subarray(0, EPOCH_AND_RUN_BYTES)
  const floor = await view.seek('changes', {
    key: Buffer.concat([prefix, fromByteString(above)]),
    min: row.key,
  })
  return floor === undefined || bytesEqual(floor.key, row.key) ? undefined : { gte: floor.key }
}

/** Visits every list of a range, those still in the log included. */
async function visitLists(
  view: View,
  range: EpochRange,
  visitor: ListVisitor,
  window?: KeyWindow,
): Promise<void> {
  // The beginning of the log is asked for along with the lists, and read after them.
  const log = readLogAhead(view, range.after)
  log.catch(() => undefined)
  await visitFolded(view, range, visitor, window)
  await visitLog(await log, range, visitor)
}

/** Visits the lists of a range that the log was folded into. */
export async function visitFolded(
  view: View,
  range: EpochRange,
  visitor: ListVisitor,
  window?: KeyWindow,
): Promise<void> {
  const inside = within(range, visitor)
  const turns = new Turns()
  for await (const rows of rowsOf(view, range, window)) {
    await turns.breathe()
    for (const [i, row] of rows.entries()) {
      if (window === undefined || mayHaveKeys(row, rows[i + 1], window)) readChangeRow(row, inside)
    }
  }
}

/** Visits what the log has of a range and was not folded: for each commit a list. */
export async function visitLog(
  log: AsyncIterable<readonly LogEntry[]>,
  range: EpochRange,
  visitor: ListVisitor,
): Promise<void> {
  const turns = new Turns()
  for await (const entries of log) {
    for (const { epoch, changes } of entries) {
      // One of the range may still follow one of the next epoch, and none later: see lastOfEpochs.
      if (epoch > range.through + 1) return
      if (epoch <= range.after || epoch > range.through) continue
      await turns.breathe()
      if (!visitor.list(epoch, changes.length, changes.bytes)) continue
      changes.visitNames(name => visitor.key(epoch, name))
    }
    await turns.breathe()
  }
}

function within({ after, through }: EpochRange, { list, key }: ListVisitor): ListVisitor {
  return { list: (epoch, ...rest) => epoch > after && epoch <= through && list(epoch, ...rest), key }
}

/** Whether a row may have keys of the window; `next` is the row after it, if that is known. */
function mayHaveKeys(row: Row, next: Row | undefined, { above, upTo }: KeyWindow): boolean {
  if (row.value[0] === PACKED) return true
  if (upTo !== undefined && firstKeyOf(row) > upTo) return false
  return next === undefined || !isSameRun(row, next) || firstKeyOf(next) > above
}

/**
 * What is not folded yet of the epochs after one, with its first page at hand. It may be all that a load has written: most
 * of what is before those epochs is passed over.
 */
export async function readLogAhead(view: View, after: number): Promise<AsyncIterable<readonly LogEntry[]>> {
  const { folded, sequence } = decodeHead(await view.get('meta', HEAD_KEY))
  const pages = readLog(view, folded)
  const first = await pages.next()
  return (async function* () {
    if (first.done === true) return
    yield first.value
    const last = first.value.at(-1)
    if (last === undefined || last.epoch >= after) yield* pages
    else yield* readLog(view, await lastOfEpochs(view, after, last.sequence, sequence))
  })()
}

/**
 * The smallest keys above `above` that were touched in a range of epochs, sorted and distinct.
 *
 * One pass reads the lists of the range in order and keeps the `pageKeys` smallest keys, so that memory is
 * bounded however many epochs and keys there are; rows that lie outside the window are skipped by their first keys.
 */
export async function readChangedKeys(
  view: View,
  range: EpochRange,
  { pageKeys }: HistoryLimits,
  above = '',
): Promise<ChangePage> {
  let listed = 0
  let bytes = 0
  const smallest = new SmallestKeys(pageKeys)
  const visitor: ListVisitor = {
    list(_epoch, count, listBytes) {
      listed += count
      bytes += listBytes
      return true
    },
    key(_epoch, key) {
      if (key > above) smallest.add(key)
    },
  }
  const window: KeyWindow = {
    above,
    get upTo() {
      return smallest.upTo
    },
  }
  await visitLists(view, range, visitor, window)
  return { ...smallest.take(), recordBytes: listed === 0 ? 0 : bytes / listed }
}

function firstKeyOf(row: Row): string {
  return toByteString(row.key.subarray(EPOCH_AND_RUN_BYTES))
}

function isSameRun(a: Row, b: Row): boolean {
  return (
    b.value[0] !== PACKED &&
    bytesEqual(a.key.subarray(0, EPOCH_AND_RUN_BYTES), b.key.subarray(0, EPOCH_AND_RUN_BYTES))
  )
}

/**
 * Packs the lists of a range of sealed epochs whose log is folded, from its start on, and merges those of epochs that
 * no snapshot separates: nobody can ask for them apart. Returns the epoch up to which it came.
 */
export async function packChangeLists(
  view: View,
  batch: Batch,
  range: EpochRange,
  snapshots: readonly number[],
  limits: HistoryLimits,
): Promise<number> {
  const { rows, through } = await packableRows(view, range, limits)
  if (rows.length < 2) return through
  const from = await firstListedEpoch(view)
  const lists = new Map<number, { readonly keys: Set<string>; bytes: number }>()
  let next = 0
  const collect: ListVisitor = {
    list: () => true,
    key: () => undefined,
  }
  for (const row of rows) {
    readChangeRow(row, {
      ...collect,
      list(epoch, _count, bytes) {
        while (next < snapshots.length && (snapshots[next] as number) < epoch) next++
        const seals = snapshots[next]
        const target = seals === undefined || seals > through || epoch < from ? epoch : seals
        let list = lists.get(target)
        if (list === undefined) {
          list = { keys: new Set(), bytes: 0 }
          lists.set(target, list)
        }
        list.bytes += bytes
        const { keys } = list
        collect.key = (_epoch, key) => {
          keys.add(key)
        }
        return true
      },
      key: (epoch, key) => collect.key(epoch, key),
    })
  }
  for (const row of rows) batch.delete('changes', row.key)
  for (const row of encodeLists(lists, limits)) batch.put('changes', row.key, row.value)
  return through
}

/**
 * The next rows of a range that are to be packed together, and the epoch up to which they are all there is.
 *
 * An epoch with many rows keeps them, and ends the stretch: no packed row may span rows that stand for themselves, or a
 * reader that looks for the row before its range would find those and miss the packed one.
 */
async function packableRows(
  view: View,
  range: EpochRange,
  limits: HistoryLimits,
): Promise<{ readonly rows: readonly Row[]; readonly through: number }> {
  const rows: Row[] = []
  let epochRows = 0
  let previous = -1
  for await (const page of rowsOf(view, range)) {
    for (const row of page) {
      const epoch = counterAt(row.key)
      if (epoch !== previous) {
        // Whole epochs only: the rows of one may not be split between two passes.
        if (rows.length >= limits.packRows) return { rows, through: epoch - 1 }
        epochRows = 0
        previous = epoch
      }
      epochRows++
      if (epochRows <= limits.epochRows) {
        rows.push(row)
        continue
      }
      if (epochRows > limits.epochRows + 1) continue
      rows.length -= limits.epochRows
      if (rows.length > 0) return { rows, through: epoch - 1 }
    }
  }
  return { rows, through: range.through }
}

function* encodeLists(
  lists: ReadonlyMap<number, { readonly keys: Set<string>; readonly bytes: number }>,
  { packedLists, packedKeys, listKeys, chunkKeys }: HistoryLimits,
): Generator<Row> {
  let group: PackedList[] = []
  let keyCount = 0
  for (const [epoch, { keys, bytes }] of [...lists].sort(([a], [b]) => a - b)) {
    const sorted = [...keys].sort()
    const large = sorted.length > listKeys
    if (group.length > 0 && (large || group.length >= packedLists || keyCount >= packedKeys)) {
      yield encodePacked(group)
      group = []
      keyCount = 0
    }
    if (large) {
      yield* encodeRun(epoch, 0, sorted, bytes, chunkKeys)
      continue
    }
    group.push({ epoch, keys: sorted, bytes })
    keyCount += sorted.length
  }
  if (group.length > 0) yield encodePacked(group)
}

/** Under this key stands the first epoch whose list has not been discarded. */
export const FIRST_LISTED_KEY: Uint8Array = Buffer.from('first-list')

/** Lists before it may still be there, in a row with later ones. They are nobody's any more. */
export async function firstListedEpoch(view: View): Promise<number> {
  const stored = await view.get('meta', FIRST_LISTED_KEY)
  return stored === undefined ? 0 : openCounter(FIRST_LISTED_KEY, stored)
}

/** Discards the lists of epochs below `epoch`. What they say of bytes is kept. */
export async function discardChangesBelow(view: View, batch: Batch, epoch: number): Promise<void> {
  if (epoch <= (await firstListedEpoch(view)) || epoch < 2) return
  let bytes = 0
  const sum: ListVisitor = {
    list(_epoch, _count, listed) {
      bytes += listed
      return false
    },
    key: () => undefined,
  }
  let bound: ScanRange = {}
  for (;;) {
    const page = await view.scan('changes', { ...bound, lt: counterTupleKey(epoch) })
    for (const row of page.rows) {
      if (lastEpochOf(row) >= epoch) continue
      readChangeRow(row, sum)
      batch.delete('changes', row.key)
    }
    const last = page.rows.at(-1)
    if (!page.more || last === undefined) break
    bound = { gt: last.key }
  }
  await gatherBelow(view, batch, epoch, bytes)
  batch.put('meta', FIRST_LISTED_KEY, sealCounter(FIRST_LISTED_KEY, epoch))
}
