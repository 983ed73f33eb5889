import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { asBuffer, EMPTY_BYTES } from '../core/bytes.ts'
import { CHECKED, checksum, checksumOfRange, copyWithChecksum, type WordMemory } from '../core/crc32.ts'
import { DataIntegrityError } from '../core/errors.ts'
import type { JsonBatch } from '../core/json-batch.ts'
import { keyText } from '../core/key.ts'
import {
  decodeText,
  decodeValue,
  type EncodedValue,
  encodedEqual,
  encodeWithText,
  exactText,
  JSON_CODEC,
} from '../core/value-codec.ts'
import { VarintReader, varintLength, writeVarint } from '../core/varint.ts'

/**
 * How a value stands in a record: the value codec, and whether its bytes are deflated. `TOMBSTONE` says that the key
 * was absent from this birth on.
 */
export const TOMBSTONE = 0
/** In the history only: the payload is a chain record, see `version-row.ts`. */
export const CHAIN = 0x20
const DEFLATED = 0x10
const CODEC_MASK = 0x0f

/** Values below this many bytes are stored as they are: deflating them saves little and costs every read. */
const COMPRESSION_THRESHOLD = 1024
/**
 * Live values are deflated on the caller's path: of JSON of 2 kB, level 1 makes 2 % more bytes than level 3 and takes four
 * fifths of the time. A window no larger than the value saves zlib most of its setting up.
 */
const COMPRESSION_LEVEL = 1
const MEMORY_LEVEL = 6
const MIN_WINDOW_BITS = 9
const MAX_WINDOW_BITS = 15
/** Output is taken in pieces of at most this size, so that a false declared length takes no memory by itself. */
const MAX_CHUNK_BYTES = 4 * 1024 * 1024

/** At the end of a record. */
export const CHECKSUM_BYTES = 4

/** A UTF-16 unit becomes so many bytes at most. */
const MAX_UTF8_BYTES = 3

/** A value in the form in which it is stored: codec byte and payload. The birth and checksum make it a record. */
export interface Payload {
  readonly codec: number
  readonly bytes: Uint8Array
}

/** A record taken apart. */
export interface ParsedRecord extends Payload {
  /** The epoch in which this value was written. */
  readonly birth: number
}

/** The payload of a tombstone. */
export const TOMBSTONE_PAYLOAD: Payload = { codec: TOMBSTONE, bytes: EMPTY_BYTES }

/**
 * The form in which a value is stored. Most values are short JSON text: that becomes bytes in the record that it is put
 * into, and has no bytes of its own before.
 *
 * @throws {UnserializableValueError} as `encodeValue` does.
 */
export function encodePayload(value: unknown, compression: boolean): Payload {
  const text = exactText(value)
  if (text !== undefined && text.length * MAX_UTF8_BYTES < COMPRESSION_THRESHOLD) return new TextPayload(text)
  return toPayload(encodeWithText(value, text), compression)
}

/** The form in which a value is stored: deflated where that is allowed and saves at least an eighth. */
export function toPayload(value: EncodedValue, compression: boolean): Payload {
  const raw = value.bytes
  const length = raw.byteLength
  if (!compression || length < COMPRESSION_THRESHOLD) return value
  const deflated = deflateRawSync(raw, {
    level: COMPRESSION_LEVEL,
    memLevel: MEMORY_LEVEL,
    windowBits: Math.min(MAX_WINDOW_BITS, Math.max(MIN_WINDOW_BITS, 32 - Math.clz32(length - 1))),
    chunkSize: Math.min(MAX_CHUNK_BYTES, length),
  })
  const header = varintLength(length)
  if (header + deflated.byteLength > length - (length >> 3)) return value
  const bytes = Buffer.allocUnsafe(header + deflated.byteLength)
  writeVarint(bytes, 0, length)
  bytes.set(deflated, header)
  return { codec: value.codec | DEFLATED, bytes }
}

/** The payload as a live record should hold it: one from a chain is not deflated by itself. */
export function compressPayload(payload: Payload, compression: boolean): Payload {
  return (payload.codec & DEFLATED) === 0 ? toPayload(payload as EncodedValue, compression) : payload
}

/** Whether the payload has to be inflated to get at the value. */
export function isDeflated(codec: number): boolean {
  return (codec & DEFLATED) !== 0
}

/** Whether the value is stored as JSON text, deflated or not. */
export function isJsonPayload(codec: number): boolean {
  return (codec & CODEC_MASK) === JSON_CODEC
}

/** The encoded value that a payload holds, inflated. Tombstones have none. */
export function fromPayload(payload: Payload): EncodedValue {
  const codec = (payload.codec & CODEC_MASK) as EncodedValue['codec']
  if ((payload.codec & DEFLATED) === 0) return { codec, bytes: payload.bytes }
  const reader = new VarintReader(payload.bytes)
  const length = reader.next()
  try {
    // The declared length bounds what inflating may take, so that a damaged or hostile record cannot exhaust memory.
    const bytes = inflateRawSync(payload.bytes.subarray(reader.offset), {
      maxOutputLength: Math.max(length, 1),
      // A byte of room to spare lets zlib see the end of the stream without asking for another buffer.
      chunkSize: Math.min(MAX_CHUNK_BYTES, Math.max(64, length + 1)),
    })
    if (bytes.byteLength === length) return { codec, bytes }
  } catch (cause) {
    throw new DataIntegrityError('A compressed value cannot be inflated; it is damaged.', { cause })
  }
  throw new DataIntegrityError('A compressed value is shorter than it declares; it is damaged.')
}

/** The value that a payload holds. */
export function decodePayload(payload: Payload): unknown {
  if (payload.codec === JSON_CODEC && payload instanceof StoredRecord) {
    return decodeText(payload.text(), payload.byteLength)
  }
  const { codec, bytes } = fromPayload(payload)
  return decodeValue(codec, bytes)
}

/** Gives the JSON text of a payload to a batch. Answers whether that has taken it: not if it is long, or in another form. */
export function addTextTo(batch: JsonBatch, payload: Payload): boolean {
  if (payload.codec !== JSON_CODEC) return false
  return payload instanceof StoredRecord
    ? payload.addTo(batch)
    : batch.addText(payload.bytes, 0, payload.bytes.byteLength)
}

/**
 * A record: codec byte, birth epoch, payload, checksum.
 *
 * The checksum starts from that of the key, so that a record which a damaged page shows under another key is found
 * out as well. It does not cover the table: a superseded record moves to the history as it is.
 */
export function encodeRecord(key: Uint8Array, birth: number, payload: Payload): Uint8Array {
  const end = 1 + varintLength(birth) + payloadLength(payload)
  const record = Buffer.allocUnsafe(end + CHECKSUM_BYTES)
  record[0] = payload.codec
  const header = writeVarint(record, 1, birth)
  if (payload instanceof TextPayload) payload.write(record, header)
  else record.set(payload.bytes, header)
  record.writeUInt32LE(checksumOfRange(record, 0, end, checksum(key)), end)
  return record
}

/**
 * Takes a record apart and checks it.
 *
 * @throws {DataIntegrityError} if it is not what was written under this key.
 */
export function parseRecord(key: Uint8Array, record: Uint8Array): ParsedRecord {
  return parse(key, record, record.byteLength, false)
}

/**
 * {@link parseRecord} of the first `length` bytes of a buffer that others are about to write over: the value is to be
 * decoded, or the payload asked for, before they do so.
 */
export function parseBorrowedRecord(key: Uint8Array, buffer: Uint8Array, length: number): ParsedRecord {
  return parse(key, buffer, length, true)
}

/**
 * Where the payload of the record in the first `length` bytes of a buffer begins; it ends {@link CHECKSUM_BYTES} before the end.
 *
 * @throws {DataIntegrityError} if it is not what was written under this key.
 */
export function payloadStart(key: Uint8Array, buffer: Uint8Array, length: number): number {
  assertIntact(key, buffer, length)
  return payloadOffset(buffer, length)
}

/**
 * {@link payloadStart} of a record that stands at the beginning of a memory, and is copied to the `at`-th word of another. To
 * do both at once takes little longer than either.
 */
export function copyRecord(
  key: Uint8Array,
  source: WordMemory,
  length: number,
  target: Int32Array,
  at: number,
): number {
  if (!isLongEnough(length) || copyWithChecksum(source, length, target, at, checksum(key)) !== CHECKED)
    throw damaged(key)
  return payloadOffset(source.bytes, length)
}

function payloadOffset(buffer: Uint8Array, length: number): number {
  // The common case by hand: an epoch below 128 is one byte.
  if ((buffer[1] as number) < 0x80) return 2
  const reader = new VarintReader(buffer, 1, length - CHECKSUM_BYTES)
  reader.next()
  return reader.offset
}

function parse(key: Uint8Array, record: Uint8Array, length: number, isBorrowed: boolean): StoredRecord {
  assertIntact(key, record, length)
  const end = length - CHECKSUM_BYTES
  const first = record[1] as number
  if (first < 0x80) return new StoredRecord(record, first, 2, end, isBorrowed)
  const reader = new VarintReader(record, 1, end)
  const birth = reader.next()
  return new StoredRecord(record, birth, reader.offset, end, isBorrowed)
}

function assertIntact(key: Uint8Array, record: Uint8Array, length: number): void {
  if (isLongEnough(length) && checksumOfRange(record, 0, length, checksum(key)) === CHECKED) return
  throw damaged(key)
}

function isLongEnough(length: number): boolean {
  return length >= CHECKSUM_BYTES + 2
}

function damaged(key: Uint8Array): DataIntegrityError {
  return new DataIntegrityError(
    `The record of key ${JSON.stringify(keyText(key))} does not match its checksum: the stored data is damaged. Run verify() to see how far the damage goes.`,
  )
}

/** A record as it was read. Most are asked for their value only, or for how long it is: neither takes a view of it. */
class StoredRecord implements ParsedRecord {
  readonly codec: number
  readonly birth: number
  /** Of the payload. */
  readonly byteLength: number
  /** Of the payload, in the record. */
  readonly start: number
  readonly #record: Uint8Array
  readonly #isBorrowed: boolean
  #bytes: Uint8Array | undefined

  constructor(record: Uint8Array, birth: number, start: number, end: number, isBorrowed: boolean) {
    this.codec = record[0] as number
    this.birth = birth
    this.byteLength = end - start
    this.#record = record
    this.start = start
    this.#isBorrowed = isBorrowed
  }

  get bytes(): Uint8Array {
    this.#bytes ??= this.#view()
    return this.#bytes
  }

  #view(): Uint8Array {
    const view = this.#record.subarray(this.start, this.start + this.byteLength)
    return this.#isBorrowed ? Buffer.from(view) : view
  }

  /** All of the record, where it is in memory of its own. */
  get stored(): Uint8Array | undefined {
    return this.#isBorrowed ? undefined : this.#record
  }

  /** Whether the payload is this text, of ASCII characters. */
  hasText(text: string): boolean {
    const { length } = text
    if (this.byteLength !== length) return false
    // What differs mostly does so before long.
    for (let i = 0; i < length; i++) if (this.#record[this.start + i] !== text.charCodeAt(i)) return false
    return true
  }

  addTo(batch: JsonBatch): boolean {
    return batch.addText(this.#record, this.start, this.start + this.byteLength)
  }

  text(): string {
    return asBuffer(this.#record).toString('utf8', this.start, this.start + this.byteLength)
  }
}

/** Short JSON text that is to be stored. */
class TextPayload implements Payload {
  readonly codec = JSON_CODEC
  readonly text: string
  readonly byteLength: number
  #bytes: Uint8Array | undefined

  constructor(text: string) {
    this.text = text
    this.byteLength = Buffer.byteLength(text)
  }

  get bytes(): Uint8Array {
    this.#bytes ??= Buffer.from(this.text)
    return this.#bytes
  }

  get isAscii(): boolean {
    return this.byteLength === this.text.length
  }

  write(target: Buffer, at: number): void {
    // A third of the time of UTF-8, in which these characters are the same bytes.
    target.write(this.text, at, this.isAscii ? 'latin1' : 'utf8')
  }
}

/** A record as it is stored, if it was read so: not if it comes out of a chain. */
export function storedRecord(record: ParsedRecord): Uint8Array | undefined {
  return record instanceof StoredRecord ? record.stored : undefined
}

/** How many bytes a payload takes. */
export function payloadLength(payload: Payload): number {
  return payload instanceof TextPayload || payload instanceof StoredRecord
    ? payload.byteLength
    : payload.bytes.byteLength
}

/** Whether two payloads are stored in the same bytes. */
export function samePayload(a: Payload, b: Payload): boolean {
  if (a instanceof StoredRecord && b instanceof TextPayload && b.isAscii)
    return a.codec === b.codec && a.hasText(b.text)
  return a.codec === b.codec && payloadLength(a) === payloadLength(b) && asBuffer(a.bytes).equals(b.bytes)
}

/** How many bytes the encoded value of a payload takes that is not a tombstone's: inflated. */
function encodedLength(payload: Payload): number {
  return isDeflated(payload.codec) ? new VarintReader(payload.bytes).next() : payloadLength(payload)
}

/**
 * Whether two stored values, or absences, are equal: their bytes are, or what they decode to is deeply so (the order
 * of properties does not count).
 */
export function payloadsEqual(a: Payload | undefined, b: Payload | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  if (samePayload(a, b)) return true
  if (a.codec === TOMBSTONE || b.codec === TOMBSTONE) return false
  // Another order of properties leaves JSON as long as it is: most that differ need not be inflated.
  if (isJsonPayload(a.codec) && isJsonPayload(b.codec) && encodedLength(a) !== encodedLength(b)) return false
  return encodedEqual(fromPayload(a), fromPayload(b))
}

/**
 * Whether two stored values, or absences, are encoded in the same bytes, deflated or not.
 *
 * What leaves a store as a difference is made of the bytes of a value, so a snapshot that is imported must have them
 * exactly as they were: there equality of values is not enough.
 */
export function sameEncoding(a: Payload | undefined, b: Payload | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  if (samePayload(a, b)) return true
  if (((a.codec | b.codec) & DEFLATED) === 0) return false
  return samePayload(fromPayload(a), fromPayload(b))
}
