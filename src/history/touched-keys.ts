import { toByteString } from '../core/bytes.ts'
import { counterAt } from '../core/key.ts'
import { partitionPoint } from '../core/partition-point.ts'
import type { Row, SalvageView, View } from '../engine/engine.ts'
import { lastEpochOf, readChangeRow } from './change-list.ts'
import { REMOVED, readLogRow } from './commit-log.ts'
import type { Head } from './head.ts'
import type { LostSpans } from './lost-spans.ts'

/** What the change lists and the log of a damaged store say of the keys that something may be lost of. */
export interface TouchedKeys {
  /**
   * Whether a key may have been written in a stretch of epochs: the one that ends at a bound, by the place of that, or the
   * open one after the last.
   */
  mayBeTouched(key: Uint8Array, stretch: number): boolean
  /** Whether it certainly was. */
  isTouched(key: Uint8Array, stretch: number): boolean
  /** All of those keys that are named, as byte strings. */
  names(): Iterable<string>
  /** Whether the log says that the key was removed last. */
  isRemoved(key: string): boolean
}

/** The stretch that an epoch belongs to. `bounds` are the last epochs of the stretches, ascending. */
export function stretchOf(bounds: readonly number[], epoch: number): number {
  return partitionPoint(bounds.length, i => (bounds[i] as number) < epoch)
}

/** Reads all lists and the log once, and keeps what concerns keys in `spans`. */
export async function readTouchedKeys(
  view: View & Partial<Pick<SalvageView, 'damage'>>,
  head: Head | undefined,
  bounds: readonly number[],
  spans: LostSpans,
): Promise<TouchedKeys> {
  const touched = new Map<string, Set<number>>()
  const removed = new Set<string>()
  const unknown = new Set<number>()
  const note = (key: string, epoch: number): void => {
    let stretches = touched.get(key)
    if (stretches === undefined) {
      if (!spans.has(Buffer.from(key, 'latin1'))) return
      stretches = new Set()
      touched.set(key, stretches)
    }
    stretches.add(stretchOf(bounds, epoch))
  }
  const doubt = (from: number, to: number): void => {
    const last = Math.min(stretchOf(bounds, to), bounds.length)
    for (let stretch = stretchOf(bounds, from); stretch <= last; stretch++) unknown.add(stretch)
  }

  for (const { isLossOfRows, table, gte, lt } of view.damage ?? []) {
    if (!isLossOfRows || (table !== undefined && table !== 'changes')) continue
    doubt(epochOf(gte) ?? 0, epochOf(lt) ?? Number.POSITIVE_INFINITY)
  }
  let doubtful: number | undefined
  let previous = 0
  for await (const row of allRows(view, 'changes')) {
    const epoch = counterAt(row.key)
    // Whatever stood between the rows beside a damaged one.
    if (doubtful !== undefined) doubt(doubtful, epoch)
    doubtful = undefined
    try {
      readChangeRow(row, { list: () => true, key: (at, key) => note(key, at) })
      previous = Math.max(previous, lastEpochOf(row))
    } catch {
      doubtful = previous
    }
  }
  if (doubtful !== undefined) doubt(doubtful, Number.POSITIVE_INFINITY)

  // The log has what is not in the lists yet.
  let next = head === undefined ? undefined : { sequence: head.folded + 1, part: 0 }
  let epoch = 0
  let whole = head !== undefined
  let last = 0
  for await (const row of allRows(view, 'log')) {
    try {
      const entry = readLogRow(row)
      const part = counterAt(row.key, 1)
      for (const { key, kind } of entry.changes) {
        const name = toByteString(key)
        note(name, entry.epoch)
        if (kind === REMOVED) removed.add(name)
        else removed.delete(name)
      }
      last = Math.max(last, entry.sequence)
      if (next === undefined || entry.sequence < next.sequence) continue
      const follows =
        entry.sequence === next.sequence
          ? part === next.part
          : part === 0 && entry.sequence === next.sequence + 1
      whole &&= follows
      next = { sequence: entry.sequence, part: part + 1 }
      if (whole) epoch = entry.epoch
    } catch {
      whole = false
    }
  }
  whole &&= head === undefined || head.sequence <= head.folded || last === head.sequence
  // The last part of an entry may be missing, and more entries of the same epoch with it.
  if (!whole || isLogDamaged(view)) doubt(epoch === 0 ? previous : epoch, Number.POSITIVE_INFINITY)

  return {
    mayBeTouched: (key, stretch) =>
      unknown.has(stretch) || touched.get(toByteString(key))?.has(stretch) === true,
    isTouched: (key, stretch) => touched.get(toByteString(key))?.has(stretch) === true,
    names: () => touched.keys(),
    isRemoved: key => removed.has(key),
  }
}

function isLogDamaged({ damage }: Partial<Pick<SalvageView, 'damage'>>): boolean {
  return (damage ?? []).some(
    ({ isLossOfRows, table }) => isLossOfRows && (table === undefined || table === 'log'),
  )
}

function epochOf(key: Uint8Array | undefined): number | undefined {
  return key === undefined || key.byteLength < 6 ? undefined : counterAt(key)
}

/** All rows of a table, in key order. */
export async function* allRows(
  view: View,
  table: Parameters<View['scan']>[0],
): AsyncGenerator<Row, void, undefined> {
  let gt: Uint8Array | undefined
  for (;;) {
    const page = await view.scan(table, { gt })
    yield* page.rows
    gt = page.rows.at(-1)?.key
    if (!page.more || gt === undefined) return
  }
}
