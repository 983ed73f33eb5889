import { DataIntegrityError, SnapshotNotFoundError } from '../core/errors.ts'
import { counterAt, counterKey } from '../core/key.ts'
import { type MaybePromise, whenReady } from '../core/maybe-promise.ts'
import type { Batch, Row, View } from '../engine/engine.ts'
import { changeCounts, countedThrough, deleteChangeCount, putCountedThrough } from './change-counts.ts'
import type { Head } from './head.ts'
import { openMark, sealMeta } from './meta-row.ts'
import { encodeRecord, type Payload, parseRecord } from './record.ts'

/** A snapshot as the history knows it: a number for people, the epoch it seals, and what the layer above keeps with it. */
export interface SnapshotRow {
  /** 1, 2, …: the `vN` that users name. Never used again, also after the snapshot is gone. */
  readonly version: number
  /** The sealed epoch: the snapshot is the state as readers at this epoch see it. */
  readonly epoch: number
  readonly metadata: Payload
}

export function putSnapshot(batch: Batch, { version, epoch, metadata }: SnapshotRow): void {
  const key = counterKey(version)
  batch.put('snapshots', key, encodeRecord(key, epoch, metadata))
}

function parseSnapshot(row: Row): SnapshotRow {
  const { birth, codec, bytes } = parseRecord(row.key, row.value)
  return { version: counterAt(row.key), epoch: birth, metadata: { codec, bytes } }
}

/** All snapshots, or those of versions after one, oldest first. */
export async function listSnapshotRows(view: View, after = 0): Promise<SnapshotRow[]> {
  const snapshots: SnapshotRow[] = []
  let gt: Uint8Array | undefined = counterKey(after)
  for (;;) {
    const page = await view.scan('snapshots', { gt })
    for (const row of page.rows) snapshots.push(parseSnapshot(row))
    gt = page.rows.at(-1)?.key
    if (!page.more || gt === undefined) return snapshots
  }
}

/** The newest snapshot, if there is any. */
export async function newestSnapshot(view: View): Promise<SnapshotRow | undefined> {
  const row = (await view.scan('snapshots', { reverse: true, limit: 1 })).rows[0]
  return row && parseSnapshot(row)
}

/** The snapshot before one, if there is any. */
export async function snapshotBefore(view: View, { version }: SnapshotRow): Promise<SnapshotRow | undefined> {
  const row = (await view.scan('snapshots', { lt: counterKey(version), reverse: true, limit: 1 })).rows[0]
  return row && parseSnapshot(row)
}

/** The epoch of the oldest snapshot. */
export async function firstSnapshotEpoch(view: View): Promise<number | undefined> {
  const row = (await view.scan('snapshots', { limit: 1 })).rows[0]
  return row && parseSnapshot(row).epoch
}

/** @throws {SnapshotNotFoundError} if there is no such snapshot in this view. */
export function requireSnapshot(view: View, version: number): MaybePromise<SnapshotRow> {
  const key = counterKey(version)
  return whenReady(view.get('snapshots', key), value => {
    if (value === undefined) throw snapshotNotFound(version)
    return parseSnapshot({ key, value })
  })
}

/** The error for a snapshot that does not exist, or not any more. */
export function snapshotNotFound(version: number): SnapshotNotFoundError {
  return new SnapshotNotFoundError(
    `There is no snapshot v${version}. listSnapshots() names those that exist.`,
  )
}

const FREE_PREFIX = Buffer.from('free/')

function freeKey(epoch: number): Uint8Array {
  return Buffer.concat([FREE_PREFIX, counterKey(epoch)])
}

/** Notes that the versions only `epoch` could see are to be freed. The note goes when that is done. */
export function markForFreeing(batch: Batch, epoch: number): void {
  const key = freeKey(epoch)
  batch.put('meta', key, sealMeta(key, Buffer.of(1)))
}

export function unmarkForFreeing(batch: Batch, epoch: number): void {
  batch.delete('meta', freeKey(epoch))
}

/** Whether it is whole. One that is not frees nothing: room is all that it costs. */
function isMark(key: Uint8Array, value: Uint8Array): boolean {
  try {
    openMark(key, value)
    return true
  } catch (error) {
    if (error instanceof DataIntegrityError) return false
    throw error
  }
}

/** The epochs marked for freeing, oldest first. */
export async function epochsToFree(view: View): Promise<number[]> {
  const epochs: number[] = []
  let gt = FREE_PREFIX as Uint8Array
  for (;;) {
    const page = await view.scan('meta', { gt, lt: Buffer.from('free0') })
    for (const { key, value } of page.rows) {
      if (isMark(key, value)) epochs.push(counterAt(key.subarray(FREE_PREFIX.byteLength)))
    }
    const last = page.rows.at(-1)
    if (!page.more || last === undefined) return epochs
    gt = last.key
  }
}

/**
 * Takes snapshots off the list, in one commit with the mark that has their versions freed.
 *
 * From this commit on, no read at them succeeds; only later commits free what they alone could see. Returns the head
 * with the newest snapshot that remains, by which superseded records are preserved.
 */
export async function dropSnapshots(
  view: View,
  batch: Batch,
  head: Head,
  all: readonly SnapshotRow[],
  versions: ReadonlySet<number>,
): Promise<Head> {
  let latestSnapshot = 0
  for (const { version, epoch } of all) {
    if (versions.has(version)) {
      batch.delete('snapshots', counterKey(version))
      markForFreeing(batch, epoch)
    } else {
      latestSnapshot = epoch
    }
  }
  await dropCounts(view, batch, all, versions)
  return { ...head, latestSnapshot }
}

/** What was counted up to a snapshot goes with it, and the next one, which now answers for more, is counted again. */
async function dropCounts(
  view: View,
  batch: Batch,
  all: readonly SnapshotRow[],
  versions: ReadonlySet<number>,
): Promise<void> {
  const counts = await changeCounts(view)
  if (counts.size === 0) return
  let recountFrom: number | undefined
  let [isMerged, isLong] = [false, false]
  for (const { version, epoch } of all) {
    isLong ||= counts.has(epoch)
    isMerged ||= versions.has(version)
    if (versions.has(version)) {
      deleteChangeCount(batch, epoch)
      continue
    }
    if (isMerged && isLong) recountFrom ??= version
    ;[isMerged, isLong] = [false, false]
  }
  if (recountFrom === undefined) return
  putCountedThrough(batch, Math.min(await countedThrough(view), recountFrom - 1))
}
