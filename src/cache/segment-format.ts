import { crc32 } from 'node:zlib'

/*
 * A segment is a file of a cache on disk: a header, and records one after the other, only ever appended to.
 *
 *   header   magic (8), number and length of the segment before it (6 + 6), CRC-32 of these
 *   record   CRC-32 of the 25 bytes that follow, CRC-32 of the key, CRC-32 of the payload, time of expiry (8),
 *            length of the key (4), length of the payload (4), kind (1); the key in UTF-8; the payload
 *
 * The lengths have a checksum of their own, so that it is certain where a record ends: one that ends past the file was
 * being written when the process died, and everything before it is whole. Any other mismatch is damage.
 */

const MAGIC = Buffer.from('varvec\x01\n')
/** Bytes of a segment's header. */
export const SEGMENT_HEADER_BYTES = 24
/** Bytes of a record beside its key and payload. */
const RECORD_HEADER_BYTES = 29

/** The kind of a record that says that the key is gone. Other kinds are the codec of the payload. */
export const REMOVED = 0

/** The segment that was written before another, as far as it was known then. */
export interface PreviousSegment {
  readonly number: number
  readonly length: number
}

export function encodeSegmentHeader({ number, length }: PreviousSegment): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER_BYTES)
  MAGIC.copy(header)
  header.writeUIntLE(number, 8, 6)
  header.writeUIntLE(length, 14, 6)
  header.writeUInt32LE(crc32(header.subarray(0, 20)), 20)
  return header
}

export function encodeSegmentRecord(
  key: string,
  kind: number,
  payload: Uint8Array,
  expiresAt: number,
): Buffer {
  const keyLength = Buffer.byteLength(key)
  const record = Buffer.allocUnsafe(RECORD_HEADER_BYTES + keyLength + payload.byteLength)
  record.write(key, RECORD_HEADER_BYTES)
  record.set(payload, RECORD_HEADER_BYTES + keyLength)
  record.writeUInt32LE(crc32(record.subarray(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + keyLength)), 4)
  record.writeUInt32LE(crc32(payload as Buffer), 8)
  record.writeDoubleLE(expiresAt, 12)
  record.writeUInt32LE(keyLength, 20)
  record.writeUInt32LE(payload.byteLength, 24)
  record[28] = kind
  record.writeUInt32LE(crc32(record.subarray(4, RECORD_HEADER_BYTES)), 0)
  return record
}

/** A record, but for its payload. */
export interface SegmentRecord {
  readonly key: string
  readonly kind: number
  readonly expiresAt: number
  /** Where in the segment it begins. */
  readonly offset: number
  /** What it takes, its payload included. */
  readonly length: number
}

/** A segment taken apart. */
export interface ParsedSegment {
  readonly previous: PreviousSegment
  readonly records: readonly SegmentRecord[]
  /** Where the last whole record ends. */
  readonly end: number
}

/** The records of a segment, up to one that was being written; `undefined` if the segment is damaged. */
export function parseSegment(bytes: Buffer): ParsedSegment | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined
  if (bytes.readUInt32LE(20) !== crc32(bytes.subarray(0, 20))) return undefined
  const records: SegmentRecord[] = []
  let offset = SEGMENT_HEADER_BYTES
  while (offset + RECORD_HEADER_BYTES <= bytes.length) {
    const keyStart = offset + RECORD_HEADER_BYTES
    if (bytes.readUInt32LE(offset) !== crc32(bytes.subarray(offset + 4, keyStart))) return undefined
    const keyEnd = keyStart + bytes.readUInt32LE(offset + 20)
    const end = keyEnd + bytes.readUInt32LE(offset + 24)
    if (end > bytes.length) break
    const key = bytes.subarray(keyStart, keyEnd)
    if (bytes.readUInt32LE(offset + 4) !== crc32(key)) return undefined
    records.push({
      key: key.toString(),
      kind: bytes[offset + 28] as number,
      expiresAt: bytes.readDoubleLE(offset + 12),
      offset,
      length: end - offset,
    })
    offset = end
  }
  const previous = { number: bytes.readUIntLE(8, 6), length: bytes.readUIntLE(14, 6) }
  return { previous, records, end: offset }
}

/** The payload of a record as it was written for a key; `undefined` if the record is damaged, or of another key. */
export function payloadOf(record: Buffer, key: string): Buffer | undefined {
  if (record.readUInt32LE(0) !== crc32(record.subarray(4, RECORD_HEADER_BYTES))) return undefined
  const keyEnd = RECORD_HEADER_BYTES + record.readUInt32LE(20)
  const payload = record.subarray(keyEnd)
  if (payload.length !== record.readUInt32LE(24) || record.readUInt32LE(8) !== crc32(payload))
    return undefined
  return record.toString('utf8', RECORD_HEADER_BYTES, keyEnd) === key ? payload : undefined
}
