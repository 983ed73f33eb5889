import { constants, isUtf8 } from 'node:buffer'
import { importError } from './import-error.ts'
import { NEWLINE } from './json-syntax.ts'

const DEFAULT_MAX_VALUE_BYTES = 256 * 1024 * 1024
/** So many bytes of a chunk are taken at a time, so that a source of huge chunks does not make huge batches. */
const PIECE_BYTES = 256 * 1024
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf]

/** What a {@link ByteWindow} reads, and what it says in errors. */
export interface ByteWindowOptions {
  readonly file: string
  readonly signal?: AbortSignal | undefined
  readonly maxValueBytes?: number | undefined
}

/**
 * The part of a UTF-8 file that is in memory while it is read from front to back.
 *
 * A reader scans `bytes` from `position` to `end`, moves `position` behind what it has taken, and calls
 * {@link ByteWindow.readMore | readMore} where something is not there as a whole. It may then scan that again from its
 * beginning: each call at least doubles what the window holds, so that scanning stays linear however large a value is
 * and however small the chunks are.
 *
 * Invariants: `[position, end)` is valid UTF-8 and holds whole characters; `line` is the line of `position`.
 */
export class ByteWindow {
  readonly file: string
  /** The most bytes that may be in sight and still not suffice. */
  readonly maxValueBytes: number
  bytes: Buffer = Buffer.allocUnsafe(2 * PIECE_BYTES)
  position = 0
  end = 0
  /** 1-based. Whoever moves `position` over a newline counts it here. */
  line = 1
  /** The source has ended: nothing follows `end`. */
  ended = false
  readonly #source: AsyncIterator<Uint8Array>
  readonly #signal: AbortSignal | undefined
  /** What has been read of the source's last chunk and not yet been copied. */
  #pending: Uint8Array = Buffer.alloc(0)
  /** Where the bytes copied end; from `end` to here lies the beginning of a character. */
  #filled = 0
  #started = false

  constructor(source: AsyncIterable<Uint8Array>, options: ByteWindowOptions) {
    this.file = options.file
    this.maxValueBytes = Math.min(
      options.maxValueBytes ?? DEFAULT_MAX_VALUE_BYTES,
      constants.MAX_STRING_LENGTH,
    )
    this.#source = source[Symbol.asyncIterator]()
    this.#signal = options.signal
  }

  /**
   * Reads until there is more than twice as much in sight as there was, or the source has ended.
   *
   * `bytes`, `position` and `end` may change, and what lies before `position` is forgotten.
   *
   * @param limit How many bytes may be in sight without what the caller looks for: with more, nothing is read.
   * @returns whether there is anything new.
   * @throws {ImportError} for what is not UTF-8. The signal's reason, when aborted.
   */
  async readMore(limit: number = this.maxValueBytes): Promise<boolean> {
    const before = this.end - this.position
    // One byte more than the limit is enough to know that a value exceeds it; then there is nothing more to read.
    const wanted = Math.min(2 * before, limit) + 1
    while (!this.ended && this.end - this.position < wanted) await this.#append()
    return this.end - this.position > before
  }

  /** Ends the source, where it has not ended by itself. */
  async close(): Promise<void> {
    if (!this.ended) await this.#source.return?.()
  }

  async #append(): Promise<void> {
    this.#signal?.throwIfAborted()
    if (this.#pending.byteLength === 0) {
      const { done, value } = await this.#source.next()
      this.#signal?.throwIfAborted()
      if (done) return this.#finish()
      this.#pending = value
    }
    const piece = this.#pending.subarray(0, PIECE_BYTES)
    this.#pending = this.#pending.subarray(piece.byteLength)
    this.#makeRoom(piece.byteLength)
    this.bytes.set(piece, this.#filled)
    this.#filled += piece.byteLength
    if (!this.#started && !this.#start()) return
    const end = wholeCharacters(this.bytes, this.end, this.#filled)
    if (!isUtf8(this.bytes.subarray(this.end, end))) throw this.#notUtf8(end)
    this.end = end
  }

  /** Skips a byte order mark, once the first bytes can tell whether there is one. */
  #start(): boolean {
    const isMark = BYTE_ORDER_MARK.slice(0, this.#filled).every((byte, i) => this.bytes[i] === byte)
    if (isMark && this.#filled < BYTE_ORDER_MARK.length) return false
    this.#started = true
    if (isMark) {
      this.position = BYTE_ORDER_MARK.length
      this.end = BYTE_ORDER_MARK.length
    }
    return true
  }

  #finish(): void {
    this.ended = true
    if (this.#filled > this.end) {
      throw importError(
        this.file,
        this.lineAt(this.end),
        'the file ends in the middle of a character: it is truncated, or not UTF-8. Get a whole copy of it.',
      )
    }
  }

  #makeRoom(length: number): void {
    if (this.#filled + length <= this.bytes.byteLength) return
    const kept = this.#filled - this.position
    let target = this.bytes
    if (kept + length > target.byteLength) target = Buffer.allocUnsafe(2 * (kept + length))
    this.bytes.copy(target, 0, this.position, this.#filled)
    this.bytes = target
    this.end -= this.position
    this.#filled = kept
    this.position = 0
  }

  #notUtf8(end: number): Error {
    // No byte of a longer character is a newline, so each line can be judged by itself.
    let lineStart = this.end
    for (;;) {
      const newline = this.bytes.indexOf(NEWLINE, lineStart)
      const lineEnd = newline === -1 || newline >= end ? end : newline + 1
      if (!isUtf8(this.bytes.subarray(lineStart, lineEnd)) || lineEnd === end) break
      lineStart = lineEnd
    }
    return importError(
      this.file,
      this.lineAt(lineStart),
      'the file holds bytes that are not UTF-8. Save it as UTF-8, or export it again.',
    )
  }

  /** The line of a byte in sight, or of `end`. */
  lineAt(offset: number): number {
    let line = this.line
    for (let at = this.position; at < offset; at++) if (this.bytes[at] === NEWLINE) line++
    return line
  }
}

/** Where the last whole character ends: `end`, or up to three bytes before it. Invalid bytes count as whole. */
function wholeCharacters(bytes: Uint8Array, start: number, end: number): number {
  for (let at = end - 1; at >= start && at >= end - 3; at--) {
    const byte = bytes[at] as number
    if (byte < 0x80) return end
    if (byte < 0xc0) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return at + length > end ? at : end
  }
  return end
}
