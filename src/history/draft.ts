import { DataIntegrityError } from '../core/errors.ts'
import { versionKey } from '../core/key.ts'
import { type MaybePromise, whenReady } from '../core/maybe-promise.ts'
import { inSlices } from '../core/turns.ts'
import type { Batch, Row, View } from '../engine/engine.ts'
import type { CommitKeys } from './commit-keys.ts'
import { ADDED, CHANGED, type ChangeKind, type LoggedChange, REMOVED, TOUCHED } from './commit-log.ts'
import type { Head } from './head.ts'
import { isPreserved, putLive } from './put-live.ts'
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

interface DraftEntry extends LoggedChange {
  /** The live record before this commit, as stored and taken apart. */
  readonly stored: Uint8Array | undefined
  readonly original: ParsedRecord | undefined
  /** Why the record cannot be read, if it is damaged: then the key is neither read nor written. */
  readonly damage: DataIntegrityError | undefined
  /** What the key shall hold; `undefined` for nothing. */
  current: Payload | undefined
  // What the commit log says of it, once that is known.
  kind: ChangeKind
  bytes: number
}

/** What flushing a draft changed. */
export interface DraftResult {
  readonly changes: readonly LoggedChange[]
  /** Keys added less keys removed. */
  readonly growth: number
}

/** What flushing a draft has come to. */
interface NetEffect {
  readonly changes: LoggedChange[]
  /** Removed keys that may have a version in the history. */
  readonly uncertain: Uint8Array[]
  growth: number
}

/**
 * The state of some keys while a commit is built, and the rules by which superseded records are preserved.
 *
 * All operations of a commit share one draft; each sees what those before it did, and only the net effect is written:
 * one live record a key, however often it was set. Let `c` be the epoch written in and `b` the birth of the record
 * that is superseded:
 *
 * - If `b < c` and some snapshot lies in `[b, c)`, that record moves to the history as `(key, b)`: see `put-live.ts`.
 * - A key that ends absent gets a tombstone `(key, c)` if its newest version in the history is a value, or the reader
 *   at `c` would find that value.
 */
export class Draft {
  readonly #head: Head
  readonly #keys: CommitKeys
  /** Work on more keys lets the event loop turn after so many. */
  readonly #sliceKeys: number
  /** One for each of the sorted keys. */
  readonly #entries: readonly DraftEntry[]
  /** Whether any record is. */
  readonly #isDamaged: boolean
  /** Operations mostly ask for keys in the order in which they have named them: the one asked for last. */
  #asked = 0

  private constructor(head: Head, keys: CommitKeys, entries: readonly DraftEntry[], sliceKeys: number) {
    this.#sliceKeys = sliceKeys
    this.#head = head
    this.#keys = keys
    this.#entries = entries
    this.#isDamaged = entries.some(entry => entry.damage !== undefined)
  }

  /** A draft of `keys`, which are all that it may touch, and the live records of the sorted ones as stored. */
  static of(
    head: Head,
    keys: CommitKeys,
    records: readonly (Uint8Array | undefined)[],
    sliceKeys: number,
  ): MaybePromise<Draft> {
    const { sorted } = keys
    const entries: DraftEntry[] = []
    const opened = inSlices(sorted.length, sliceKeys, (start, end) => {
      for (let i = start; i < end; i++) entries.push(openEntry(sorted[i] as Uint8Array, records[i]))
    })
    return whenReady(opened, () => new Draft(head, keys, entries, sliceKeys))
  }

  #entry(key: Uint8Array): DraftEntry {
    const entry = this.#entries[this.#place(key)]
    if (entry === undefined) throw new Error('varve: a commit touches a key that it did not declare')
    if (entry.damage !== undefined) throw entry.damage
    return entry
  }

  #place(key: Uint8Array): number {
    const { given } = this.#keys
    if (given[this.#asked] !== key) {
      if (given[this.#asked + 1] !== key) return this.#keys.find(key) ?? -1
      this.#asked++
    }
    return this.#keys.placeOf(this.#asked)
  }

  /** Says that what follows will ask for the keys from the `first`-th given one on. */
  begin(first: number): void {
    this.#asked = first
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
    const effect: NetEffect = { changes: [], uncertain: [], growth: 0 }
    const entries = this.#entries
    const flushed = inSlices(entries.length, this.#sliceKeys, (start, end) => {
      for (let i = start; i < end; i++) this.#flushEntry(entries[i] as DraftEntry, batch, effect)
    })
    return whenReady(flushed, () => this.#buryUncertain(view, batch, effect))
  }

  #flushEntry(entry: DraftEntry, batch: Batch, effect: NetEffect): void {
    const { key, stored, original, current } = entry
    if (current === original) return
    if (original !== undefined && current !== undefined && samePayload(original, current)) return
    const head = this.#head
    const before = original && { birth: original.birth, stored: stored as Uint8Array }
    if (current !== undefined) {
      entry.kind = before === undefined ? ADDED : CHANGED
      entry.bytes = putLive(batch, head, key, before, current)
      effect.changes.push(entry)
      if (before === undefined) effect.growth++
      return
    }
    const { epoch } = head
    const preserved = before !== undefined && isPreserved(head, before.birth)
    if (preserved) batch.put('history', versionKey(key, before.birth), before.stored)
    batch.delete('live', key)
    entry.kind = REMOVED
    entry.bytes = preserved ? 0 : -(before?.stored.byteLength ?? 0)
    effect.changes.push(entry)
    effect.growth--
    if (preserved) batch.put('history', versionKey(key, epoch), encodeRecord(key, epoch, TOMBSTONE_PAYLOAD))
    // In the first epoch there is no history to look into.
    else if (epoch > 1) effect.uncertain.push(key)
  }

  /** Puts tombstones for removed keys whose newest version in the history is a value. */
  #buryUncertain(view: View, batch: Batch, { uncertain, ...result }: NetEffect): MaybePromise<DraftResult> {
    if (uncertain.length === 0) return result
    const { epoch } = this.#head
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
  let original: ParsedRecord | undefined
  let damage: DataIntegrityError | undefined
  try {
    if (stored !== undefined) original = parseRecord(key, stored)
  } catch (error) {
    if (!(error instanceof DataIntegrityError)) throw error
    damage = error
  }
  return { key, stored, original, damage, current: original, kind: TOUCHED, bytes: 0 }
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
