import { randomInt } from 'node:crypto'
import { isSurelyJsonOf } from '../core/json-match.ts'
import { type EncodedValue, JSON_CODEC, V8_CODEC } from '../core/value-codec.ts'
import { CHECKSUM_BYTES, payloadStart } from '../history/record.ts'

const SLAB_BITS = 20
const SLAB_BYTES = 1 << SLAB_BITS
/** Where rows begin is told in 32 bits. */
const MAX_SLABS = 2 ** (32 - SLAB_BITS)

/** Of each slot: where its row begins, over all slabs, and a tag, which is 0 where the slot is free. */
const FIELDS = 2
/** A tag: the length of the key, that of the payload, its codec, whether the row was found, and a part of the hash. */
const KEY_MASK = 0x7ff
const PAYLOAD_SHIFT = 11
const PAYLOAD_MASK = 0x3ff
const CLONE_BIT = 1 << 21
const FOUND_BIT = 1 << 22
const HASH_MASK = 0xff800000
/** The length of payloads that are left in the store: the long ones, and those that are deflated. */
const LEFT = PAYLOAD_MASK

/** So many slots are looked at for each key on average; more are, where keys were made up to fall on one another. */
const MOST_PROBES = 8

/** Thrown where rows do not fit into a table, or keys fall on one another. */
const UNFIT: Error = new Error('varve: these rows cannot be searched in memory')

/**
 * The current rows of a store, to be met in any order of their keys.
 *
 * A state is looked through in the order of its own properties: in that its values were mostly made, so that they lie one
 * after the other in memory. To meet them in key order takes twice as long. Rows are copied into a few large slabs, and
 * a table says by the hash of a key where its row is. None has an object or a string of its own.
 */
export class StoredRows {
  readonly #slabs: Buffer[] = []
  /** How much of the last slab is taken. */
  #used = SLAB_BYTES
  readonly #table: Uint32Array
  readonly #mask: number
  readonly #capacity: number
  readonly #seed = randomInt(2 ** 32)
  #probesLeft: number
  #size = 0
  #found = 0

  /** `rows` is how many there will be, `lookups` how many keys will be looked for. */
  constructor(rows: number, lookups: number) {
    const slots = 2 ** Math.max(4, 32 - Math.clz32(2 * rows))
    this.#table = new Uint32Array(FIELDS * slots)
    this.#mask = slots - 1
    this.#capacity = rows
    this.#probesLeft = MOST_PROBES * (rows + lookups + 100)
  }

  /** Whether every row was found. */
  get isFound(): boolean {
    return this.#found === this.#size
  }

  /**
   * Adds the row whose record is the first `length` bytes of a buffer.
   *
   * @throws {DataIntegrityError} if the record is damaged; {@link UNFIT}
   */
  add(key: Uint8Array, record: Uint8Array, length: number): void {
    if (this.#size === this.#capacity) throw UNFIT
    const start = payloadStart(key, record, length)
    const end = length - CHECKSUM_BYTES
    const codec = record[0]
    const isLeft = end - start >= LEFT || (codec !== JSON_CODEC && codec !== V8_CODEC)
    const keyBytes = key.byteLength
    const hash = hashOf(key, this.#seed)
    const slab = this.#reserve(keyBytes + (isLeft ? 0 : end - start))
    const position = (this.#slabs.length - 1) * SLAB_BYTES + this.#used
    let at = this.#used
    for (let i = 0; i < keyBytes; i++) slab[at++] = key[i] as number
    if (!isLeft) for (let i = start; i < end; i++) slab[at++] = record[i] as number
    this.#used = at
    const slot = this.#freeSlot(hash)
    this.#table[slot] = position
    this.#table[slot + 1] =
      keyBytes |
      ((isLeft ? LEFT : end - start) << PAYLOAD_SHIFT) |
      (codec === V8_CODEC ? CLONE_BIT : 0) |
      (hash & HASH_MASK)
    this.#size++
  }

  /** The slot of the row under a key, which counts as found from then on; -1 if there is none. @throws {UNFIT} */
  find(key: Uint8Array): number {
    const hash = hashOf(key, this.#seed)
    const wanted = key.byteLength | (hash & HASH_MASK)
    for (let place = hash; ; place++) {
      if (--this.#probesLeft < 0) throw UNFIT
      const slot = FIELDS * (place & this.#mask)
      const tag = this.#table[slot + 1] as number
      if (tag === 0) return -1
      if (((tag ^ wanted) & (KEY_MASK | HASH_MASK)) !== 0 || !this.#isAt(slot, key)) continue
      if ((tag & FOUND_BIT) === 0) this.#found++
      this.#table[slot + 1] = tag | FOUND_BIT
      return slot
    }
  }

  /** The bytes of the text that is stored in a slot, if a value is surely what it says; else -1. */
  matchedBytes(slot: number, value: unknown): number {
    const tag = this.#table[slot + 1] as number
    const length = (tag >>> PAYLOAD_SHIFT) & PAYLOAD_MASK
    if (length === LEFT || (tag & CLONE_BIT) !== 0) return -1
    const start = this.#offset(slot) + (tag & KEY_MASK)
    return isSurelyJsonOf(value, this.#slab(slot), start, start + length) ? length : -1
  }

  /** The value that is stored in a slot; `undefined` where it was left in the store. */
  valueAt(slot: number): EncodedValue | undefined {
    const tag = this.#table[slot + 1] as number
    const length = (tag >>> PAYLOAD_SHIFT) & PAYLOAD_MASK
    if (length === LEFT) return undefined
    const start = this.#offset(slot) + (tag & KEY_MASK)
    return {
      codec: (tag & CLONE_BIT) === 0 ? JSON_CODEC : V8_CODEC,
      bytes: this.#slab(slot).subarray(start, start + length),
    }
  }

  /** The keys of the rows that were not found. */
  *unfound(): Generator<Uint8Array, void, undefined> {
    for (let slot = 0; slot < this.#table.length; slot += FIELDS) {
      const tag = this.#table[slot + 1] as number
      if (tag === 0 || (tag & FOUND_BIT) !== 0) continue
      const start = this.#offset(slot)
      yield Buffer.from(this.#slab(slot).subarray(start, start + (tag & KEY_MASK)))
    }
  }

  #slab(slot: number): Buffer {
    return this.#slabs[(this.#table[slot] as number) >>> SLAB_BITS] as Buffer
  }

  #offset(slot: number): number {
    return (this.#table[slot] as number) & (SLAB_BYTES - 1)
  }

  #isAt(slot: number, key: Uint8Array): boolean {
    const slab = this.#slab(slot)
    const start = this.#offset(slot)
    for (let i = 0; i < key.byteLength; i++) if (slab[start + i] !== key[i]) return false
    return true
  }

  #freeSlot(hash: number): number {
    for (let place = hash; ; place++) {
      if (--this.#probesLeft < 0) throw UNFIT
      const slot = FIELDS * (place & this.#mask)
      if (this.#table[slot + 1] === 0) return slot
    }
  }

  /** The slab in which so many bytes are free. */
  #reserve(bytes: number): Buffer {
    const last = this.#slabs.at(-1)
    if (last !== undefined && this.#used + bytes <= SLAB_BYTES) return last
    if (this.#slabs.length === MAX_SLABS) throw UNFIT
    const slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
    this.#slabs.push(slab)
    this.#used = 0
    return slab
  }
}

/** FNV-1a from a seed, whose bits are then mixed as in MurmurHash3, so that the lowest ones may choose a slot. */
function hashOf(key: Uint8Array, seed: number): number {
  let hash = seed
  for (let i = 0; i < key.byteLength; i++) hash = Math.imul(hash ^ (key[i] as number), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
