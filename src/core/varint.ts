import { DataIntegrityError } from './errors.ts'

/** The most bytes a varint of a safe integer takes. */
export const MAX_VARINT_BYTES = 8

/** How many bytes `writeVarint` takes for `value`. */
export function varintLength(value: number): number {
  let length = 1
  let rest = value
  while (rest >= 0x80) {
    rest = Math.floor(rest / 0x80)
    length++
  }
  return length
}

/**
 * Writes a non-negative safe integer as little-endian groups of seven bits (LEB128), and returns the offset past it.
 */
export function writeVarint(target: Uint8Array, offset: number, value: number): number {
  let at = offset
  let rest = value
  while (rest >= 0x80) {
    // Not `&` and `>>`: those work on 32 bits, and epochs and sequences may pass that.
    target[at++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  target[at++] = rest
  return at
}

/** Writes a safe integer of either sign, at most 2⁵² from zero, small ones short; as {@link writeVarint} does. */
export function writeSignedVarint(target: Uint8Array, offset: number, value: number): number {
  return writeVarint(target, offset, value < 0 ? -2 * value - 1 : 2 * value)
}

/** Reads what {@link writeVarint} wrote, one number after the other. Reading past the end is a `DataIntegrityError`. */
export class VarintReader {
  readonly bytes: Uint8Array
  offset: number
  readonly end: number

  constructor(bytes: Uint8Array, offset = 0, end = bytes.byteLength) {
    this.bytes = bytes
    this.offset = offset
    this.end = end
  }

  next(): number {
    // Most numbers are one byte.
    const first = this.offset < this.end ? (this.bytes[this.offset] as number) : 0x80
    if (first >= 0x80) return this.#long()
    this.offset++
    return first
  }

  #long(): number {
    let scale = 1
    let value = 0
    for (let i = 0; i < MAX_VARINT_BYTES; i++) {
      if (this.offset >= this.end) break
      const byte = this.bytes[this.offset++] as number
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break
        return value
      }
      scale *= 0x80
    }
    throw new DataIntegrityError(
      'A stored number is truncated or too large; the record that holds it is damaged.',
    )
  }

  /** A number of {@link writeSignedVarint}. */
  nextSigned(): number {
    const value = this.next()
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  /** The next `length` bytes, as a view of the same memory. */
  take(length: number): Uint8Array {
    const start = this.offset
    this.skip(length)
    return this.bytes.subarray(start, this.offset)
  }

  /** Moves past the next `length` bytes. */
  skip(length: number): void {
    if (length > this.end - this.offset) {
      throw new DataIntegrityError('A stored record ends before its declared length; it is damaged.')
    }
    this.offset += length
  }

  /** Copies the next `length` bytes, a few, to where there is room for them. */
  copy(target: Uint8Array, offset: number, length: number): void {
    const start = this.offset
    this.skip(length)
    for (let i = 0; i < length; i++) target[offset + i] = this.bytes[start + i] as number
  }

  get done(): boolean {
    return this.offset >= this.end
  }
}
