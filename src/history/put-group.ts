import { DataIntegrityError } from '../core/errors.ts'
import { type MaybePromise, whenReady } from '../core/maybe-promise.ts'
import { inSlices } from '../core/turns.ts'
import type { Batch, View } from '../engine/engine.ts'
import type { CommitKeys } from './commit-keys.ts'
import { ADDED, CHANGED, type CommitAuthor, LogEntryWriter } from './commit-log.ts'
import type { Head } from './head.ts'
import type { HistoryLimits } from './limits.ts'
import { putLive } from './put-live.ts'
import { type Payload, parseRecord, payloadsEqual, samePayload } from './record.ts'

/** Values for the keys of a commit, each in the place of whatever is there. */
export interface Puts {
  readonly keys: CommitKeys
  /** Of the sorted keys. */
  readonly payloads: readonly Payload[]
  /** Whether a key that holds an equal value is left as it is; else it is only if it holds the very same bytes. */
  readonly unlessEqual: boolean
}

/** What puts have come to. */
export interface PutsResult {
  /** Keys that were written. */
  readonly written: number
  /** Keys that were not there before. */
  readonly added: number
}

/**
 * Thrown where the record of a key is damaged. Some operation has to fail, and not those that share its commit; to tell
 * which, all records must be read before anything is written.
 */
export class DamagedPutError extends Error {}

/** So many records are read, and written over, at a time. */
const AT_A_TIME = 512

/**
 * Puts all of them into a batch, with the log entry of the commit if there is anything to it.
 *
 * What operations do that only set keys can be told without the records that are there: so of each few keys the records
 * are read and the new ones written before the next few, and an engine that writes in another thread begins at once.
 *
 * @throws {DamagedPutError} after it has written some
 */
export function writePuts(
  view: View,
  batch: Batch,
  head: Head,
  author: CommitAuthor,
  { keys: { sorted }, payloads, unlessEqual }: Puts,
  limits: HistoryLimits,
): MaybePromise<PutsResult> {
  const log = new LogEntryWriter(batch, head.sequence + 1, head.epoch, author, limits)
  const isSame = unlessEqual ? payloadsEqual : samePayload
  let written = 0
  let added = 0

  function put(key: Uint8Array, stored: Uint8Array | undefined, payload: Payload): void {
    if (stored === undefined) {
      log.add(key, ADDED, putLive(batch, head, key, undefined, payload))
      added++
    } else {
      const record = parse(key, stored)
      if (isSame(record, payload)) return
      log.add(key, CHANGED, putLive(batch, head, key, { birth: record.birth, stored }, payload))
    }
    written++
  }

  const done = inSlices(sorted.length, Math.min(AT_A_TIME, limits.sliceKeys), (start, end) => {
    const keys = sorted.slice(start, end)
    return whenReady(view.getMany('live', keys), records => {
      for (let i = 0; i < keys.length; i++)
        put(keys[i] as Uint8Array, records[i], payloads[start + i] as Payload)
    })
  })
  return whenReady(done, () => {
    if (written > 0) log.end()
    return { written, added }
  })
}

function parse(key: Uint8Array, stored: Uint8Array): ReturnType<typeof parseRecord> {
  try {
    return parseRecord(key, stored)
  } catch (error) {
    if (error instanceof DataIntegrityError) throw new DamagedPutError()
    throw error
  }
}
