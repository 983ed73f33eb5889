import { toByteString } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { versionKey } from '../core/key.ts'
import { type MaybePromise, whenReady } from '../core/maybe-promise.ts'
import type { Batch, Row, View } from '../engine/engine.ts'
import { ADDED, CHANGED, type LoggedChange, REMOVED } from './commit-log.ts'
import type { Head } from './head.ts'
import { floorQuery } from './reader.ts'
import {
  encodeRecord,
  type ParsedRecord,
  type Payload,
  parseRecord,
  samePayload,
  TOMBSTONE,
  TOMBSTONE_PAYLOAD,
} from './record.ts'
import { versionAt } from './version-row.ts'

interface DraftEntry {
  readonly key: Uint8Array
  /** The live record before this commit, as stored and taken apart. */
  readonly stored: Uint8Array | undefined
  readonly original: ParsedRecord | undefined
  /** Why the record cannot be read, if it is damaged: then the key is neither read nor written. */
  readonly damage: DataIntegrityError | undefined
  /** What the key shall hold; `undefined` for nothing. */
  current: Payload | undefined
}

/** What flushing a draft changed. */
export interface DraftResult {
  readonly changes: readonly LoggedChange[]
  /** Keys added less keys removed. */
  readonly growth: number
}

/**
 * The state of some keys while a commit is built, and the rules by which superseded records are preserved.
 *
 * All operations of a commit share one draft; each sees what those before it did, and only the net effect is written:
 * one live record a key, however often it was set. Let `c` be the epoch written in and `b` the birth of the record
 * that is superseded:
 *
 * - If `b < c` and some snapshot lies in `[b, c)`, that record moves to the history as `(key, b)`. As snapshots lie
 *   below `c`, this holds exactly when the newest one is at least `b`.
 * - A key that ends absent gets a tombstone `(key, c)` if its newest version in the history is a value, or the reader
 *   at `c` would find that value.
 */
export class Draft {
  readonly #head: Head
  readonly #entries = new Map<string, DraftEntry>()
  /** Whether any record is. */
  #isDamaged = false

  private constructor(head: Head) {
    this.#head = head
  }

  /** A draft of `keys`, which are all that it may touch, and their live records as stored. */
  static of(head: Head, keys: readonly Uint8Array[], records: readonly (Uint8Array | undefined)[]): Draft {
    const draft = new Draft(head)
    for (const [i, stored] of records.entries()) {
      const key = keys[i] as Uint8Array
      const entry = openEntry(key, stored)
      if (entry.damage !== undefined) draft.#isDamaged = true
      draft.#entries.set(toByteString(key), entry)
    }
    return draft
  }

  #entry(key: Uint8Array): DraftEntry {
    const entry = this.#entries.get(toByteString(key))
    if (entry === undefined) throw new Error('varve: a commit touches a key that it did not declare')
    if (entry.damage !== undefined) throw entry.damage
    return entry
  }

  /**
   * To be called before an operation writes to the first of its keys.
   *
   * @throws {DataIntegrityError} if the record of one of them is damaged.
   */
  assertReadable(keys: readonly Uint8Array[]): void {
    if (this.#isDamaged) for (const key of keys) this.#entry(key)
  }

  /** What the key holds, with what this commit did so far. */
  get(key: Uint8Array): Payload | undefined {
    return this.#entry(key).current
  }

  /**
   * The record that a reader would find after what this commit did so far, to compare with one that was read before:
   * a value that was written anew differs from it by its birth, if not by itself.
   */
  record(key: Uint8Array): Uint8Array | undefined {
    const { stored, original, current } = this.#entry(key)
    if (current === original) return stored
    return current && encodeRecord(key, this.#head.epoch, current)
  }

  set(key: Uint8Array, payload: Payload): void {
    this.#entry(key).current = payload
  }

  /** Whether there was something to delete. */
  delete(key: Uint8Array): boolean {
    const entry = this.#entry(key)
    const existed = entry.current !== undefined
    entry.current = undefined
    return existed
  }

  /** Puts the net effect into the batch. */
  flush(view: View, batch: Batch): MaybePromise<DraftResult> {
    const { epoch, latestSnapshot } = this.#head
    const changes: LoggedChange[] = []
    const uncertain: Uint8Array[] = []
    let growth = 0
    for (const { key, stored, original, current } of this.#entries.values()) {
      if (current === original) continue
      if (original !== undefined && current !== undefined && samePayload(original, current)) continue
      const preserved = original !== undefined && original.birth < epoch && latestSnapshot >= original.birth
      if (preserved) batch.put('history', versionKey(key, original.birth), stored as Uint8Array)
      // No snapshot separates the two epochs, so that whoever asks for one asks for both.
      const lost = preserved ? 0 : (stored?.byteLength ?? 0)
      if (current !== undefined) {
        const record = encodeRecord(key, epoch, current)
        batch.put('live', key, record)
        const bytes = record.byteLength - lost
        changes.push({ key, kind: original === undefined ? ADDED : CHANGED, bytes })
        if (original === undefined) growth++
        continue
      }
      batch.delete('live', key)
      changes.push({ key, kind: REMOVED, bytes: -lost })
      growth--
      if (preserved) batch.put('history', versionKey(key, epoch), encodeRecord(key, epoch, TOMBSTONE_PAYLOAD))
      // In the first epoch there is no history to look into.
      else if (epoch > 1) uncertain.push(key)
    }
    const result = { changes, growth }
    if (uncertain.length === 0) return result
    const queries = uncertain.map(key => floorQuery(key, epoch))
    return whenReady(view.seekMany('history', queries), rows => {
      for (const [i, row] of rows.entries()) {
        if (row === undefined || isTombstone(row, epoch)) continue
        const key = uncertain[i] as Uint8Array
        batch.put('history', versionKey(key, epoch), encodeRecord(key, epoch, TOMBSTONE_PAYLOAD))
      }
      return result
    })
  }
}

function openEntry(key: Uint8Array, stored: Uint8Array | undefined): DraftEntry {
  if (stored === undefined) {
    return { key, stored, original: undefined, damage: undefined, current: undefined }
  }
  try {
    const original = parseRecord(key, stored)
    return { key, stored, original, damage: undefined, current: original }
  } catch (error) {
    if (!(error instanceof DataIntegrityError)) throw error
    return { key, stored, original: undefined, damage: error, current: undefined }
  }
}

/** Where it cannot be told, as the row is damaged, it counts as a value: a tombstone too many says nothing wrong. */
function isTombstone(row: Row, epoch: number): boolean {
  try {
    return versionAt(row, epoch).codec === TOMBSTONE
  } catch (error) {
    if (error instanceof DataIntegrityError) return false
    throw error
  }
}
