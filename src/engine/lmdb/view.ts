import type { RangeOptions, Transaction } from 'lmdb'
import { EMPTY_BYTES } from '../../core/bytes.ts'
import { EngineError } from '../../core/errors.ts'
import type {
  FloorQuery,
  Page,
  Peeked,
  Row,
  RowVisitor,
  ScanRange,
  Table,
  ValueVisitor,
  View,
} from '../engine.ts'
import { boundsOf, fillPage } from '../scan.ts'
import { lookUp, peek, type TableHandle, type TableHandles } from './binding.ts'
import { toEngineError } from './errors.ts'
import type { ReadCursor } from './read-cursor.ts'

/** What a view reads through. */
export interface ViewSource {
  readonly path: string
  readonly tables: TableHandles
  /** Absent: the write transaction that the handle has under way. */
  readonly transaction?: Transaction
  /** Opens a cursor in the transaction. */
  openCursor?(handle: TableHandle): ReadCursor
  /** Throws where the engine has been closed since the view was opened. */
  assertOpen(): void
  release(cursors: Iterable<ReadCursor>): void
}

/** A view of a read transaction, or of the write transaction that a builder runs in. */
export class LmdbView implements View {
  readonly #source: ViewSource
  readonly #options: { readonly transaction?: Transaction }
  readonly #cursors = new Map<TableHandle, ReadCursor>()
  #closed = false

  constructor(source: ViewSource) {
    this.#source = source
    this.#options = source.transaction ? { transaction: source.transaction } : {}
  }

  get(table: Table, key: Uint8Array): Uint8Array | undefined {
    const handle = this.#handle(table)
    try {
      return lookUp(handle, key, this.#options)
    } catch (error) {
      throw this.#readError(error)
    }
  }

  getMany(table: Table, keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    const handle = this.#handle(table)
    const options = this.#options
    try {
      return keys.map(key => lookUp(handle, key, options))
    } catch (error) {
      throw this.#readError(error)
    }
  }

  visitMany(table: Table, keys: readonly Uint8Array[], visit: ValueVisitor): void {
    const handle = this.#handle(table)
    for (let i = 0; i < keys.length; i++) {
      const found = this.#peek(handle, keys[i] as Uint8Array)
      if (found !== undefined) visit(i, found.bytes, found.length)
    }
  }

  #peek(handle: TableHandle, key: Uint8Array): Peeked | undefined {
    try {
      return peek(handle, key, this.#options)
    } catch (error) {
      throw this.#readError(error)
    }
  }

  seek(table: Table, query: FloorQuery): Row | undefined {
    return this.#floor(this.#handle(table), query)
  }

  seekMany(table: Table, queries: readonly FloorQuery[]): (Row | undefined)[] {
    const handle = this.#handle(table)
    return queries.map(query => this.#floor(handle, query))
  }

  scan(table: Table, range: ScanRange): Page {
    const handle = this.#handle(table)
    const { lower, upper } = boundsOf(range)
    // No key is below an empty one. To LMDB it would mean that there is no bound.
    if (upper?.key.byteLength === 0) return { rows: [], more: false }
    const page = this.#cursor(handle)?.scan(range)
    if (page !== undefined) return page
    const [first, last] = range.reverse ? [upper, lower] : [lower, upper]
    const options = this.#range(range.reverse === true, first?.key, last?.key)
    options.exclusiveStart = first?.inclusive === false
    options.inclusiveEnd = last?.inclusive !== false
    try {
      const rows = range.keysOnly
        ? handle.getKeys(options).map(key => ({ key, value: EMPTY_BYTES }))
        : handle.getRange(options)
      return fillPage(rows, range.limit)
    } catch (error) {
      throw this.#readError(error)
    }
  }

  visit(table: Table, range: ScanRange, visit: RowVisitor): boolean {
    const handle = this.#handle(table)
    const more = this.#cursor(handle)?.visit(range, visit)
    if (more !== undefined) return more
    const page = this.scan(table, range)
    for (const { key, value } of page.rows) visit(key, value, value.byteLength)
    return page.more
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#source.release(this.#cursors.values())
  }

  #handle(table: Table): TableHandle {
    this.#source.assertOpen()
    if (this.#closed) throw new EngineError('The view is closed; open another with read().')
    return this.#source.tables[table]
  }

  #floor(handle: TableHandle, query: FloorQuery): Row | undefined {
    const { key, min } = query
    if (key.byteLength === 0) return undefined
    try {
      const found = this.#cursor(handle)?.seek(query)
      if (found !== undefined) return found.row
      const options = this.#range(true, key, min.byteLength === 0 ? undefined : min)
      options.inclusiveEnd = true
      options.limit = 1
      for (const row of handle.getRange(options)) return row
      return undefined
    } catch (error) {
      throw this.#readError(error)
    }
  }

  #cursor(handle: TableHandle): ReadCursor | undefined {
    let cursor = this.#cursors.get(handle)
    if (cursor === undefined) {
      cursor = this.#source.openCursor?.(handle)
      if (cursor !== undefined) this.#cursors.set(handle, cursor)
    }
    return cursor
  }

  /**
   * An end that is open is left out. lmdb-js then takes the lowest key that there can be, [0], where it needs one:
   * `exclusiveStart` must be off, and `inclusiveEnd` on.
   */
  #range(reverse: boolean, start: Uint8Array | undefined, end: Uint8Array | undefined): RangeOptions {
    const options: RangeOptions = { reverse }
    if (this.#source.transaction) options.transaction = this.#source.transaction
    if (start) options.start = start
    if (end) options.end = end
    return options
  }

  #readError(error: unknown): EngineError {
    return toEngineError(error, 'read', this.#source.path)
  }
}
