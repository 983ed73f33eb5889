import { DataIntegrityError } from '../core/errors.ts'
import { counterAt, counterKey } from '../core/key.ts'
import { MAX_VARINT_BYTES, VarintReader, writeSignedVarint, writeVarint } from '../core/varint.ts'
import type { Batch, Page, Row, View } from '../engine/engine.ts'
import { openContent, openCounter, sealCounter, sealMeta } from './meta-row.ts'

/*
 * How much the epochs up to a snapshot changed, for snapshots whose lists are long: to count the distinct keys of lists
 * that overlap takes several passes over all of them, and after the first ten million keys nobody wants to wait for that
 * each time the snapshots are listed. The background counts them once, when no list can be added any more.
 *
 * A number is only good for the epochs that it was counted for. When a snapshot goes, the one after it answers for more.
 */

/** What the lists of some epochs say, in numbers. */
export interface ChangeCount {
  /** The epochs counted begin after this one. */
  readonly after: number
  /** Distinct keys. */
  readonly changes: number
  /** Bytes by which records grew, as the lists have them. */
  readonly bytes: number
}

const PREFIX = Buffer.from('count/')
const END = Buffer.from('count0')

function countKey(through: number): Uint8Array {
  return Buffer.concat([PREFIX, counterKey(through)])
}

/** All that was counted, by the last epoch of each. */
export async function changeCounts(view: View): Promise<Map<number, ChangeCount>> {
  const counts = new Map<number, ChangeCount>()
  for (let gt: Uint8Array | undefined = PREFIX; gt !== undefined; ) {
    const { rows, more }: Page = await view.scan('meta', { gt, lt: END })
    for (const row of rows) counts.set(counterAt(row.key.subarray(PREFIX.byteLength)), readChangeCount(row))
    gt = more ? rows.at(-1)?.key : undefined
  }
  return counts
}

/** @throws {DataIntegrityError} if the row is not whole. */
export function readChangeCount({ key, value }: Row): ChangeCount {
  const reader = new VarintReader(openContent(key, value))
  const count = { after: reader.next(), changes: reader.next(), bytes: reader.nextSigned() }
  if (!reader.done)
    throw new DataIntegrityError('A count of changes is longer than it should be: it is damaged.')
  return count
}

export function putChangeCount(batch: Batch, through: number, { after, changes, bytes }: ChangeCount): void {
  const key = countKey(through)
  const content = Buffer.allocUnsafe(3 * MAX_VARINT_BYTES)
  let at = writeVarint(content, 0, after)
  at = writeVarint(content, at, changes)
  at = writeSignedVarint(content, at, bytes)
  batch.put('meta', key, sealMeta(key, content.subarray(0, at)))
}

export function deleteChangeCount(batch: Batch, through: number): void {
  batch.delete('meta', countKey(through))
}

/** Under this key stands the version of the snapshot up to which whatever takes long to count was counted. */
const COUNTED_KEY = Buffer.from('counted')

export async function countedThrough(view: View): Promise<number> {
  const stored = await view.get('meta', COUNTED_KEY)
  return stored === undefined ? 0 : openCounter(COUNTED_KEY, stored)
}

export function putCountedThrough(batch: Batch, version: number): void {
  batch.put('meta', COUNTED_KEY, sealCounter(COUNTED_KEY, version))
}
