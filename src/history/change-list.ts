import { crc32, deflateRawSync, inflateRawSync } from 'node:zlib'
import { asBuffer, fromByteString, toByteString } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { counterAt, counterTupleKey } from '../core/key.ts'
import { MAX_VARINT_BYTES, VarintReader, writeVarint } from '../core/varint.ts'
import type { Batch, Row, View } from '../engine/engine.ts'
import { readLog } from './commit-log.ts'
import { decodeHead, HEAD_KEY } from './head.ts'

/**
 * The change lists: which keys each epoch touched, sorted.
 *
 * The log of an epoch is folded into one or more **runs**; a run is a sorted list of distinct keys, cut into chunks
 * under `(epoch, run, first key)`. An epoch with more keys than fit in memory has several runs, and a key may stand in
 * more than one of them. What is not folded yet is read from the log, so that the answer is always complete.
 */

/** Keys as byte strings (see `toByteString`), each with the bytes of the record that the epochs left; 0 if removed. */
export type ChangedKeys = Map<string, number>

/** The epochs `after < epoch <= through`. */
export interface EpochRange {
  readonly after: number
  readonly through: number
}

/** One pass over the change lists of a range. */
export interface ChangePage {
  /** Sorted bytewise, and all above the key that was asked for. */
  readonly keys: readonly string[]
  /** For each of {@link ChangePage.keys}, the bytes of the last record written in the range. */
  readonly bytes: readonly number[]
  /** Whether keys above the last one may follow. */
  readonly more: boolean
}

const MAX_CHUNK_KEYS = 512
const CHECKSUM_BYTES = 4
const DEFLATE_THRESHOLD = 256
const PLAIN = 0
const DEFLATED = 1
const EPOCH_AND_RUN_BYTES = 12
const MAX_COUNTER = 2 ** 48 - 1

/** How many distinct keys a pass returns at most; it holds twice as many at a time. */
export const MAX_PAGE_KEYS = 100_000

/** Adds a run to `epoch`. `changes` must not be empty. */
export async function appendRun(
  view: View,
  batch: Batch,
  epoch: number,
  changes: ChangedKeys,
): Promise<void> {
  const last = await view.seek('changes', {
    key: counterTupleKey(epoch, MAX_COUNTER),
    min: counterTupleKey(epoch, 0),
  })
  const run = last === undefined ? 0 : counterAt(last.key, 1) + 1
  for (const row of encodeRun(epoch, run, changes)) batch.put('changes', row.key, row.value)
}

function* encodeRun(epoch: number, run: number, changes: ChangedKeys): Generator<Row> {
  const keys = [...changes.keys()].sort()
  const prefix = counterTupleKey(epoch, run)
  for (let start = 0; start < keys.length; start += MAX_CHUNK_KEYS) {
    const chunk = keys.slice(start, start + MAX_CHUNK_KEYS)
    const key = Buffer.concat([prefix, fromByteString(chunk[0] as string)])
    yield { key, value: encodeChunk(chunk, changes) }
  }
}

/** Front coding: each key as the length it shares with the one before, and the rest. */
function encodeChunk(keys: readonly string[], changes: ChangedKeys): Uint8Array {
  let size = MAX_VARINT_BYTES
  for (const key of keys) size += key.length + 3 * MAX_VARINT_BYTES
  const body = Buffer.allocUnsafe(size)
  let at = writeVarint(body, 0, keys.length)
  let previous = ''
  for (const key of keys) {
    const limit = Math.min(previous.length, key.length)
    let shared = 0
    while (shared < limit && previous.charCodeAt(shared) === key.charCodeAt(shared)) shared++
    at = writeVarint(body, at, shared)
    at = writeVarint(body, at, key.length - shared)
    at += body.write(key.slice(shared), at, 'latin1')
    at = writeVarint(body, at, changes.get(key) ?? 0)
    previous = key
  }
  const plain = body.subarray(0, at)
  const deflated = at < DEFLATE_THRESHOLD ? plain : deflateRawSync(plain)
  const packed = deflated.byteLength < at
  const content = packed ? deflated : plain
  const chunk = Buffer.allocUnsafe(1 + content.byteLength + CHECKSUM_BYTES)
  chunk[0] = packed ? DEFLATED : PLAIN
  chunk.set(content, 1)
  chunk.writeUInt32LE(crc32(chunk.subarray(0, -CHECKSUM_BYTES)), 1 + content.byteLength)
  return chunk
}

function decodeChunk(row: Row, visit: (key: string, bytes: number) => void): void {
  const chunk = asBuffer(row.value)
  const end = chunk.byteLength - CHECKSUM_BYTES
  if (end < 2 || chunk.readUInt32LE(end) !== crc32(chunk.subarray(0, end))) {
    throw new DataIntegrityError(`A change list of epoch ${counterAt(row.key)} does not match its checksum.`)
  }
  const content = chunk.subarray(1, end)
  const reader = new VarintReader(chunk[0] === DEFLATED ? inflateRawSync(content) : content)
  let key = ''
  for (let count = reader.next(); count > 0; count--) {
    const shared = reader.next()
    const rest = toByteString(reader.take(reader.next()))
    key = shared === 0 ? rest : key.slice(0, shared) + rest
    visit(key, reader.next())
  }
}

/** @throws {DataIntegrityError} if the row is not a whole chunk. */
export function checkChangeRow(row: Row): void {
  decodeChunk(row, () => undefined)
}

/**
 * The smallest keys above `above` that were touched in a range of epochs, sorted and distinct.
 *
 * One pass reads the lists of the range in order and keeps the {@link MAX_PAGE_KEYS} smallest keys, so that memory is
 * bounded however many epochs and keys there are; chunks that lie outside the window are skipped by their keys.
 */
export async function readChangedKeys(view: View, range: EpochRange, above = ''): Promise<ChangePage> {
  let window: ChangedKeys = new Map()
  // Keys above the cutoff are left to a later pass; it only ever falls.
  let cutoff: string | undefined
  const add = (key: string, bytes: number): void => {
    if (key <= above || (cutoff !== undefined && key > cutoff)) return
    window.set(key, bytes)
    if (window.size < 2 * MAX_PAGE_KEYS) return
    const smallest = [...window.keys()].sort().slice(0, MAX_PAGE_KEYS)
    cutoff = smallest[MAX_PAGE_KEYS - 1] as string
    const kept = window
    window = new Map(smallest.map(kept_ => [kept_, kept.get(kept_) as number]))
  }

  let gte: Uint8Array | undefined = counterTupleKey(range.after + 1)
  const lt = counterTupleKey(range.through + 1)
  while (gte !== undefined) {
    const { rows, more } = await view.scan('changes', { gte, lt })
    gte = undefined
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as Row
      const next = rows[i + 1]
      if (next === undefined && more && i > 0) {
        // Its successor decides whether it can be skipped: let the next page begin with it.
        gte = row.key
        break
      }
      const first = toByteString(row.key.subarray(EPOCH_AND_RUN_BYTES))
      if (cutoff !== undefined && first > cutoff) continue
      const sameRun =
        next !== undefined &&
        toByteString(next.key.subarray(0, EPOCH_AND_RUN_BYTES)) ===
          toByteString(row.key.subarray(0, EPOCH_AND_RUN_BYTES))
      if (sameRun && toByteString(next.key.subarray(EPOCH_AND_RUN_BYTES)) <= above) continue
      decodeChunk(row, add)
      if (next === undefined && more) gte = Buffer.concat([row.key, Buffer.from([0])])
    }
  }
  const head = decodeHead(await view.get('meta', HEAD_KEY))
  for await (const entries of readLog(view, head.folded)) {
    for (const entry of entries) {
      if (entry.epoch <= range.after || entry.epoch > range.through) continue
      for (const { key, bytes } of entry.changes) add(toByteString(key), bytes)
    }
  }

  const sorted = [...window.keys()].sort()
  const keys = sorted.slice(0, MAX_PAGE_KEYS)
  return {
    keys,
    bytes: keys.map(key => window.get(key) as number),
    more: cutoff !== undefined || sorted.length > MAX_PAGE_KEYS,
  }
}

/** How many distinct keys a range touched, and the bytes of the records it left. */
export async function summarizeChanges(
  view: View,
  range: EpochRange,
): Promise<{ changes: number; bytes: number }> {
  let changes = 0
  let bytes = 0
  let above = ''
  for (let more = true; more; ) {
    const page = await readChangedKeys(view, range, above)
    changes += page.keys.length
    for (const length of page.bytes) bytes += length
    above = page.keys.at(-1) ?? above
    more = page.more
  }
  return { changes, bytes }
}
