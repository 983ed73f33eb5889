import { isUtf8 } from 'node:buffer'
import { createHash, type Hash } from 'node:crypto'
import { compareBytes } from '../core/bytes.ts'
import { MAX_KEY_BYTES } from '../core/key.ts'
import { decodeValue, type EncodedValue, JSON_CODEC, V8_CODEC } from '../core/value-codec.ts'
import { MAX_VARINT_BYTES, VarintReader, writeVarint } from '../core/varint.ts'
import { applyBinaryDelta, encodeBinaryDelta } from '../delta/binary-delta.ts'
import { ByteWriter } from '../delta/byte-writer.ts'

/**
 * The rows of a snapshot file, and the blocks they are gathered in; `snapshot-file.ts` describes them.
 *
 * Reading throws plain errors with a clause for a message: which file and block it is, the caller knows.
 */

/** A key, and what it holds in the snapshot and held in the base. Either may be nothing. */
export interface SnapshotChange {
  readonly key: Uint8Array
  /** In a whole file there is no base: always `undefined`. */
  readonly before: EncodedValue | undefined
  readonly after: EncodedValue | undefined
}

/** A row as it stands in a block: of `bytes`, a tag tells what they are. */
export interface SnapshotRow {
  readonly key: Uint8Array
  readonly tag: number
  readonly bytes: Uint8Array
  /** Length of what the base holds; `undefined` if it holds nothing. */
  readonly beforeLength: number | undefined
}

/** Rows fill blocks of at most so many bytes. A row that takes more has a block of its own. */
const BLOCK_BYTES = 1024 * 1024
/** The longest value there is, by the limits of the value codec. */
const MAX_VALUE_BYTES = 512 * 1024 * 1024
const ROW_HEADER_BYTES = 1 + 3 * MAX_VARINT_BYTES
/** The longest block there can be. */
export const MAX_BLOCK_BYTES: number = ROW_HEADER_BYTES + MAX_KEY_BYTES + MAX_VALUE_BYTES

/** The tag of a key that the snapshot lacks. Other tags are the codec of the value, and maybe {@link DELTA}. */
const REMOVED = 0
/** The row holds the difference from the base's value. */
const DELTA = 0x10
const CODEC_MASK = 0x0f

/** Gathers rows until they fill a block. */
export class BlockWriter {
  readonly #isDifference: boolean
  #block: ByteWriter | undefined

  constructor(isDifference: boolean) {
    this.#isDifference = isDifference
  }

  /** Adds a row. Returns the block that had no room for it, if any. */
  add(change: SnapshotChange): Uint8Array | undefined {
    const { tag, bytes } = encodeChange(change)
    const length = ROW_HEADER_BYTES + change.key.byteLength + bytes.byteLength
    const full =
      this.#block !== undefined && this.#block.length + length > BLOCK_BYTES ? this.take() : undefined
    this.#block ??= new ByteWriter(Math.max(length, BLOCK_BYTES))
    this.#block.varint(change.key.byteLength)
    this.#block.bytes(change.key)
    if (this.#isDifference) {
      this.#block.varint(change.before === undefined ? 0 : change.before.bytes.byteLength + 1)
    }
    this.#block.byte(tag)
    if (tag !== REMOVED) {
      this.#block.varint(bytes.byteLength)
      this.#block.bytes(bytes)
    }
    return full
  }

  /** The rows that wait, as a block of their own. */
  take(): Uint8Array | undefined {
    const block = this.#block?.view()
    this.#block = undefined
    return block
  }
}

function encodeChange({ before, after }: SnapshotChange): Pick<SnapshotRow, 'tag' | 'bytes'> {
  if (after === undefined) return { tag: REMOVED, bytes: NOTHING }
  if (before === undefined) return { tag: after.codec, bytes: after.bytes }
  const delta = encodeBinaryDelta(before.bytes, after.bytes)
  if (delta.byteLength >= after.bytes.byteLength) return { tag: after.codec, bytes: after.bytes }
  return { tag: after.codec | DELTA, bytes: delta }
}

const NOTHING = Buffer.alloc(0)

/**
 * The rows of a block.
 *
 * @param previous The last key of the block before: keys ascend bytewise through the whole file, so that no block can
 * be repeated or trade places with another.
 */
export function* readBlock(
  block: Uint8Array,
  isDifference: boolean,
  previous: Uint8Array | undefined,
): Generator<SnapshotRow, void, undefined> {
  const reader = new VarintReader(block)
  let above = previous
  while (!reader.done) {
    const key = ownBytes(reader.take(reader.next()))
    checkKey(key, above)
    above = key
    const before = isDifference ? reader.next() : 0
    const tag = reader.take(1)[0] as number
    checkTag(tag, isDifference, before > 0)
    const bytes = tag === REMOVED ? NOTHING : reader.take(reader.next())
    if (bytes.byteLength > MAX_VALUE_BYTES) throw new Error('a value is longer than any can be')
    yield { key, tag, bytes, beforeLength: before === 0 ? undefined : before - 1 }
    if (block.byteLength > BLOCK_BYTES && !reader.done) throw new Error('it is too long for several rows')
  }
}

/** A view keeps the whole block in memory for as long as it is kept itself: where it is a small part, a copy does not. */
function ownBytes(view: Uint8Array): Uint8Array {
  return view.byteLength * 2 < view.buffer.byteLength ? Buffer.from(view) : view
}

function checkKey(key: Uint8Array, above: Uint8Array | undefined): void {
  if (key.byteLength === 0 || key.byteLength > MAX_KEY_BYTES || !isUtf8(key)) {
    throw new Error(`a key is not of 1 to ${MAX_KEY_BYTES} bytes of UTF-8`)
  }
  if (above !== undefined && compareBytes(key, above) <= 0) {
    throw new Error('its keys are not above those before them: blocks were repeated, or put in another order')
  }
}

function checkTag(tag: number, isDifference: boolean, hasBefore: boolean): void {
  const codec = tag & CODEC_MASK
  if (tag === REMOVED && isDifference && hasBefore) return
  if (codec === JSON_CODEC || codec === V8_CODEC) {
    if (tag === codec || (tag === (codec | DELTA) && hasBefore)) return
  }
  throw new Error(`a row has the tag ${tag}, which it cannot have`)
}

/**
 * What a row makes of what the base holds: the value in the snapshot, which is sure to decode; `undefined` for nothing.
 *
 * @throws {DeltaError} if that is not the value in the base from which the row was made.
 */
export function resolveRow(row: SnapshotRow, before: EncodedValue | undefined): EncodedValue | undefined {
  if (row.tag === REMOVED) return undefined
  const codec = (row.tag & CODEC_MASK) as EncodedValue['codec']
  const bytes =
    (row.tag & DELTA) === 0 || before === undefined
      ? ownBytes(row.bytes)
      : applyBinaryDelta(before.bytes, row.bytes, { maxBytes: MAX_VALUE_BYTES })
  if (decodeValue(codec, bytes) === undefined) throw new Error('a value is undefined')
  return { codec, bytes }
}

/** The digest of what the rows of a difference replace: it tells whether a base is the one the file was made from. */
export class BaseDigest {
  readonly #hash: Hash = createHash('sha256')
  readonly #numbers = Buffer.allocUnsafe(2 * MAX_VARINT_BYTES + 1)

  update(key: Uint8Array, before: EncodedValue | undefined): void {
    const numbers = this.#numbers
    let at = writeVarint(numbers, 0, key.byteLength)
    numbers[at++] = before?.codec ?? REMOVED
    at = writeVarint(numbers, at, before?.bytes.byteLength ?? 0)
    this.#hash.update(numbers.subarray(0, at)).update(key)
    if (before !== undefined) this.#hash.update(before.bytes)
  }

  digest(): Buffer {
    return this.#hash.digest()
  }
}
