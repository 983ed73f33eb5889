import { EMPTY_BYTES } from '../../core/bytes.ts'
import { EngineError } from '../../core/errors.ts'
import {
  type FloorQuery,
  MAX_KEY_BYTES,
  type Page,
  type Row,
  type ScanRange,
  type Table,
  type View,
} from '../engine.ts'
import { type Bound, boundsOf } from '../scan.ts'
import { decodeBytes, encodeByteArray } from './byte-array.ts'
import type { TextRow } from './session.ts'
import type { Statement, Statements, TableStatements } from './statements.ts'

/** What a view reads through: one transaction. */
export interface ViewSource {
  readonly store: string
  readonly statements: Statements
  run(statement: Statement, values: unknown[]): Promise<readonly TextRow[]>
  /** Throws where the engine has been closed since the view was opened. */
  assertOpen(): void
  release(): void
}

/** A page of a scan ends with the row that fills so many bytes, … */
const PAGE_BYTES = 1 << 20
/** … or after so many rows. */
const MAX_PAGE_ROWS = 4096
/** The first page of a table looks at no more rows than this, until their size is known. */
const FIRST_PAGE_ROWS = 512
/** Every key is below this one. */
const ABOVE_ALL = new Uint8Array(MAX_KEY_BYTES + 1).fill(255)
const ZERO = Uint8Array.of(0)

/** A view of a transaction: one that only reads, or that of a commit before it writes. */
export class PostgresView implements View {
  readonly #source: ViewSource
  /** How many rows the next page of each table is to look at. */
  readonly #pageRows = new Map<Table, number>()
  #closed = false

  constructor(source: ViewSource) {
    this.#source = source
  }

  async get(table: Table, key: Uint8Array): Promise<Uint8Array | undefined> {
    const [row] = await this.#run(this.#table(table).get, key)
    return row && decodeBytes(row[0] as string)
  }

  async getMany(table: Table, keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const { getMany } = this.#table(table)
    const values = new Array<Uint8Array | undefined>(keys.length).fill(undefined)
    if (keys.length === 0) return values
    for (const [i, value] of await this.#run(getMany, encodeByteArray(keys))) {
      values[Number(i) - 1] = decodeBytes(value as string)
    }
    return values
  }

  async seek(table: Table, { key, min }: FloorQuery): Promise<Row | undefined> {
    const [row] = await this.#run(this.#table(table).seek, key, min)
    return row && toRow(row)
  }

  async seekMany(table: Table, queries: readonly FloorQuery[]): Promise<(Row | undefined)[]> {
    const { seekMany } = this.#table(table)
    const found = new Array<Row | undefined>(queries.length).fill(undefined)
    if (queries.length === 0) return found
    const rows = await this.#run(
      seekMany,
      encodeByteArray(queries.map(({ key }) => key)),
      encodeByteArray(queries.map(({ min }) => min)),
    )
    for (const [i, key, value] of rows) found[Number(i) - 1] = toRow([key as string, value as string])
    return found
  }

  async scan(table: Table, range: ScanRange): Promise<Page> {
    const statements = this.#table(table)
    const [from, below] = toInterval(range)
    const most = Math.min(range.limit ?? MAX_PAGE_ROWS, MAX_PAGE_ROWS)
    if (range.keysOnly === true) {
      const { scanKeys, scanKeysReverse } = statements
      const rows = await this.#run(range.reverse ? scanKeysReverse : scanKeys, from, below, most)
      return { rows: rows.map(toKeyRow), more: rows.length >= most }
    }
    const expected = this.#pageRows.get(table) ?? FIRST_PAGE_ROWS
    const looked = Math.min(most, expected)
    const { scan, scanReverse } = statements
    const rows = (await this.#run(range.reverse ? scanReverse : scan, from, below, looked, PAGE_BYTES)).map(
      toRow,
    )
    let bytes = 0
    for (const { key, value } of rows) bytes += key.byteLength + value.byteLength
    const full = bytes >= PAGE_BYTES
    this.#pageRows.set(
      table,
      full ? 2 * rows.length : Math.min(MAX_PAGE_ROWS, Math.max(expected, 4 * looked)),
    )
    return { rows, more: full || rows.length >= looked }
  }

  async leap(table: Table, range: ScanRange, suffix: number): Promise<Page> {
    const statements = this.#table(table)
    const [from, below] = toInterval(range)
    const most = Math.min(range.limit ?? MAX_PAGE_ROWS, MAX_PAGE_ROWS)
    const edge = new Uint8Array(suffix).fill(range.reverse ? 0 : 255)
    const { leap, leapReverse } = statements
    const rows = await this.#run(range.reverse ? leapReverse : leap, from, below, most, suffix, edge)
    return { rows: rows.map(toKeyRow), more: rows.length >= most }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#source.release()
  }

  #table(table: Table): TableStatements {
    this.#source.assertOpen()
    if (this.#closed) throw new EngineError('The view is closed; open another with read().')
    return this.#source.statements.tables[table]
  }

  #run(statement: Statement, ...values: unknown[]): Promise<readonly TextRow[]> {
    return this.#source.run(statement, [this.#source.store, ...values])
  }
}

function toRow([key, value]: TextRow): Row {
  return { key: decodeBytes(key as string), value: decodeBytes(value as string) }
}

function toKeyRow([key]: TextRow): Row {
  return { key: decodeBytes(key as string), value: EMPTY_BYTES }
}

/** A range as its first key and the first one past it. */
function toInterval(range: ScanRange): [from: Uint8Array, below: Uint8Array] {
  const { lower, upper } = boundsOf(range)
  return [
    lower === undefined ? EMPTY_BYTES : edge(lower, !lower.inclusive),
    upper === undefined ? ABOVE_ALL : edge(upper, upper.inclusive),
  ]
}

/** The key of a bound, or the one right after it. */
function edge({ key }: Bound, after: boolean): Uint8Array {
  return after ? Buffer.concat([key, ZERO]) : key
}
