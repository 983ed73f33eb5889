import { copyOfBytes, EMPTY_BYTES } from '../../core/bytes.ts'
import { briefKey } from '../../core/key.ts'
import type { FloorQuery, Page, Row, RowVisitor, ScanRange } from '../engine.ts'
import { boundsOf, PAGE_BYTES, PAGE_ROWS } from '../scan.ts'
import { foundValues, keyBuffer, type Lmdb, type ReadTransaction, type TableHandle } from './binding.ts'

/** Flags of lmdb-js's `position`: with the value, and backwards from the key. */
const WITH_VALUE = 0x100
const BACKWARDS = 0x400
/** Where a cursor puts the key that it finds, in the buffer of keys. */
const KEY_AT = 32

/** What a lookup has found: a row, or that there is none. */
export interface Found {
  readonly row: Row | undefined
}

const NOTHING: Found = { row: undefined }

/**
 * A cursor in one table of a read transaction. It is opened once: a range of lmdb-js opens one each time, which takes longer
 * than to find a row, and makes several objects a row.
 *
 * Its answers are `undefined` where lmdb-js has to be asked in its own way: for values that are too long for its buffer, and
 * for the reason of an error.
 */
export class ReadCursor {
  readonly #lmdb: Lmdb['nativeAddon']
  readonly #cursor: InstanceType<Lmdb['nativeAddon']['Cursor']>

  constructor({ nativeAddon }: Lmdb, handle: TableHandle, { native }: ReadTransaction) {
    this.#lmdb = nativeAddon
    this.#cursor = new nativeAddon.Cursor(handle.db, native.address)
  }

  seek({ key, min }: FloorQuery): Found | undefined {
    const keys = keyBuffer()
    if (keys === undefined) return undefined
    keys.bytes.set(key)
    const found = this.#lmdb.position(this.#cursor.address, WITH_VALUE | BACKWARDS, 0, key.byteLength, 0)
    if (found === 0) return NOTHING
    const values = foundValues()
    if (!isShown(found, keys.numbers, values)) return undefined
    if (isBelow(keys.bytes, found, min)) return NOTHING
    return {
      row: {
        key: copyOfBytes(keys.bytes, KEY_AT, KEY_AT + found),
        value: copyOfBytes(values, 0, keys.numbers[0] as number),
      },
    }
  }

  /** A page of rows. */
  scan(range: ScanRange): Page | undefined {
    const rows: Row[] = []
    const more = this.visit(range, (key, value, length) =>
      rows.push({
        key: copyOfBytes(key, 0, key.length),
        value: length === 0 ? EMPTY_BYTES : copyOfBytes(value, 0, length),
      }),
    )
    return more === undefined ? undefined : { rows, more }
  }

  /** Shows the rows of a page; answers whether there are more. */
  visit(range: ScanRange, visit: RowVisitor): boolean | undefined {
    const buffer = keyBuffer()
    if (buffer === undefined) return undefined
    const { bytes: keys, numbers } = buffer
    const { reverse = false, keysOnly = false } = range
    const { lower, upper } = boundsOf(range)
    // No key is below an empty one. To LMDB it would mean that there is no bound.
    if (upper?.key.byteLength === 0) return false
    const [first, last] = reverse ? [upper, lower] : [lower, upper]
    if (first !== undefined) keys.set(first.key)
    const { position, iterate } = this.#lmdb
    const { address } = this.#cursor
    const mostRows = Math.min(range.limit ?? PAGE_ROWS, PAGE_ROWS)
    const flags = (keysOnly ? 0 : WITH_VALUE) | (reverse ? BACKWARDS : 0)
    const values = keysOnly ? EMPTY_BYTES : foundValues()
    let rows = 0
    let bytes = 0
    let found = position(address, flags, 0, first?.key.byteLength ?? 0, 0)
    if (found > 0 && first?.inclusive === false && isFound(keys, found, first.key)) found = iterate(address)
    for (; found !== 0; found = iterate(address)) {
      const length = keysOnly ? 0 : (numbers[0] as number)
      if (keysOnly ? found < 0 : !isShown(found, numbers, values)) return rows === 0 ? undefined : true
      const end = KEY_AT + found
      if (last !== undefined) {
        const order = keys.compare(last.key, 0, last.key.byteLength, KEY_AT, end)
        if (reverse ? order < 0 : order > 0) return false
        if (order === 0 && !last.inclusive) return false
      }
      visit(briefKey(keys, KEY_AT, end), values, length)
      rows++
      bytes += found + length
      if (rows >= mostRows || bytes >= PAGE_BYTES) return true
    }
    return false
  }

  /** To be called before its transaction is reset or ended. */
  close(): void {
    this.#cursor.close()
  }
}

/** Whether a row was found whose value is all in the buffer of values. */
function isShown(found: number, numbers: Uint32Array, values: Uint8Array): boolean {
  // The second number says where the value is, if not there.
  return found > 0 && numbers[1] === 0 && (numbers[0] as number) <= values.length
}

function isFound(keys: Buffer, length: number, key: Uint8Array): boolean {
  return keys.compare(key, 0, key.byteLength, KEY_AT, KEY_AT + length) === 0
}

/** Whether the key that was found is below another: by hand, as keys are short, and most differ in their last bytes. */
function isBelow(keys: Uint8Array, length: number, min: Uint8Array): boolean {
  const both = Math.min(length, min.byteLength)
  for (let i = 0; i < both; i++) {
    const difference = (keys[KEY_AT + i] as number) - (min[i] as number)
    if (difference !== 0) return difference < 0
  }
  return length < min.byteLength
}
