import { compareBytes } from '../core/bytes.ts'
import type { Page, Row, ScanRange } from './engine.ts'

/** A page of a scan ends after so many bytes of keys and values, … */
export const PAGE_BYTES = 1 << 20
/** … or so many rows, so that a page of tiny ones does not hold the event loop for long either. */
export const PAGE_ROWS = 512

/** One end of a range. */
export interface Bound {
  readonly key: Uint8Array
  readonly inclusive: boolean
}

/** The ends of a range; an absent one is open. */
export interface Bounds {
  /** Not an empty key: every key is above that. */
  readonly lower: Bound | undefined
  readonly upper: Bound | undefined
}

/** What a {@link ScanRange} asks for, where both forms of a bound may be given. */
export function boundsOf({ gt, gte, lt, lte }: ScanRange): Bounds {
  const lower = tighter(bound(gte, true), bound(gt, false), 1)
  const upper = tighter(bound(lte, true), bound(lt, false), -1)
  return { lower: lower?.key.byteLength ? lower : undefined, upper }
}

function bound(key: Uint8Array | undefined, inclusive: boolean): Bound | undefined {
  return key && { key, inclusive }
}

/** The bound that leaves fewer keys; `sign` is 1 where greater keys do. On equal keys the exclusive one does. */
function tighter(
  inclusive: Bound | undefined,
  exclusive: Bound | undefined,
  sign: 1 | -1,
): Bound | undefined {
  if (inclusive === undefined || exclusive === undefined) return inclusive ?? exclusive
  return compareBytes(inclusive.key, exclusive.key) * sign > 0 ? inclusive : exclusive
}

/** Takes rows until the page is full. */
export function fillPage(rows: Iterable<Row>, limit: number | undefined): Page {
  const page: Row[] = []
  const maxRows = Math.min(limit ?? PAGE_ROWS, PAGE_ROWS)
  let bytes = 0
  for (const row of rows) {
    page.push(row)
    bytes += row.key.byteLength + row.value.byteLength
    if (page.length >= maxRows || bytes >= PAGE_BYTES) return { rows: page, more: true }
  }
  return { rows: page, more: false }
}
