import { crc32 } from 'node:zlib'
import { asBuffer } from '../core/bytes.ts'
import { DataIntegrityError, DeltaError } from '../core/errors.ts'
import { VarintReader } from '../core/varint.ts'
import { ByteWriter } from './byte-writer.ts'
import { COMPRESSION, compressBytes, decompressBytes, MAX_DICTIONARY_BYTES } from './compression.ts'
import { applyEdits, checkEdits, writeEdit } from './edit-codec.ts'
import { diffBytes } from './edit-script.ts'

/*
 * Binary delta, format 1:
 *
 *   byte    format (1) in the high four bits, compression of the body in the low four
 *   uint32  CRC-32 of the base
 *   uint32  CRC-32 of the result, continued over every byte of the delta but these four
 *   varint  length of the base
 *   varint  length of the result
 *   varint  length of the body before compression
 *   varint  with compression `deflate` only: where in the base its dictionary starts
 *   body    varint: edits; varint: bytes inserted; the bytes inserted, one after the other; three numbers an edit
 *
 * Integers are little-endian. The second checksum covers the delta as well as the result, because a flipped bit may
 * happen to give the right result (an insertion into a run of equal bytes, say) and is damage all the same.
 */

const FORMAT = 1
const BASE_CHECKSUM_AT = 1
const CHECKSUM_AT = 5
const HEADER_BYTES = 9
/** A target made of new bytes and of copies shorter than this on average is inserted whole; see {@link worthIt}. */
const SHORT_COPIES = 128

/** What {@link applyBinaryDelta} is allowed to take. */
export interface DeltaLimits {
  /** The longest result, in bytes. A delta that declares more is refused before memory is taken. 1 GiB by default. */
  readonly maxBytes?: number | undefined
}

/** How {@link encodeBinaryDelta} writes. */
export interface BinaryDeltaOptions {
  /** Compress the delta. Left out by those who compress many together. Default: false. */
  readonly compress?: boolean | undefined
}

/** The default of {@link DeltaLimits.maxBytes}. */
export const DEFAULT_MAX_BYTES = 2 ** 30

/**
 * The delta that makes `target` of `base`: what to copy and what to insert.
 *
 * Several edits and moved blocks are found; time and memory are linear in the input.
 *
 * @example
 * ```ts
 * const delta = encodeBinaryDelta(before, after, { compress: true })
 * const again = applyBinaryDelta(before, delta)
 * ```
 */
export function encodeBinaryDelta(
  base: Uint8Array,
  target: Uint8Array,
  options: BinaryDeltaOptions = {},
): Uint8Array {
  const script = findScript(base, target)
  const body = new ByteWriter(script.literals.length + script.numbers.length + 16)
  body.varint(script.edits)
  body.varint(script.literals.length)
  body.bytes(script.literals.view())
  body.bytes(script.numbers.view())

  const dictionaryAt = dictionaryStart(base, script.firstEdit)
  const { compression, bytes } = options.compress
    ? compressBytes(body.view(), dictionaryOf(base, dictionaryAt))
    : { compression: COMPRESSION.stored, bytes: body.view() }

  const delta = new ByteWriter(bytes.length + 48)
  delta.byte((FORMAT << 4) | compression)
  delta.uint32(crc32(base))
  delta.uint32(0)
  delta.varint(base.length)
  delta.varint(target.length)
  delta.varint(body.length)
  if (compression === COMPRESSION.deflate) delta.varint(dictionaryAt)
  delta.bytes(bytes)
  const encoded = delta.view()
  encoded.writeUInt32LE(checksum(encoded, target), CHECKSUM_AT)
  return encoded
}

/**
 * Applies a delta of {@link encodeBinaryDelta}, compressed or not, to the base it was made for.
 *
 * @throws {DeltaError} when `base` is another one than the delta was made for, or the result would pass `limits`.
 * @throws {DataIntegrityError} when the delta is damaged: truncated, extended, or any bit of it changed.
 */
export function applyBinaryDelta(base: Uint8Array, delta: Uint8Array, limits: DeltaLimits = {}): Uint8Array {
  if (delta.length < HEADER_BYTES) throw damaged('it ends within its header')
  const header = asBuffer(delta)
  const format = header.readUInt8(0) >>> 4
  const compression = header.readUInt8(0) & 0x0f
  if (format !== FORMAT) throw damaged(`its format is ${format}, and only ${FORMAT} is known`)
  const reader = new VarintReader(delta, HEADER_BYTES)
  const baseLength = reader.next()
  const length = reader.next()
  const bodyLength = reader.next()
  const maxBytes = limits.maxBytes ?? DEFAULT_MAX_BYTES
  if (length > maxBytes || bodyLength > maxBytes) {
    throw new DeltaError(
      `The delta declares a result of ${length} bytes, more than the ${maxBytes} allowed. Raise maxBytes if it is genuine.`,
    )
  }
  if (baseLength !== base.length || header.readUInt32LE(BASE_CHECKSUM_AT) !== crc32(base)) {
    throw new DeltaError(
      `The delta was made for another base: one of ${baseLength} bytes with checksum ` +
        `${header.readUInt32LE(BASE_CHECKSUM_AT)}; this one has ${base.length} bytes and ${crc32(base)}. ` +
        'Apply it to the very bytes it was calculated from.',
    )
  }
  const dictionary = compression === COMPRESSION.deflate ? dictionaryOf(base, reader.next()) : undefined
  const packed = reader.take(reader.end - reader.offset)
  const body = new VarintReader(decompressBytes(compression, packed, bodyLength, dictionary))
  const edits = body.next()
  const literals = body.take(body.next())
  const numbersAt = body.offset
  const totals = checkEdits(body, edits, baseLength, length)
  if (totals.length !== length || totals.inserted !== literals.length || !body.done) {
    throw damaged('its edits do not make the length it declares')
  }
  const result = Buffer.allocUnsafe(length)
  body.offset = numbersAt
  applyEdits(base, baseLength, body, edits, literals, result)
  if (checksum(delta, result) !== header.readUInt32LE(CHECKSUM_AT)) throw damaged('its checksum is wrong')
  return result
}

interface Script {
  readonly edits: number
  readonly literals: ByteWriter
  readonly numbers: ByteWriter
  /** Where in the base the first edit is. */
  readonly firstEdit: number
}

function findScript(base: Uint8Array, target: Uint8Array): Script {
  const literals = new ByteWriter()
  const numbers = new ByteWriter()
  let edits = 0
  let firstEdit = 0
  diffBytes(base, target, (copy, insertStart, insertEnd, skip) => {
    if (edits++ === 0) firstEdit = copy
    literals.bytes(target, insertStart, insertEnd)
    writeEdit(numbers, copy, insertEnd - insertStart, skip)
  })
  const script = { edits, literals, numbers, firstEdit }
  return worthIt(script, target.length) ? script : insertWhole(base, target)
}

/**
 * Whether copying is better than inserting all of the target: values of one kind, but unrelated, share many short
 * phrases. A compressor makes more of those than a script that names each.
 */
function worthIt(script: Script, length: number): boolean {
  const inserted = script.literals.length
  return inserted * 2 <= length || length - inserted >= script.edits * SHORT_COPIES
}

function insertWhole(base: Uint8Array, target: Uint8Array): Script {
  const literals = new ByteWriter(target.length)
  literals.bytes(target)
  const numbers = new ByteWriter()
  writeEdit(numbers, 0, target.length, base.length)
  return { edits: 1, literals, numbers, firstEdit: 0 }
}

/** The dictionary: what surrounds the first edit, since inserted bytes mostly resemble their neighbourhood. */
function dictionaryStart(base: Uint8Array, firstEdit: number): number {
  const centred = firstEdit - MAX_DICTIONARY_BYTES / 2
  return Math.max(0, Math.min(centred, base.length - MAX_DICTIONARY_BYTES))
}

function dictionaryOf(base: Uint8Array, start: number): Uint8Array | undefined {
  const dictionary = base.subarray(start, start + MAX_DICTIONARY_BYTES)
  return dictionary.length === 0 ? undefined : dictionary
}

function checksum(delta: Uint8Array, result: Uint8Array): number {
  const head = crc32(delta.subarray(0, CHECKSUM_AT), crc32(result))
  return crc32(delta.subarray(HEADER_BYTES), head)
}

function damaged(reason: string): DataIntegrityError {
  return new DataIntegrityError(
    `The binary delta is damaged: ${reason}. Make it anew from its base and result.`,
  )
}
