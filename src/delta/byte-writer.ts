import { MAX_VARINT_BYTES, writeVarint } from '../core/varint.ts'

/** Below this length a loop beats the call into native code. */
const SHORT_COPY = 24

/** A byte buffer that grows as it is written: what the delta formats are built with. */
export class ByteWriter {
  private buffer: Buffer
  private used = 0

  /** `capacity`: how many bytes to make room for at first. */
  constructor(capacity = 256) {
    this.buffer = Buffer.allocUnsafe(Math.max(16, capacity))
  }

  /** Bytes written so far. */
  get length(): number {
    return this.used
  }

  byte(value: number): void {
    this.reserve(1)
    this.buffer[this.used++] = value
  }

  /** Four bytes, least significant first. */
  uint32(value: number): void {
    this.reserve(4)
    this.used = this.buffer.writeUInt32LE(value, this.used)
  }

  /** A non-negative safe integer. */
  varint(value: number): void {
    this.reserve(MAX_VARINT_BYTES)
    this.used = writeVarint(this.buffer, this.used, value)
  }

  /** `source[start … end)`. */
  bytes(source: Uint8Array, start = 0, end = source.length): void {
    const length = end - start
    this.reserve(length)
    if (length < SHORT_COPY) {
      for (let i = start; i < end; i++) this.buffer[this.used++] = source[i] as number
    } else {
      this.buffer.set(length === source.length ? source : source.subarray(start, end), this.used)
      this.used += length
    }
  }

  /** What was written: a view of the writer's own memory, valid until the next write. */
  view(): Buffer {
    return this.buffer.subarray(0, this.used)
  }

  /** Takes back all that was written after the first `length` bytes. */
  truncate(length: number): void {
    this.used = length
  }

  private reserve(length: number): void {
    const needed = this.used + length
    if (needed <= this.buffer.length) return
    const grown = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2))
    grown.set(this.view())
    this.buffer = grown
  }
}

/** Folds the sign of an integer of at most 52 bits into its lowest bit, so that small magnitudes stay short. */
export function foldSign(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value
}

/** The inverse of {@link foldSign}. */
export function unfoldSign(folded: number): number {
  return folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2
}
