import { toByteString } from '../core/bytes.ts'
import { encodedEqual, encodeValue } from '../core/value-codec.ts'
import type { View } from '../engine/engine.ts'
import type { History } from '../history/history.ts'
import type { Target } from '../history/patch-buffer.ts'
import { fromPayload, type Payload, parseRecord, toPayload } from '../history/record.ts'
import type { StoredRows } from './stored-rows.ts'

/** How a value is encoded that stands under a key: what is thrown may say so. */
export type EncodeUnder = <T>(key: string, value: unknown, encode: (value: unknown) => T) => T

/** So many properties are looked for at a time: their rows fit into the first caches of the processor. */
const BLOCK = 128

/** Compares a state with rows of a store, and gathers in what it differs. */
export class StateComparison {
  /** What is to be set or deleted so far, by the bytes of the key. */
  readonly changes = new Map<string, Target>()
  readonly #history: History
  readonly #view: View
  readonly #data: Readonly<Record<string, unknown>>
  readonly #compression: boolean
  readonly #encodeUnder: EncodeUnder
  #bytes = 0
  #changedBytes = 0
  /** Of the properties that are looked for: the hash of the key, the row, and the value. */
  readonly #hashes = new Int32Array(BLOCK)
  readonly #rows = new Int32Array(BLOCK)
  readonly #values = Array.from<unknown>({ length: BLOCK })

  constructor(
    history: History,
    view: View,
    data: Readonly<Record<string, unknown>>,
    compression: boolean,
    encodeUnder: EncodeUnder,
  ) {
    this.#history = history
    this.#view = view
    this.#data = data
    this.#compression = compression
    this.#encodeUnder = encodeUnder
  }

  /** The bytes of all values of the state so far, encoded. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether more differs than a patch in memory holds. */
  get isTooMuch(): boolean {
    const { patchKeys, patchBytes } = this.#history.limits
    return this.changes.size >= patchKeys || this.#changedBytes >= patchBytes
  }

  /** Compares the properties that have a row among these, as long as not too much differs; answers the names of the others. */
  compare(names: readonly string[], rows: StoredRows): readonly string[] {
    const others: string[] = []
    for (let start = 0; start < names.length && !this.isTooMuch; start += BLOCK)
      this.#compareBlock(names, start, Math.min(BLOCK, names.length - start), rows, others)
    return others
  }

  /** Sets what the store lacks, as long as it is not too much. */
  add(names: readonly string[]): void {
    for (const name of names) {
      if (this.isTooMuch) return
      const encoded = this.#encode(name, this.#data[name])
      this.#change(this.#history.keys.encode(name), toPayload(encoded, this.#compression))
    }
  }

  /** Deletes what the state lacks, as long as it is not too much. */
  delete(keys: Iterable<Uint8Array>): void {
    for (const key of keys) {
      if (this.isTooMuch) return
      this.#change(key, undefined)
    }
  }

  /** One thing after the other for all of them: the processor then waits for the memory of many at a time. */
  #compareBlock(
    names: readonly string[],
    start: number,
    count: number,
    rows: StoredRows,
    others: string[],
  ): void {
    const data = this.#data
    for (let i = 0; i < count; i++) this.#hashes[i] = rows.hashOf(names[start + i] as string)
    rows.lookUp(this.#hashes, count, this.#rows)
    for (let i = 0; i < count; i++)
      if ((this.#rows[i] as number) >= 0) this.#values[i] = data[names[start + i] as string]
    for (let i = 0; i < count; i++) {
      const name = names[start + i] as string
      const likely = this.#rows[i] as number
      const row = likely < 0 ? -1 : rows.find(name, this.#hashes[i] as number, likely)
      if (row < 0) {
        others.push(name)
        continue
      }
      const value = this.#values[i]
      const matched = rows.matchedBytes(row, value)
      if (matched < 0) this.#compareEncoded(name, value, rows, row)
      else this.#bytes += matched
    }
  }

  #compareEncoded(name: string, value: unknown, rows: StoredRows, row: number): void {
    const encoded = this.#encode(name, value)
    const key = this.#history.keys.encode(name)
    const stored = rows.valueAt(row) ?? this.#storedAt(key)
    if (stored === undefined || !encodedEqual(stored, encoded))
      this.#change(key, toPayload(encoded, this.#compression))
  }

  #encode(name: string, value: unknown): ReturnType<typeof encodeValue> {
    const encoded = this.#encodeUnder(name, value, encodeValue)
    this.#bytes += encoded.bytes.byteLength
    return encoded
  }

  /** What the view, which answers at once, has under a key. */
  #storedAt(key: Uint8Array): ReturnType<typeof fromPayload> | undefined {
    const record = this.#view.get('live', key) as Uint8Array | undefined
    return record && fromPayload(parseRecord(key, record))
  }

  #change(key: Uint8Array, target: Payload | undefined): void {
    this.changes.set(toByteString(key), { key, target })
    this.#changedBytes += key.byteLength + (target?.bytes.byteLength ?? 0)
  }
}
