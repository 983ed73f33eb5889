import { crc32 } from 'node:zlib'

/** Calling into zlib takes as long as so many bytes do here. */
const SHORT = 200

/** `TABLES[n]` says what a byte does to the checksum that `n` bytes come after. */
const TABLES = makeTables()
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES

type Tables = readonly [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
]

function makeTables(): Tables {
  const tables: Int32Array[] = []
  for (let n = 0; n < 8; n++) {
    const before = tables[n - 1]
    tables.push(Int32Array.from({ length: 256 }, (_, byte) => afterByte(before?.[byte] ?? byte)))
  }
  return tables as unknown as Tables
}

function afterByte(checksum: number): number {
  let value = checksum
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ 0xedb88320
  return value
}

/** The CRC-32 of bytes, or of what `previous` is the checksum of with these bytes after it. */
export function checksum(bytes: Uint8Array, previous = 0): number {
  // Node.js 20 calls a function for `byteLength`, which takes as long as a short key.
  return checksumOfRange(bytes, 0, bytes.length, previous)
}

/** {@link checksum} of some of the bytes: of a few without a view of them, eight at a time. */
export function checksumOfRange(bytes: Uint8Array, start: number, end: number, previous: number): number {
  if (end - start > SHORT) return crc32(bytes.subarray(start, end) as Buffer, previous)
  let value = ~previous
  let i = start
  for (; i + 8 <= end; i += 8) {
    value ^=
      byteAt(bytes, i) |
      (byteAt(bytes, i + 1) << 8) |
      (byteAt(bytes, i + 2) << 16) |
      (byteAt(bytes, i + 3) << 24)
    value =
      byteOf(T7, value) ^
      byteOf(T6, value >>> 8) ^
      byteOf(T5, value >>> 16) ^
      byteOf(T4, value >>> 24) ^
      byteOf(T3, byteAt(bytes, i + 4)) ^
      byteOf(T2, byteAt(bytes, i + 5)) ^
      byteOf(T1, byteAt(bytes, i + 6)) ^
      byteOf(T0, byteAt(bytes, i + 7))
  }
  for (; i < end; i++) value = byteOf(T0, value ^ byteAt(bytes, i)) ^ (value >>> 8)
  return ~value >>> 0
}

/** Bytes, and the same memory as words from its beginning on, where their bytes stand as those of a checksum do. */
export interface WordMemory {
  readonly bytes: Uint8Array
  readonly words: Int32Array
}

/** {@link checksumOfRange} of the first `length` bytes, which are copied meanwhile: whole words, to the `at`-th of others. */
export function copyWithChecksum(
  { bytes, words }: WordMemory,
  length: number,
  target: Int32Array,
  at: number,
  previous: number,
): number {
  let value = ~previous
  let i = 0
  for (; 4 * i + 8 <= length; i += 2) {
    const one = words[i] as number
    const other = words[i + 1] as number
    target[at + i] = one
    target[at + i + 1] = other
    const mixed = one ^ value
    value =
      byteOf(T7, mixed) ^
      byteOf(T6, mixed >>> 8) ^
      byteOf(T5, mixed >>> 16) ^
      byteOf(T4, mixed >>> 24) ^
      byteOf(T3, other) ^
      byteOf(T2, other >>> 8) ^
      byteOf(T1, other >>> 16) ^
      byteOf(T0, other >>> 24)
  }
  for (let j = 4 * i; j < length; j++) value = byteOf(T0, value ^ byteAt(bytes, j)) ^ (value >>> 8)
  for (; 4 * i < length; i++) target[at + i] = words[i] as number
  return ~value >>> 0
}

function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] as number
}

function byteOf(table: Int32Array, value: number): number {
  return table[value & 0xff] as number
}

/** The checksum of anything that ends with its own checksum, in little-endian order: CRC-32 has that property. */
export const CHECKED = 0x2144df1c
