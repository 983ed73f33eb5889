import { crc32 } from 'node:zlib'

/** Calling into zlib takes as long as this many bytes do here. */
const SHORT = 48

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ 0xedb88320
  return value
})

/** The CRC-32 of bytes, or of what `previous` is the checksum of with these bytes after it. */
export function checksum(bytes: Uint8Array, previous = 0): number {
  return bytes.byteLength > SHORT
    ? crc32(bytes as Buffer, previous)
    : checksumOfRange(bytes, 0, bytes.byteLength, previous)
}

/** {@link checksum} of a few of the bytes, without a view of them. */
export function checksumOfRange(bytes: Uint8Array, start: number, end: number, previous: number): number {
  let value = ~previous
  for (let i = start; i < end; i++)
    value = (TABLE[(value ^ (bytes[i] as number)) & 0xff] as number) ^ (value >>> 8)
  return ~value >>> 0
}

/** The checksum of anything that ends with its own checksum, in little-endian order: CRC-32 has that property. */
export const CHECKED = 0x2144df1c
