import { crc32 } from 'node:zlib'
import { asBuffer } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { VarintReader } from '../core/varint.ts'
import { ByteWriter } from './byte-writer.ts'
import { type Delta, type DeltaEnd, type DeltaStep, deltaOf } from './delta.ts'
import type { UsedStrategy } from './strategies.ts'

/*
 * Serialized delta, format 1:
 *
 *   byte    format (1) in the low four bits; in the high four the number of steps, or 15 with a varint next
 *   uint32  CRC-32 of every other byte
 *   end     the base
 *   step    one for each: byte: strategy (low four bits) and codec of its end (high four);
 *           its end without the codec; for all but the last step a varint: length of its body; its body
 *
 * An end is a byte with its codec, a varint with its size and a uint32 with its checksum. Integers are little-endian.
 */

const FORMAT = 1
const CHECKSUM_AT = 1
const AFTER_CHECKSUM = 5
const MANY_STEPS = 15

/** The numbers of the strategies, which never change their meaning: their positions here. */
const STRATEGY_NUMBERS: readonly UsedStrategy[] = ['none', 'compress', 'binary', 'dict']

/** The delta as bytes. */
export function serializeDelta({ base, steps, size }: Delta): Uint8Array {
  const writer = new ByteWriter(size + 32)
  const count = Math.min(steps.length, MANY_STEPS)
  writer.byte((count << 4) | FORMAT)
  writer.uint32(0)
  if (count === MANY_STEPS) writer.varint(steps.length)
  writer.byte(base.codec)
  writeEnd(writer, base)
  for (const [i, { strategy, body, end }] of steps.entries()) {
    writer.byte((end.codec << 4) | STRATEGY_NUMBERS.indexOf(strategy))
    writeEnd(writer, end)
    if (i < steps.length - 1) writer.varint(body.length)
    writer.bytes(body)
  }
  const bytes = writer.view()
  bytes.writeUInt32LE(checksum(bytes), CHECKSUM_AT)
  return bytes
}

/**
 * The inverse of {@link serializeDelta}. The delta refers to `bytes`; do not change them.
 *
 * @throws {DataIntegrityError} if the bytes are not a serialized delta, whole and unchanged
 */
export function deserializeDelta(bytes: Uint8Array): Delta {
  if (bytes.length < AFTER_CHECKSUM) throw damaged('it is shorter than its header')
  const header = asBuffer(bytes)
  const format = header.readUInt8(0) & 0x0f
  if (format !== FORMAT) throw damaged(`its format is ${format}, and only ${FORMAT} is known`)
  if (header.readUInt32LE(CHECKSUM_AT) !== checksum(bytes)) throw damaged('its checksum is wrong')
  const reader = new VarintReader(bytes, AFTER_CHECKSUM)
  const few = header.readUInt8(0) >>> 4
  const count = few === MANY_STEPS ? reader.next() : few
  if (count === 0 || count > reader.end - reader.offset) throw damaged('it has no steps, or not so many')
  const base = readEnd(reader, reader.take(1)[0] as number)
  const steps: DeltaStep[] = []
  for (let i = 0; i < count; i++) {
    const kind = reader.take(1)[0] as number
    const strategy = STRATEGY_NUMBERS[kind & 0x0f]
    if (strategy === undefined) throw damaged('its strategy is not known')
    const end = readEnd(reader, kind >>> 4)
    const length = i < count - 1 ? reader.next() : reader.end - reader.offset
    steps.push({ strategy, body: reader.take(length), end })
  }
  return deltaOf(base, steps)
}

function writeEnd(writer: ByteWriter, { size, checksum }: DeltaEnd): void {
  writer.varint(size)
  writer.uint32(checksum)
}

function readEnd(reader: VarintReader, codec: number): DeltaEnd {
  const size = reader.next()
  return { codec, size, checksum: asBuffer(reader.take(4)).readUInt32LE(0) }
}

function checksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(AFTER_CHECKSUM), crc32(bytes.subarray(0, CHECKSUM_AT)))
}

function damaged(reason: string): DataIntegrityError {
  return new DataIntegrityError(
    `The serialized delta is damaged: ${reason}. Get it anew from where it came from.`,
  )
}
