import { toByteString } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import type { Row } from '../engine/engine.ts'
import { readChangeCount } from './change-counts.ts'
import { decodeHead } from './head.ts'
import { openCounter, openJsonRow, openMark } from './meta-row.ts'
import { decodePayload, parseRecord } from './record.ts'

/** How the rows of the table meta are checked, by their names. */
const ROWS: Readonly<Record<string, (row: Row) => unknown>> = {
  head: ({ value }) => decodeHead(value),
  // Whoever reads a store has checked its format, and that it is not encrypted with another key, before all else.
  format: () => undefined,
  encryption: () => undefined,
  pending: ({ key, value }) => decodePayload(parseRecord(key, value)),
  'last-bulk': ({ key, value }) => decodePayload(parseRecord(key, value)),
  packed: ({ key, value }) => openCounter(key, value),
  'packed-lists': ({ key, value }) => openCounter(key, value),
  'first-list': ({ key, value }) => openCounter(key, value),
  counted: ({ key, value }) => openCounter(key, value),
  'pack-totals': ({ key, value }) => openJsonRow(key, value),
  retention: ({ key, value }) => openJsonRow(key, value),
}

/** The same for those whose names go on with a number. */
const NUMBERED: Readonly<Record<string, (row: Row) => unknown>> = {
  'bytes/': ({ key, value }) => parseRecord(key, value),
  'count/': readChangeCount,
  'free/': ({ key, value }) => openMark(key, value),
  'stage/': ({ key, value }) => openCounter(key, value),
}

/** @throws {DataIntegrityError} if a row of the table meta is not whole, or of a name that there is not. */
export function checkMetaRow(row: Row): void {
  const name = toByteString(row.key)
  const prefix = name.slice(0, name.indexOf('/') + 1)
  const check = Object.hasOwn(ROWS, name)
    ? ROWS[name]
    : Object.hasOwn(NUMBERED, prefix)
      ? NUMBERED[prefix]
      : undefined
  if (check === undefined) {
    throw new DataIntegrityError(
      `The store has a record ${JSON.stringify(name)}, which is not known: it is damaged.`,
    )
  }
  check(row)
}
