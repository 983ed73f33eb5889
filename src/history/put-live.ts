import { versionKey } from '../core/key.ts'
import type { Batch } from '../engine/engine.ts'
import type { Head } from './head.ts'
import { encodeRecord, type Payload } from './record.ts'

/**
 * Whether a record of this birth, which is superseded now, moves to the history: some snapshot lies between its birth and
 * the open epoch. As snapshots lie below that, this holds exactly when the newest one is at least the birth.
 */
export function isPreserved({ epoch, latestSnapshot }: Head, birth: number): boolean {
  return birth < epoch && latestSnapshot >= birth
}

/** The live record that a key has before a commit. */
export interface Superseded {
  readonly birth: number
  readonly stored: Uint8Array
}

/**
 * Puts the record of a value, and moves the one before to the history where it is to be preserved.
 *
 * @returns the bytes of the record, less those of the one written over that is kept nowhere: no snapshot separates the two
 * epochs, so that whoever asks for one asks for both.
 */
export function putLive(
  batch: Batch,
  head: Head,
  key: Uint8Array,
  before: Superseded | undefined,
  payload: Payload,
): number {
  const preserved = before !== undefined && isPreserved(head, before.birth)
  if (preserved) batch.put('history', versionKey(key, before.birth), before.stored)
  const record = encodeRecord(key, head.epoch, payload)
  batch.put('live', key, record)
  return record.byteLength - (preserved ? 0 : (before?.stored.byteLength ?? 0))
}
