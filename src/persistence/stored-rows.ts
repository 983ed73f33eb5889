import { randomInt } from 'node:crypto'
import { endianness } from 'node:os'
import { copyBytes, EMPTY_BYTES } from '../core/bytes.ts'
import type { WordMemory } from '../core/crc32.ts'
import { isSurelyJsonOf } from '../core/json-match.ts'
import { encodeKey } from '../core/key.ts'
import { type EncodedValue, JSON_CODEC, V8_CODEC } from '../core/value-codec.ts'
import type { ScanRange, View } from '../engine/engine.ts'
import { CHECKSUM_BYTES, copyRecord, payloadStart } from '../history/record.ts'

/**
 * A row is a word that tells of it, then its key, then its record up to the checksum and a zero, each from the beginning of a word
 * on. The word: how long the key is, where in the record the payload begins and ends, its codec, and what became of the row.
 */
const WORD_BYTES = 4
const KEY_MASK = 0x7ff
const START_SHIFT = 11
const START_MASK = 0xf
const END_SHIFT = 15
const END_MASK = 0x1fff
const CLONE_BIT = 1 << 28
/** Of records that are left in the store: long ones, and those whose payload is deflated. */
const LEFT_BIT = 1 << 29
const FOUND_BIT = 1 << 30

const MOST_COPIED = 4096
/** There is room for so many bytes a row; of longer ones fewer are taken in. */
const ROOM = 192
/** Any one row fits into so many. */
const LEAST_ROOM = 16 * 1024

/** Of each slot of the table: the hash of a key, and one more than the word of its row, or 0 where the slot is free. */
const FIELDS = 2

/** So many slots are looked at for each key on average; more are, where keys were made up to fall on one another. */
const MOST_PROBES = 8

/** Rows are entered into the table so many at a time. */
const ENTERED = 64

/** What the processor fetches of a row ahead: so many lines of its cache, of so many words. */
const LINES = 3
const LINE_WORDS = 16

/** UTF-16 units from here on take several bytes in UTF-8. */
const FIRST_LONG_UNIT = 0x80

const IS_LITTLE_ENDIAN = endianness() === 'LE'

/** Thrown where keys fall on one another. */
const UNFIT: Error = new Error('varve: these rows cannot be searched in memory')

/** What was taken in of a range. */
interface Taken {
  /** The bytes of all records. */
  readonly bytes: number
  /** The range of what there was no room for. */
  readonly rest: ScanRange | undefined
}

/**
 * Current rows of a store that follow one another, as many as there is room for, to be met in any order of their keys.
 *
 * A state is looked through in the order of its own properties: in that its values were mostly made, so that they lie one
 * after the other in memory. To meet them in key order takes twice as long. Rows are copied into one piece of memory, and a
 * table says by the hash of a key where its row is. None has an object or a string of its own.
 *
 * To wait for memory is most of what a search takes. So it is done for many keys at a time: the processor, asked for all
 * their slots before the first is looked at, and then for all their rows, waits for them together.
 */
export class StoredRows {
  readonly #memory: Memory
  readonly #words: Int32Array
  /** The same memory. */
  readonly #bytes: Buffer
  readonly #end: number
  readonly #table: Int32Array
  readonly #mask: number
  readonly #capacity: number
  readonly #seed = randomInt(2 ** 32)
  /** How many words are taken. */
  #used = 0
  #size = 0
  #found = 0
  #probesLeft = 0
  /** Rows that are not in the table yet, with the hashes of their keys. */
  readonly #newRows = new Int32Array(ENTERED)
  readonly #newHashes = new Int32Array(ENTERED)
  #newCount = 0
  /** The buffer that records are shown in. */
  #shown: WordMemory = { bytes: EMPTY_BYTES, words: new Int32Array(0) }
  /** What is read and used for nothing need not be read: what is fetched ahead is written here. */
  readonly #sink = new Int32Array(1)

  /** For at most `capacity` rows at a time. */
  constructor(capacity: number) {
    const slots = 2 ** (33 - Math.clz32(capacity))
    this.#mask = slots - 1
    this.#capacity = capacity
    this.#end = Math.max(LEAST_ROOM, ROOM * capacity) / WORD_BYTES
    const memory = takeMemory(this.#end + LINES * LINE_WORDS, FIELDS * slots)
    this.#memory = memory
    this.#words = memory.rows
    this.#bytes = memory.bytes
    this.#table = memory.table.subarray(0, FIELDS * slots)
  }

  /** Leaves the memory to those who come next. These rows must not be used any more. */
  release(): void {
    free = new WeakRef(this.#memory)
  }

  /**
   * Takes in the first rows of a range, in place of those that were there, to look for so many keys.
   *
   * @throws {DataIntegrityError} if a record is damaged; {@link UNFIT}
   */
  take(view: View, range: ScanRange, lookups: number): Taken {
    this.#clear(lookups)
    let bytes = 0
    let rest: ScanRange | undefined = range
    while (rest !== undefined) {
      let last: Uint8Array | undefined
      let refused: Uint8Array | undefined
      const more: boolean | undefined = view.visit?.('live', rest, (key, record, length) => {
        if (refused !== undefined) return
        if (this.#add(key, record, length)) {
          last = key
          bytes += length
        } else refused = Buffer.from(key)
      })
      if (refused !== undefined) {
        rest = { gte: refused }
        break
      }
      rest = more === true && last !== undefined ? { gt: Buffer.from(last) } : undefined
    }
    this.#enter()
    return { bytes, rest }
  }

  /** What {@link StoredRows.lookUp} looks for a key by. @throws {InvalidKeyError} */
  hashOf(name: string): number {
    const { length } = name
    let hash = this.#seed
    for (let i = 0; i < length; i++) {
      const unit = name.charCodeAt(i)
      if (unit >= FIRST_LONG_UNIT) return this.#hashOfBytes(encodeKey(name))
      hash = withByte(hash, unit)
    }
    return mixed(hash)
  }

  #hashOfBytes(key: Uint8Array): number {
    let hash = this.#seed
    for (let i = 0; i < key.length; i++) hash = withByte(hash, key[i] as number)
    return mixed(hash)
  }

  /**
   * Says for each of the first `count` hashes at which word a row begins whose key has it, or -1 where there is none.
   *
   * @throws {UNFIT}
   */
  lookUp(hashes: Int32Array, count: number, rows: Int32Array): void {
    this.#fetchSlots(hashes, count)
    for (let i = 0; i < count; i++) rows[i] = this.#rowWith(hashes[i] as number)
    let fetched = 0
    for (let i = 0; i < count; i++) {
      const row = rows[i] as number
      if (row < 0) continue
      for (let line = 0; line < LINES; line++) fetched ^= this.#words[row + line * LINE_WORDS] as number
    }
    this.#sink[0] = fetched
  }

  /**
   * The row under a key, which counts as found from then on, or -1. {@link lookUp} has found one with the same hash: of a
   * million keys, some hundreds share theirs with another.
   *
   * @throws {UNFIT}
   */
  find(name: string, hash: number, likely: number): number {
    const row = this.#isUnder(name, likely) ? likely : this.#rowUnder(name, hash)
    if (row >= 0) this.#markFound(row)
    return row
  }

  /** The bytes of the text that is stored in a row, if a value is surely what it says; else -1. */
  matchedBytes(row: number, value: unknown): number {
    const word = this.#words[row] as number
    if ((word & (LEFT_BIT | CLONE_BIT)) !== 0) return -1
    const record = WORD_BYTES * recordAt(row, word & KEY_MASK)
    const start = record + ((word >>> START_SHIFT) & START_MASK)
    const end = record + ((word >>> END_SHIFT) & END_MASK)
    return isSurelyJsonOf(value, this.#bytes, start, end) ? end - start : -1
  }

  /** The value that is stored in a row; `undefined` where it was left in the store. */
  valueAt(row: number): EncodedValue | undefined {
    const word = this.#words[row] as number
    if ((word & LEFT_BIT) !== 0) return undefined
    const record = WORD_BYTES * recordAt(row, word & KEY_MASK)
    const start = record + ((word >>> START_SHIFT) & START_MASK)
    const end = record + ((word >>> END_SHIFT) & END_MASK)
    return {
      codec: (word & CLONE_BIT) === 0 ? JSON_CODEC : V8_CODEC,
      bytes: Buffer.from(this.#bytes.subarray(start, end)),
    }
  }

  /** The keys of the rows that were not found. */
  *unfound(): Generator<Uint8Array, void, undefined> {
    if (this.#found === this.#size) return
    for (let row = 0; row < this.#used; ) {
      const word = this.#words[row] as number
      const start = WORD_BYTES * (row + 1)
      if ((word & FOUND_BIT) === 0) yield Buffer.from(this.#bytes.subarray(start, start + (word & KEY_MASK)))
      row = recordAt(row, word & KEY_MASK) + wordsOf(((word >>> END_SHIFT) & END_MASK) + 1)
    }
  }

  #clear(lookups: number): void {
    this.#table.fill(0)
    this.#used = 0
    this.#size = 0
    this.#found = 0
    this.#newCount = 0
    this.#probesLeft = MOST_PROBES * (this.#capacity + lookups + 100)
  }

  /** Adds the row whose record is the first `length` bytes of a buffer; answers whether there was room for it. */
  #add(key: Uint8Array, record: Uint8Array, length: number): boolean {
    const end = length - CHECKSUM_BYTES
    const codec = record[0]
    const isLeft = end > MOST_COPIED || (codec !== JSON_CODEC && codec !== V8_CODEC)
    const copied = isLeft ? 0 : end
    const row = this.#used
    const at = recordAt(row, key.length)
    const next = at + wordsOf(copied + 1)
    if (next > this.#end || this.#size === this.#capacity) return false
    const start = isLeft ? payloadStart(key, record, length) : this.#copyRecord(key, record, length, at)
    this.#words[row] =
      key.length |
      (start << START_SHIFT) |
      (copied << END_SHIFT) |
      (codec === V8_CODEC ? CLONE_BIT : 0) |
      (isLeft ? LEFT_BIT : 0)
    // What follows a number must not look as if it went on.
    this.#bytes[WORD_BYTES * at + copied] = 0
    this.#used = next
    this.#size++
    if (this.#newCount === ENTERED) this.#enter()
    this.#newRows[this.#newCount] = row
    this.#newHashes[this.#newCount++] = this.#copyKey(key, WORD_BYTES * (row + 1))
    return true
  }

  /** Copies a key; answers its hash. */
  #copyKey(key: Uint8Array, at: number): number {
    let hash = this.#seed
    for (let i = 0; i < key.length; i++) {
      const byte = key[i] as number
      this.#bytes[at + i] = byte
      hash = withByte(hash, byte)
    }
    return mixed(hash)
  }

  /** Copies a record, by words where its buffer allows it; answers where its payload begins. */
  #copyRecord(key: Uint8Array, record: Uint8Array, length: number, at: number): number {
    if (record !== this.#shown.bytes) this.#shown = { bytes: record, words: wordsIn(record) }
    if (wordsOf(length) <= this.#shown.words.length)
      return copyRecord(key, this.#shown, length, this.#words, at)
    const start = payloadStart(key, record, length)
    copyBytes(record, 0, length, this.#bytes, WORD_BYTES * at)
    return start
  }

  /** Enters the rows that are new into the table. */
  #enter(): void {
    const count = this.#newCount
    this.#newCount = 0
    this.#fetchSlots(this.#newHashes, count)
    for (let i = 0; i < count; i++) {
      const hash = this.#newHashes[i] as number
      const slot = this.#freeSlot(hash)
      this.#table[slot] = hash
      this.#table[slot + 1] = (this.#newRows[i] as number) + 1
    }
  }

  #fetchSlots(hashes: Int32Array, count: number): void {
    const table = this.#table
    const mask = this.#mask
    let fetched = 0
    for (let i = 0; i < count; i++) fetched ^= table[FIELDS * ((hashes[i] as number) & mask)] as number
    this.#sink[0] = fetched
  }

  #freeSlot(hash: number): number {
    for (let place = hash; ; place++) {
      if (--this.#probesLeft < 0) throw UNFIT
      const slot = FIELDS * (place & this.#mask)
      if (this.#table[slot + 1] === 0) return slot
    }
  }

  #markFound(row: number): void {
    const word = this.#words[row] as number
    if ((word & FOUND_BIT) === 0) this.#found++
    this.#words[row] = word | FOUND_BIT
  }

  #isUnder(name: string, row: number): boolean {
    const length = (this.#words[row] as number) & KEY_MASK
    const start = WORD_BYTES * (row + 1)
    for (let i = 0; i < name.length; i++) {
      const unit = name.charCodeAt(i)
      if (unit >= FIRST_LONG_UNIT) return this.#isUnderBytes(encodeKey(name), row)
      if (this.#bytes[start + i] !== unit) return false
    }
    return name.length === length
  }

  #isUnderBytes(key: Uint8Array, row: number): boolean {
    const start = WORD_BYTES * (row + 1)
    const end = start + ((this.#words[row] as number) & KEY_MASK)
    return this.#bytes.compare(key, 0, key.length, start, end) === 0
  }

  #rowUnder(name: string, hash: number): number {
    for (let place = hash; ; place++) {
      if (--this.#probesLeft < 0) throw UNFIT
      const slot = FIELDS * (place & this.#mask)
      const row = (this.#table[slot + 1] as number) - 1
      if (row < 0 || (this.#table[slot] === hash && this.#isUnder(name, row))) return row
    }
  }

  #rowWith(hash: number): number {
    for (let place = hash; ; place++) {
      if (--this.#probesLeft < 0) throw UNFIT
      const slot = FIELDS * (place & this.#mask)
      const row = (this.#table[slot + 1] as number) - 1
      if (row < 0 || this.#table[slot] === hash) return row
    }
  }
}

/** What rows are taken into. */
interface Memory {
  readonly rows: Int32Array
  /** The same memory. */
  readonly bytes: Buffer
  readonly table: Int32Array
}

/**
 * Memory that is in use no more, as long as it has not been collected: to be given new pages by the system takes a fifth of the
 * time in which rows are taken in.
 */
let free: WeakRef<Memory> | undefined

/** A state that grows or shrinks a little has room in the memory that it had; one that is much smaller is not to keep it. */
const SPARE = 1.25
const MOST_SPARE = 2

/** Memory with room for so many words of rows and of a table, whatever they hold. */
function takeMemory(rowWords: number, tableWords: number): Memory {
  const found = free?.deref()
  free = undefined
  if (found !== undefined && fits(found.rows, rowWords) && fits(found.table, tableWords)) return found
  const rows = newWords(Math.ceil(SPARE * rowWords))
  return { rows, bytes: Buffer.from(rows.buffer), table: newWords(tableWords) }
}

function fits(words: Int32Array, count: number): boolean {
  return words.length >= count && words.length <= MOST_SPARE * count
}

/**
 * Of a shared buffer, whose memory V8 does not count. For that of others it collects garbage: twice while a million rows were
 * taken in, and each time for as long as the rest of the comparison took.
 */
function newWords(count: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(WORD_BYTES * count))
}

/** FNV-1a, … */
function withByte(hash: number, byte: number): number {
  return Math.imul(hash ^ byte, 0x01000193)
}

/** … and its bits mixed as in MurmurHash3, so that the lowest ones may choose a slot. */
function mixed(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}

/** The whole words of some bytes; none where they do not begin at a word of their buffer, or a word has its highest byte first. */
function wordsIn({ buffer, byteOffset, byteLength }: Uint8Array): Int32Array {
  if (!IS_LITTLE_ENDIAN || byteOffset % WORD_BYTES !== 0) return new Int32Array(0)
  return new Int32Array(buffer, byteOffset, Math.floor(byteLength / WORD_BYTES))
}

function wordsOf(bytes: number): number {
  return (bytes + WORD_BYTES - 1) >>> 2
}

/** Where the record begins of a row with a key of so many bytes. */
function recordAt(row: number, keyBytes: number): number {
  return row + 1 + wordsOf(keyBytes)
}
