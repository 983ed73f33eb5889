import { assertKey, compareKeys } from '../core/key.ts'
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
 * A whole state, encoded: its keys in key order, and their values one after the other in large slabs.
 *
 * A value takes some bytes beside its own. As an object of its own it would take several times as much as most values.
 */
export class EncodedState {
  /** In key order, as the store has them. */
  readonly keys: readonly string[]
  readonly #slabs: Buffer[] = []
  /** How much of the last slab is taken. */
  #used = SLAB_BYTES
  readonly #places: Uint32Array
  #count = 0

  private constructor(keys: readonly string[]) {
    this.keys = keys
    this.#places = new Uint32Array(FIELDS * keys.length)
  }

  /**
   * Encodes the properties of an object. `each` is to call what it is given with the value, and may say in what is thrown
   * of which key it is.
   *
   * @throws {InvalidKeyError} for a property that cannot be a key
   */
  static of(
    data: Readonly<Record<string, unknown>>,
    each: (key: string, value: unknown, add: (value: unknown) => void) => void,
  ): EncodedState {
    const keys = Object.keys(data)
    for (const key of keys) assertKey(key)
    sortKeys(keys)
    const state = new EncodedState(keys)
    const add = (value: unknown): void => state.#add(value)
    for (const key of keys) each(key, data[key], add)
    return state
  }

  /** The bytes of all values. */
  get bytes(): number {
    let bytes = 0
    for (let i = 2; i < this.#places.length; i += FIELDS) bytes += (this.#places[i] as number) >>> 1
    return bytes
  }

  /** The place of a key; -1 if there is none. */
  indexOf(key: string): number {
    let low = 0
    let high = this.keys.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareKeys(this.keys[middle] as string, key) < 0) low = middle + 1
      else high = middle
    }
    return this.keys[low] === key ? low : -1
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

  #add(value: unknown): void {
    const text = exactText(value)
    if (text === undefined) {
      const { bytes } = encodeValue(value)
      this.#reserve(bytes.byteLength).set(bytes, this.#used)
      this.#note(bytes.byteLength, V8_CODEC)
      return
    }
    // A UTF-16 unit becomes three bytes at most.
    const most = 3 * text.length
    const slab = this.#reserve(most <= SLAB_BYTES ? most : Buffer.byteLength(text))
    this.#note(slab.write(text, this.#used), JSON_CODEC)
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

  #note(length: number, codec: EncodedValue['codec']): void {
    const at = FIELDS * this.#count++
    this.#places[at] = this.#slabs.length - 1
    this.#places[at + 1] = this.#used
    this.#places[at + 2] = 2 * length + (codec === JSON_CODEC ? 0 : 1)
    this.#used += length
  }
}

/** The order of keys differs from that of strings in surrogates alone, and strings are sorted sooner. */
function sortKeys(keys: string[]): void {
  if (isAscending(keys)) return
  if (keys.some(key => SURROGATE.test(key))) keys.sort(compareKeys)
  else keys.sort()
}

const SURROGATE = /[\ud800-\udfff]/

function isAscending(keys: readonly string[]): boolean {
  for (let i = 1; i < keys.length; i++) {
    if (compareKeys(keys[i - 1] as string, keys[i] as string) > 0) return false
  }
  return true
}
