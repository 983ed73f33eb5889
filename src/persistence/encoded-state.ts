import { fromByteString, toByteString } from '../core/bytes.ts'
import { assertKey, compareKeys, type KeyCodec } from '../core/key.ts'
import {
  type EncodedValue,
  encodedEqual,
  encodeValue,
  exactText,
  JSON_CODEC,
  V8_CODEC,
} from '../core/value-codec.ts'
import { fromPayload, type Payload } from '../history/record.ts'

const SLAB_BYTES = 1024 * 1024
/** Of each value: its slab, where it begins there, and its length with the codec. */
const FIELDS = 3

/**
 * A whole state, encoded: its values one after the other in large slabs, and where they are in the order of the keys as they
 * are stored.
 *
 * Values are read in the order of the object's own properties. So they were mostly made, and lie one after the other in
 * memory: to read a million in the order of their keys takes three times as long. And what V8 makes of strings that were put
 * together of others, when it first reads them, then lies in that order too, in which the next save reads it.
 *
 * A value takes some bytes beside its own. As an object of its own it would take several times as much as most values.
 */
export class EncodedState {
  readonly #codec: KeyCodec
  /** What the keys are compared by: they themselves where they are stored in their order, else how they are stored. */
  readonly #names: readonly string[]
  readonly #slabs: Buffer[] = []
  /** How much of the last slab is taken. */
  #used = SLAB_BYTES
  readonly #places: Uint32Array

  private constructor(codec: KeyCodec, names: readonly string[]) {
    this.#codec = codec
    this.#names = names
    this.#places = new Uint32Array(FIELDS * names.length)
  }

  /**
   * Encodes the properties of an object. `each` is to call what it is given with the value, and may say in what is thrown
   * of which key it is.
   *
   * @throws {InvalidKeyError} for a property that cannot be a key
   */
  static of(
    codec: KeyCodec,
    data: Readonly<Record<string, unknown>>,
    each: (key: string, value: unknown, add: (value: unknown) => void) => void,
  ): EncodedState {
    const keys = Object.keys(data)
    const stored = codec.ordered ? checkedKeys(keys) : keys.map(key => toByteString(codec.encode(key)))
    const order = orderOf(stored)
    const state = new EncodedState(
      codec,
      Array.from(order, index => stored[index] as string),
    )
    const ranks = new Uint32Array(order.length)
    for (let i = 0; i < order.length; i++) ranks[order[i] as number] = i
    let rank = 0
    const add = (value: unknown): void => state.#add(rank, value)
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string
      rank = ranks[i] as number
      each(key, data[key], add)
    }
    return state
  }

  /** How many keys there are. */
  get size(): number {
    return this.#names.length
  }

  /** What a stored key is compared by. */
  nameOf(stored: Uint8Array): string {
    return this.#codec.ordered ? this.#codec.decode(stored) : toByteString(stored)
  }

  /** The `index`-th key, as it is stored. */
  storedKey(index: number): Uint8Array {
    const name = this.#names[index] as string
    return this.#codec.ordered ? this.#codec.encode(name) : fromByteString(name)
  }

  /** Whether the `index`-th key comes before a name (negative), has it (zero), or comes after. */
  compare(index: number, name: string): number {
    const own = this.#names[index] as string
    // Names of stored bytes have no surrogates: they order as strings do.
    return compareKeys(own, name)
  }

  /** The bytes of all values. */
  get bytes(): number {
    let bytes = 0
    for (let i = 2; i < this.#places.length; i += FIELDS) bytes += (this.#places[i] as number) >>> 1
    return bytes
  }

  /** The place of the key that has a name; -1 if there is none. */
  indexOf(name: string): number {
    let low = 0
    let high = this.size
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.compare(middle, name) < 0) low = middle + 1
      else high = middle
    }
    return this.#names[low] === name ? low : -1
  }

  /** The value of the `index`-th key. */
  valueAt(index: number): EncodedValue {
    const { slab, start, length, codec } = this.#placeAt(index)
    return { codec, bytes: slab.subarray(start, start + length) }
  }

  /** Whether the `index`-th key has the value that a payload holds. */
  isEqual(index: number, payload: Payload): boolean {
    const { slab, start, length, codec } = this.#placeAt(index)
    const { bytes } = payload
    if (codec === payload.codec && length === bytes.byteLength) {
      if (slab.compare(bytes, 0, length, start, start + length) === 0) return true
    }
    return encodedEqual(fromPayload(payload), this.valueAt(index))
  }

  #placeAt(index: number): {
    readonly slab: Buffer
    readonly start: number
    readonly length: number
    readonly codec: EncodedValue['codec']
  } {
    const at = FIELDS * index
    const tag = this.#places[at + 2] as number
    return {
      slab: this.#slabs[this.#places[at] as number] as Buffer,
      start: this.#places[at + 1] as number,
      length: tag >>> 1,
      codec: (tag & 1) === 0 ? JSON_CODEC : V8_CODEC,
    }
  }

  #add(index: number, value: unknown): void {
    const text = exactText(value)
    if (text === undefined) {
      const { bytes } = encodeValue(value)
      this.#reserve(bytes.byteLength).set(bytes, this.#used)
      this.#note(index, bytes.byteLength, V8_CODEC)
      return
    }
    // A UTF-16 unit becomes three bytes at most.
    const most = 3 * text.length
    const slab = this.#reserve(most <= SLAB_BYTES ? most : Buffer.byteLength(text))
    this.#note(index, slab.write(text, this.#used), JSON_CODEC)
  }

  /** A slab with room for so many bytes after those that are taken. */
  #reserve(bytes: number): Buffer {
    const last = this.#slabs.at(-1)
    if (last !== undefined && this.#used + bytes <= last.byteLength) return last
    const slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes))
    this.#slabs.push(slab)
    this.#used = 0
    return slab
  }

  #note(index: number, length: number, codec: EncodedValue['codec']): void {
    const at = FIELDS * index
    this.#places[at] = this.#slabs.length - 1
    this.#places[at + 1] = this.#used
    this.#places[at + 2] = 2 * length + (codec === JSON_CODEC ? 0 : 1)
    this.#used += length
  }
}

function checkedKeys(keys: readonly string[]): readonly string[] {
  for (const key of keys) assertKey(key)
  return keys
}

const SURROGATE = /[\ud800-\udfff]/

/** The indices of keys, in the order of the keys. Stored bytes as strings have no surrogates, and order as strings do. */
function orderOf(keys: readonly string[]): Uint32Array {
  const order = Uint32Array.from(keys.keys())
  if (isAscending(keys)) return order
  const at = (index: number): string => keys[index] as string
  // The order of keys differs from that of strings in surrogates alone, and strings are compared sooner.
  if (keys.some(key => SURROGATE.test(key))) return order.sort((a, b) => compareKeys(at(a), at(b)))
  return order.sort((a, b) => (at(a) < at(b) ? -1 : 1))
}

function isAscending(keys: readonly string[]): boolean {
  for (let i = 1; i < keys.length; i++) {
    if (compareKeys(keys[i - 1] as string, keys[i] as string) > 0) return false
  }
  return true
}
