import { compareBytes, EMPTY_BYTES, toByteString } from '../core/bytes.ts'
import { counterAt } from '../core/key.ts'
import { partitionPoint } from '../core/partition-point.ts'
import type { Damage, Row, SalvageView, Table, View } from '../engine/engine.ts'
import { type EpochRange, lastEpochOf, readChangeRow } from './change-list.ts'
import { REMOVED, readLogRow, TOUCHED } from './commit-log.ts'
import type { Head } from './head.ts'
import { lossesOf } from './losses-of.ts'
import type { LostSpans } from './lost-spans.ts'

/** What the change lists and the log of a damaged store say of the keys that something may be lost of. */
export interface TouchedKeys {
  /** Whether a key may have been written in one of these epochs. */
  mayBeTouched(key: Uint8Array, epochs: EpochRange): boolean
  /** All of those keys that are named, as byte strings. */
  names(): Iterable<string>
  /** Whether the log, which is whole to its end, tells of the key, and says that it was there last. */
  isPresent(key: string): boolean
}

/**
 * Reads all lists and the log once, and keeps what concerns keys in `spans`. Nothing is doubted of epochs after `open`.
 *
 * The lists of epochs that no snapshot separates may have been merged: what they name was written in any of these.
 */
export async function readTouchedKeys(
  view: View & Partial<Pick<SalvageView, 'damage'>>,
  head: Head | undefined,
  open: number,
  spans: LostSpans,
): Promise<TouchedKeys> {
  const touched = new Map<string, number[]>()
  const present = new Set<string>()
  const doubts: EpochRange[] = []
  const note = (key: string, epoch: number): void => {
    let epochs = touched.get(key)
    if (epochs === undefined) {
      if (!spans.has(Buffer.from(key, 'latin1'))) return
      epochs = []
      touched.set(key, epochs)
    }
    if (epochs.at(-1) !== epoch) epochs.push(epoch)
  }
  const doubt = (from: number, to: number): void => {
    const through = Math.min(to, open)
    if (from <= through) doubts.push({ after: from - 1, through })
  }

  const { damage = [] } = view
  for (const { gte, lt } of lossesOf(damage, 'changes')) {
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

  // The log has what is not in the lists yet. Of its entries up to the first gap it is known that nothing is between them.
  const gap = firstLostOf(damage, 'log')
  const folded = head?.folded ?? 0
  let whole = head !== undefined
  let before = { sequence: folded, part: 0 }
  let epoch = previous
  for await (const row of allRows(view, 'log')) {
    whole &&= gap === undefined || compareBytes(row.key, gap) < 0
    try {
      const entry = readLogRow(row)
      const part = counterAt(row.key, 1)
      for (const { key, kind } of entry.changes) {
        const name = toByteString(key)
        note(name, entry.epoch)
        if (kind === REMOVED) present.delete(name)
        else if (kind !== TOUCHED && touched.has(name)) present.add(name)
      }
      if (entry.sequence <= folded) continue
      whole &&=
        entry.sequence === before.sequence
          ? part === before.part + 1
          : part === 0 && entry.sequence === before.sequence + 1
      before = { sequence: entry.sequence, part }
      if (whole) epoch = entry.epoch
    } catch {
      whole = false
    }
  }
  whole &&= gap === undefined && before.sequence === Math.max(head?.sequence ?? 0, folded)
  // The last part of an entry may be missing, and more entries of the same epoch with it.
  if (!whole) doubt(epoch, Number.POSITIVE_INFINITY)

  for (const epochs of touched.values()) epochs.sort((a, b) => a - b)
  const doubted = joined(doubts)
  return {
    mayBeTouched(key, { after, through }) {
      const doubtful =
        doubted[partitionPoint(doubted.length, i => (doubted[i] as EpochRange).through <= after)]
      if (doubtful !== undefined && doubtful.after < through) return true
      const epochs = touched.get(toByteString(key)) ?? []
      const epoch = epochs[partitionPoint(epochs.length, i => (epochs[i] as number) <= after)]
      return epoch !== undefined && epoch <= through
    },
    names: () => touched.keys(),
    isPresent: key => whole && present.has(key),
  }
}

/** The same epochs in ranges that are in order, and apart. */
function joined(ranges: readonly EpochRange[]): EpochRange[] {
  const apart: EpochRange[] = []
  for (const range of [...ranges].sort((a, b) => a.after - b.after)) {
    const last = apart.at(-1)
    if (last === undefined || last.through < range.after) apart.push(range)
    else apart[apart.length - 1] = { after: last.after, through: Math.max(last.through, range.through) }
  }
  return apart
}

/** Where the rows of a table begin of which some may be lost; `undefined` if none are. */
function firstLostOf(damage: readonly Damage[], table: Table): Uint8Array | undefined {
  let first: Uint8Array | undefined
  for (const { gte = EMPTY_BYTES } of lossesOf(damage, table)) {
    if (first === undefined || compareBytes(gte, first) < 0) first = gte
  }
  return first
}

function epochOf(key: Uint8Array | undefined): number | undefined {
  return key === undefined || key.byteLength < 6 ? undefined : counterAt(key)
}

/** All rows of a table, in key order. */
export async function* allRows(view: View, table: Table): AsyncGenerator<Row, void, undefined> {
  let gt: Uint8Array | undefined
  for (;;) {
    const page = await view.scan(table, { gt })
    yield* page.rows
    gt = page.rows.at(-1)?.key
    if (!page.more || gt === undefined) return
  }
}
