import { versionKey } from '../core/key.ts'
import { partitionPoint } from '../core/partition-point.ts'
import { encodeChain, removeFromChain } from '../delta/chain-record.ts'
import type { Batch, Row, View } from '../engine/engine.ts'
import { versionRows } from './reader.ts'
import { CHAIN, parseRecord, TOMBSTONE } from './record.ts'
import type { StoredBytesChange } from './stored-bytes.ts'
import { birthsOf, encodeChainRow, isStructural, parseVersionRow, versionsOf } from './version-row.ts'

interface RowVersion {
  readonly birth: number
  readonly tombstone: boolean
  readonly row: Row
}

/**
 * Frees the versions of one key that no snapshot can see. `snapshots` are sorted, and the open epoch, which counts as
 * one, is the last.
 *
 * - A version holds in `[birth, next birth)`; it goes when that is closed and holds no snapshot.
 * - A trailing tombstone holds in `[birth, ∞)`, which the open epoch lies in; but once no older version of its key is
 *   left it says nothing that absence would not, and goes too, as any leading tombstone does.
 *
 * A chain that loses versions is written anew; the records of the others are not touched. `stored` is told what that
 * makes of the bytes that each epoch takes.
 */
export async function freeVersions(
  view: View,
  batch: Batch,
  key: Uint8Array,
  snapshots: readonly number[],
  stored: StoredBytesChange,
): Promise<void> {
  const [versions, live] = await Promise.all([readRowVersions(view, key), view.get('live', key)])
  if (versions.length === 0) return
  const liveBirth = live === undefined ? Number.POSITIVE_INFINITY : parseRecord(key, live).birth
  const freed = new Map<Row, number[]>()
  let anyBefore = false
  for (const [i, { birth, tombstone, row }] of versions.entries()) {
    const end = versions[i + 1]?.birth ?? liveBirth
    const seen = holdsAny(snapshots, birth, end)
    if (seen && !(tombstone && !anyBefore)) {
      anyBefore = true
      continue
    }
    const births = freed.get(row)
    if (births === undefined) freed.set(row, [birth])
    else births.push(birth)
  }
  for (const [row, births] of freed) removeVersions(batch, key, row, births, stored)
}

async function readRowVersions(view: View, key: Uint8Array): Promise<RowVersion[]> {
  const versions: RowVersion[] = []
  for await (const row of versionRows(view, key)) {
    for (const { birth, codec } of birthsOf(row))
      versions.push({ birth, tombstone: codec === TOMBSTONE, row })
  }
  return versions
}

function removeVersions(
  batch: Batch,
  key: Uint8Array,
  row: Row,
  births: readonly number[],
  stored: StoredBytesChange,
): void {
  const { record } = parseVersionRow(row)
  batch.delete('history', row.key)
  stored.removeRow(row)
  if (record.codec !== CHAIN) return
  const rest = isStructural(record) ? reencode(row, births) : removeFromChain(record.bytes, births)
  if (rest === undefined) return
  const gone = new Set(births)
  const first = birthsOf(row).find(({ birth }) => !gone.has(birth))
  if (first === undefined) return
  const rewritten = {
    key: versionKey(key, first.birth),
    value: encodeChainRow(key, first.birth, rest),
  }
  batch.put('history', rewritten.key, rewritten.value)
  stored.addRow(rewritten)
}

/** The chain without some versions, all others whole in it: what is a patch may be one on a version that goes. */
function reencode(row: Row, births: readonly number[]): Uint8Array | undefined {
  const gone = new Set(births)
  const kept = versionsOf(row).filter(({ birth }) => !gone.has(birth))
  if (kept.length === 0) return undefined
  return encodeChain(kept.map(({ birth, codec, bytes }) => ({ birth, codec, payload: bytes })))
}

/** Whether a sorted list has a number in `[from, to)`. */
function holdsAny(sorted: readonly number[], from: number, to: number): boolean {
  const next = sorted[partitionPoint(sorted.length, i => (sorted[i] as number) < from)]
  return next !== undefined && next < to
}
