import { crc32 } from 'node:zlib'
import { asBuffer } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { counterAt, counterKey } from '../core/key.ts'

/*
 * Small rows of the table meta that are no records: their content, and a checksum that the key is part of. Stores of
 * format 1 have the content alone.
 */

const CHECKSUM_BYTES = 4
/** What checksums start from, so that no row can pass for one of another table. */
const TABLE_CHECKSUM = crc32('meta')
const COUNTER_BYTES = 6
const END_OF_JSON = 0x7d

/** The row that holds this content under this key. */
export function sealMeta(key: Uint8Array, content: Uint8Array): Uint8Array {
  const row = Buffer.allocUnsafe(content.byteLength + CHECKSUM_BYTES)
  row.set(content)
  row.writeUInt32LE(crc32(content as Buffer, crc32(key as Buffer, TABLE_CHECKSUM)), content.byteLength)
  return row
}

/** {@link sealMeta} of a number. */
export function sealCounter(key: Uint8Array, counter: number): Uint8Array {
  return sealMeta(key, counterKey(counter))
}

/** What {@link sealMeta} was given. `isOld` says whether a row may be one of format 1. @throws {DataIntegrityError} */
function openMeta(key: Uint8Array, row: Uint8Array, isOld: (row: Uint8Array) => boolean): Uint8Array {
  const end = row.byteLength - CHECKSUM_BYTES
  if (end >= 0) {
    const content = row.subarray(0, end)
    if (asBuffer(row).readUInt32LE(end) === crc32(content as Buffer, crc32(key as Buffer, TABLE_CHECKSUM)))
      return content
  }
  if (isOld(row)) return row
  throw new DataIntegrityError(
    `The record ${JSON.stringify(asBuffer(key).toString('latin1'))} of the store does not match its checksum: it is damaged.`,
  )
}

/** The content of a row of a kind that format 1 does not have. @throws {DataIntegrityError} */
export function openContent(key: Uint8Array, row: Uint8Array): Uint8Array {
  return openMeta(key, row, () => false)
}

/** The number in a row. @throws {DataIntegrityError} */
export function openCounter(key: Uint8Array, row: Uint8Array): number {
  return counterAt(openMeta(key, row, ({ byteLength }) => byteLength === COUNTER_BYTES))
}

/** The content of a row that ends in a JSON object. @throws {DataIntegrityError} */
export function openJsonRow(key: Uint8Array, row: Uint8Array): Uint8Array {
  return openMeta(key, row, bytes => bytes.at(-1) === END_OF_JSON)
}

/** The content of a row of one byte. @throws {DataIntegrityError} */
export function openMark(key: Uint8Array, row: Uint8Array): Uint8Array {
  return openMeta(key, row, ({ byteLength }) => byteLength === 1)
}
