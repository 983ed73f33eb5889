import { copyBytes } from './bytes.ts'
import { decodeText } from './value-codec.ts'

/** So many bytes of texts are parsed at a time: more gain nothing. */
const BATCH_BYTES = 8 * 1024
/** Longer texts gain nothing from company. */
const MAX_TEXT_BYTES = 1024

const WORD_BYTES = 4
const WORD_SHIFT = 2
const WORD_REST = WORD_BYTES - 1
/** Before a text there may be the rest of a word, and after it a comma, or a quotation mark and a comma, and the rest of a word. */
const MARGIN_BYTES = 3 * WORD_BYTES

const SPACE = 0x20
const QUOTATION_MARK = 0x22
const COMMA = 0x2c
const OPENING_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSING_BRACKET = 0x5d

/** Where a value is still to come. */
const PENDING = Symbol('pending')

/** The same memory as bytes and as words. */
interface Memory {
  readonly bytes: Buffer
  readonly words: Int32Array
}

/** Those of batches that are through with them. */
const spare: Memory[] = []
const MOST_SPARE = 4

/**
 * Makes JSON texts into values together, as the elements of one array. That takes two calls for all of them instead of two for
 * each; and V8's parser tries the shape of the element before, so that objects which are alike are made faster.
 *
 * The values are those that each text gives by itself: elements are parsed apart from each other. Where the array cannot be
 * parsed, or has another number of elements, a text is not JSON; then each is parsed by itself, to find which. One such text
 * always shows, as whole ones cannot make up for what it leaves open, closes or divides.
 */
export class JsonBatch {
  #values: unknown[] = []
  /** Values before this one are there. */
  #parsed = 0
  /** Where each text begins and ends in the memory. */
  #bounds: number[] = []
  #memory: Memory | undefined
  /** Where the next text begins, at the earliest: at a word. */
  #next = WORD_BYTES

  /** Takes a text, which is copied. Answers false, and does not, where it is long. */
  addText(source: Uint8Array, start: number, end: number): boolean {
    const length = end - start
    if (length > MAX_TEXT_BYTES) return false
    const { bytes, words } = this.#roomFor(length)
    const from = wordsOf(source)
    // Whole words: the first may begin before the text, and the last end after it.
    const last = (end + WORD_REST) >> WORD_SHIFT
    let at = this.#next
    if (from === undefined || last > from.length) {
      copyBytes(source, start, end, bytes, at)
    } else {
      for (let i = start >> WORD_SHIFT, j = at >> WORD_SHIFT; i < last; i++, j++) words[j] = from[i] as number
      for (let i = start & WORD_REST; i > 0; i--) bytes[at++] = SPACE
    }
    this.#added(bytes, at, at + length)
    return true
  }

  /** Takes the UTF-8 of a string. Answers false, and does not, where it is long, or JSON would have to escape something in it. */
  addString(source: Uint8Array): boolean {
    const { length } = source
    if (length > MAX_TEXT_BYTES) return false
    const { bytes } = this.#roomFor(length)
    const start = this.#next
    let at = start
    bytes[at++] = QUOTATION_MARK
    for (let i = 0; i < length; i++) {
      const byte = source[i] as number
      if (byte < SPACE || byte === QUOTATION_MARK || byte === BACKSLASH) return false
      bytes[at++] = byte
    }
    bytes[at++] = QUOTATION_MARK
    this.#added(bytes, start, at)
    return true
  }

  /** Takes a value as it is. */
  addValue(value: unknown): void {
    this.#values.push(value)
  }

  /**
   * Takes all values out, in the order in which they came.
   *
   * @throws {DataIntegrityError} where a text is not JSON, as `decodeText` does
   */
  take(): unknown[] {
    this.#parse()
    const values = this.#values
    this.#values = []
    this.#parsed = 0
    return values
  }

  #roomFor(length: number): Memory {
    if (this.#next + length > BATCH_BYTES - MARGIN_BYTES) this.#parse()
    this.#memory ??= spare.pop() ?? newMemory()
    return this.#memory
  }

  /** Ends a text that has been written to the memory, and fills the word. */
  #added(bytes: Buffer, start: number, end: number): void {
    this.#bounds.push(start, end)
    this.#values.push(PENDING)
    bytes[end] = COMMA
    let next = end + 1
    while ((next & WORD_REST) !== 0) bytes[next++] = SPACE
    this.#next = next
  }

  #parse(): void {
    const bounds = this.#bounds
    const memory = this.#memory
    if (memory === undefined) return
    this.#bounds = []
    this.#memory = undefined
    this.#next = WORD_BYTES
    if (spare.length < MOST_SPARE) spare.push(memory)
    const parsed =
      (bounds.length > 2 && parseTogether(memory.bytes, bounds)) || parseEach(memory.bytes, bounds)
    const values = this.#values
    let i = this.#parsed
    for (const value of parsed) {
      while (values[i] !== PENDING) i++
      values[i++] = value
    }
    this.#parsed = i
  }
}

function newMemory(): Memory {
  const memory = new ArrayBuffer(BATCH_BYTES)
  const bytes = Buffer.from(memory).fill(SPACE, 0, WORD_BYTES)
  bytes[0] = OPENING_BRACKET
  return { bytes, words: new Int32Array(memory) }
}

function parseTogether(bytes: Buffer, bounds: readonly number[]): unknown[] | undefined {
  const end = bounds[bounds.length - 1] as number
  bytes[end] = CLOSING_BRACKET
  try {
    const values = JSON.parse(bytes.toString('utf8', 0, end + 1)) as unknown[]
    return 2 * values.length === bounds.length ? values : undefined
  } catch {
    return undefined
  }
}

function parseEach(bytes: Buffer, bounds: readonly number[]): unknown[] {
  const values: unknown[] = []
  for (let i = 0; i < bounds.length; i += 2) {
    const start = bounds[i] as number
    const end = bounds[i + 1] as number
    values.push(decodeText(bytes.toString('utf8', start, end), end - start))
  }
  return values
}

let lastSource: Uint8Array | undefined
let lastWords: Int32Array | undefined

/**
 * The words of bytes that were asked about before: an engine shows all rows in one and the same buffer, which is copied in half
 * the time so. Of others it would take longer to make the words.
 */
function wordsOf(source: Uint8Array): Int32Array | undefined {
  if (source !== lastSource) {
    lastSource = source
    lastWords = undefined
  } else if (lastWords === undefined && source.byteOffset % WORD_BYTES === 0) {
    lastWords = new Int32Array(source.buffer, source.byteOffset, source.length >> WORD_SHIFT)
  }
  return lastWords
}
