import { crc32 } from 'node:zlib'
import { asBuffer } from '../core/bytes.ts'
import { DataIntegrityError, DeltaError } from '../core/errors.ts'
import { VarintReader } from '../core/varint.ts'
import { applyBinaryBody, encodeBinaryBody } from './binary-body.ts'
import { ByteWriter } from './byte-writer.ts'
import { checkBytes } from './check-arguments.ts'

/*
 * Binary delta, format 1:
 *
 *   byte    format (1)
 *   uint32  CRC-32 of the base
 *   uint32  CRC-32 of the result, continued over every byte of the delta but these four
 *   varint  length of the base
 *   varint  length of the result
 *   body    see binary-body.ts
 *
 * Integers are little-endian. The second checksum covers the delta as well as the result, because a flipped bit may
 * happen to give the right result (an insertion into a run of equal bytes, say) and is damage all the same.
 */

const FORMAT = 1
const BASE_CHECKSUM_AT = 1
const CHECKSUM_AT = 5
const HEADER_BYTES = 9

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
const DEFAULT_MAX_BYTES = 2 ** 30

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
  checkBytes(base, 'encodeBinaryDelta()')
  checkBytes(target, 'encodeBinaryDelta()')
  const body = encodeBinaryBody(base, target, options.compress === true ? 'with base' : 'none')
  const delta = new ByteWriter(body.length + HEADER_BYTES + 16)
  delta.byte(FORMAT)
  delta.uint32(crc32(base))
  delta.uint32(0)
  delta.varint(base.length)
  delta.varint(target.length)
  delta.bytes(body)
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
  checkBytes(base, 'applyBinaryDelta()')
  checkBytes(delta, 'applyBinaryDelta()')
  if (delta.length < HEADER_BYTES) throw damaged('it ends within its header')
  const header = asBuffer(delta)
  const format = header.readUInt8(0)
  if (format !== FORMAT) throw damaged(`its format is ${format}, and only ${FORMAT} is known`)
  const reader = new VarintReader(delta, HEADER_BYTES)
  const baseLength = reader.next()
  const length = reader.next()
  const maxBytes = limits.maxBytes ?? DEFAULT_MAX_BYTES
  if (length > maxBytes) {
    throw new DeltaError(
      `The delta declares a result of ${length} bytes, more than the ${maxBytes} allowed. Raise maxBytes if it is genuine.`,
    )
  }
  const baseChecksum = header.readUInt32LE(BASE_CHECKSUM_AT)
  if (baseLength !== base.length || baseChecksum !== crc32(base)) {
    throw new DeltaError(
      `The delta was made for another base: one of ${baseLength} bytes with checksum ${baseChecksum}; ` +
        `this one has ${base.length} bytes and ${crc32(base)}. Apply it to the very bytes it was calculated from.`,
    )
  }
  const result = applyBinaryBody(base, reader.take(reader.end - reader.offset), length)
  if (checksum(delta, result) !== header.readUInt32LE(CHECKSUM_AT)) throw damaged('its checksum is wrong')
  return result
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
