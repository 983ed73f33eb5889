import { bytesEqual, compareBytes, toByteString } from '../core/bytes.ts'
import {
  firstVersionKey,
  lastVersionKey,
  splitVersionKey,
  VERSION_SUFFIX_BYTES,
  versionKey,
} from '../core/key.ts'
import { type MaybePromise, whenBoth, whenReady } from '../core/maybe-promise.ts'
import type { FloorQuery, Page, Row, ScanRange, View } from '../engine/engine.ts'
import type { HistoryLimits } from './limits.ts'
import { type ParsedRecord, type Payload, parseBorrowedRecord, parseRecord, TOMBSTONE } from './record.ts'
import { type ChainVisitor, versionAt, versionsOf } from './version-row.ts'

/** The rows of a key in the history, oldest first. */
export async function* versionRows(view: View, key: Uint8Array): AsyncGenerator<Row, void, undefined> {
  let bound: ScanRange = { gte: firstVersionKey(key) }
  const lte = lastVersionKey(key)
  for (;;) {
    const page = await view.scan('history', { ...bound, lte })
    yield* page.rows
    const last = page.rows.at(-1)
    if (!page.more || last === undefined) return
    bound = { gt: last.key }
  }
}

/** All versions of a key, oldest first: those of the history, tombstones included, then the live record. */
export async function readVersions(view: View, key: Uint8Array): Promise<ParsedRecord[]> {
  const versions: ParsedRecord[] = []
  const [stored] = await Promise.all([
    view.get('live', key),
    (async () => {
      for await (const row of versionRows(view, key)) versions.push(...versionsOf(row))
    })(),
  ])
  if (stored === undefined) return versions
  const live = parseRecord(key, stored)
  // On equal birth the live record wins over the tombstone.
  if (versions.at(-1)?.birth === live.birth) versions.pop()
  versions.push(live)
  return versions
}

/** One key and the record that a reader sees there. */
export interface KeyedRecord {
  readonly key: Uint8Array
  readonly record: ParsedRecord
}

/** The newest version of `key` in the history with a birth up to `epoch`: a value, a tombstone, or none. */
function readVersion(
  view: View,
  key: Uint8Array,
  epoch: number,
  onChain: ChainVisitor | undefined,
): MaybePromise<ParsedRecord | undefined> {
  return whenReady(
    view.seek('history', floorQuery(key, epoch)),
    row => row && versionAt(row, epoch, key, onChain),
  )
}

/** Asks for the row of `key` that holds its newest version born by `epoch`. */
export function floorQuery(key: Uint8Array, epoch: number): FloorQuery {
  return { key: versionKey(key, epoch), min: firstVersionKey(key) }
}

/**
 * What `key` held at `epoch`: of the live record and the history, the version with the greatest birth up to it.
 *
 * The live record was born after every version in the history (or with a tombstone, over which it wins), so that one
 * lookup answers where nothing changed since, and one lookup and a seek where something did. The epoch may still be on
 * its way. Is the version found in a chain, `onChain` is told which.
 */
export function readAt(
  view: View,
  key: Uint8Array,
  epochOrPromise: MaybePromise<number>,
  onChain?: ChainVisitor,
): MaybePromise<ParsedRecord | undefined> {
  return whenBoth(epochOrPromise, view.get('live', key), (epoch, bytes) => {
    if (bytes !== undefined) {
      const record = parseRecord(key, bytes)
      if (record.birth <= epoch) return record
    }
    return whenReady(readVersion(view, key, epoch, onChain), presentRecord)
  })
}

/** {@link readAt} for many keys, in at most two calls of the engine. */
export function readManyAt(
  view: View,
  keys: readonly Uint8Array[],
  epochOrPromise: MaybePromise<number>,
): MaybePromise<(ParsedRecord | undefined)[]> {
  return whenBoth(epochOrPromise, view.getMany('live', keys), (epoch, found) =>
    presentRecords(view, keys, parseAll(keys, found), epoch),
  )
}

/**
 * Makes something of what keys hold, in their order: of `undefined` where there is nothing. What it is given may be written over
 * after the call.
 */
export interface ManyConversion<T> {
  /** `index` is the place of the key. */
  add(payload: Payload | undefined, index: number): void
  /** What has become of them, in their order. */
  take(): T[]
}

/** What a conversion makes of what keys hold. */
export function convertMany<T>(
  payloads: readonly (Payload | undefined)[],
  conversion: ManyConversion<T>,
): T[] {
  for (let i = 0; i < payloads.length; i++) conversion.add(payloads[i], i)
  return conversion.take()
}

/**
 * What becomes of the live records of keys, which are not copied for it. `others` are the places of keys that have none, or one that
 * was born after the epoch: for these it is given `undefined`.
 */
export function visitManyLive<T>(
  view: View,
  keys: readonly Uint8Array[],
  epoch: number,
  conversion: ManyConversion<T>,
): { readonly items: T[]; readonly others: number[] } | undefined {
  if (view.visitMany === undefined) return undefined
  const others: number[] = []
  let next = 0
  const passTo = (index: number): void => {
    for (; next < index; next++) {
      others.push(next)
      conversion.add(undefined, next)
    }
  }
  view.visitMany('live', keys, (i, bytes, length) => {
    const record = parseBorrowedRecord(keys[i] as Uint8Array, bytes, length)
    if (record.birth > epoch) return
    passTo(i)
    conversion.add(record, i)
    next++
  })
  passTo(keys.length)
  return { items: conversion.take(), others }
}

/** {@link readManyAt} for two epochs, in no more calls one after the other. */
export function readManyAtBoth(
  view: View,
  keys: readonly Uint8Array[],
  [one, other]: readonly [number, number],
): MaybePromise<[(ParsedRecord | undefined)[], (ParsedRecord | undefined)[]]> {
  return whenReady(view.getMany('live', keys), found => {
    const live = parseAll(keys, found)
    return whenBoth(
      presentRecords(view, keys, live, one),
      presentRecords(view, keys, live, other),
      (ones, others) => [ones, others],
    )
  })
}

function parseAll(
  keys: readonly Uint8Array[],
  stored: readonly (Uint8Array | undefined)[],
): readonly (ParsedRecord | undefined)[] {
  return stored.map((bytes, i) => bytes && parseRecord(keys[i] as Uint8Array, bytes))
}

/** What keys held at `epoch`, given their live records. */
function presentRecords(
  view: View,
  keys: readonly Uint8Array[],
  live: readonly (ParsedRecord | undefined)[],
  epoch: number,
): MaybePromise<(ParsedRecord | undefined)[]> {
  const records = new Array<ParsedRecord | undefined>(keys.length).fill(undefined)
  const older: number[] = []
  for (let i = 0; i < keys.length; i++) {
    const record = live[i]
    if (record !== undefined && record.birth <= epoch) records[i] = record
    else older.push(i)
  }
  if (older.length === 0) return records
  const queries = older.map(i => floorQuery(keys[i] as Uint8Array, epoch))
  return whenReady(view.seekMany('history', queries), rows => {
    for (let j = 0; j < rows.length; j++) {
      const row = rows[j]
      if (row === undefined) continue
      const i = older[j] as number
      records[i] = presentRecord(versionAt(row, epoch, keys[i] as Uint8Array))
    }
    return records
  })
}

/** A record, unless it says that there is none. */
export function presentRecord(record: ParsedRecord | undefined): ParsedRecord | undefined {
  return record?.codec === TOMBSTONE ? undefined : record
}

/** A page of records in key order. */
export interface RecordPage {
  readonly records: readonly KeyedRecord[]
  /** Where the next page begins: past this key. `undefined` at the end of the range. */
  readonly resumeAfter: Uint8Array | undefined
}

/** A range of keys, as UTF-8 bytes, and the direction. */
export type KeyRange = Pick<ScanRange, 'gt' | 'gte' | 'lt' | 'lte' | 'reverse' | 'limit'>

/** The next page of the live records of a range. */
export function scanLive(view: View, range: KeyRange): MaybePromise<RecordPage> {
  return whenReady(view.scan('live', range), page => ({
    records: page.rows.map(({ key, value }) => ({ key, record: parseRecord(key, value) })),
    resumeAfter: page.more ? page.rows.at(-1)?.key : undefined,
  }))
}

/** Makes something of records. What it is given may be written over after the call. */
export interface Conversion<T> {
  add(key: Uint8Array, record: ParsedRecord): void
  /** What has become of them, in their order. */
  take(): T[]
}

/** What a conversion makes of records. */
export function convertAll<T>(records: readonly KeyedRecord[], conversion: Conversion<T>): T[] {
  for (const { key, record } of records) conversion.add(key, record)
  return conversion.take()
}

/** {@link scanLive} of so many rows, where each record is made into something else as it is met: it is not copied. */
export function visitLive<T>(
  view: View,
  range: KeyRange,
  rows: number,
  conversion: Conversion<T>,
): { readonly items: T[]; readonly bytes: number; readonly resumeAfter: Uint8Array | undefined } | undefined {
  if (view.visit === undefined) return undefined
  let bytes = 0
  let last: Uint8Array | undefined
  const limit = Math.min(range.limit ?? rows, rows)
  const more = view.visit('live', { ...range, limit }, (key, buffer, length) => {
    conversion.add(key, parseBorrowedRecord(key, buffer, length))
    bytes += length
    last = key
  })
  const resumeAfter = more && last !== undefined ? Buffer.from(last) : undefined
  return { items: conversion.take(), bytes, resumeAfter }
}

/**
 * The next page of what a range held at `epoch`.
 *
 * Live records born by then stand as they are. The others are looked up in the history, and so are keys that are no
 * longer live: those are found by leaping through the history from key to key, however many versions each has.
 */
export async function scanAt(
  view: View,
  range: KeyRange,
  epoch: number,
  limits: HistoryLimits,
): Promise<RecordPage> {
  const reverse = range.reverse === true
  const { page, dead } = await liveAndDead(view, range, limits.deadKeys)
  const boundary = page.more ? page.rows.at(-1)?.key : undefined
  const end = dead.resumeAfter
  // Where the dead keys were cut off, the live keys past the cut belong to the next page.
  const rows = end === undefined ? page.rows : page.rows.filter(row => !before(end, row.key, reverse))
  const keys = mergeKeys(rows, dead.keys, reverse)
  const live = new Map<Uint8Array, Uint8Array>(rows.map(row => [row.key, row.value]))
  const stored = parseAll(
    keys,
    keys.map(key => live.get(key)),
  )
  const records = await presentRecords(view, keys, stored, epoch)
  const found: KeyedRecord[] = []
  for (const [i, key] of keys.entries()) {
    const record = records[i]
    if (record !== undefined) found.push({ key, record })
  }
  return { records: found, resumeAfter: end ?? boundary }
}

/** A page of live rows, and the keys up to its end that are only in the history. */
async function liveAndDead(
  view: View,
  range: KeyRange,
  mostDead: number,
): Promise<{ readonly page: Page; readonly dead: DeadKeys }> {
  if (view.leap === undefined) {
    const page = await view.scan('live', range)
    const boundary = page.more ? page.rows.at(-1)?.key : undefined
    return { page, dead: await deadKeys(view, range, boundary, page.rows, mostDead) }
  }
  const reverse = range.reverse === true
  const bounds = { ...historyBounds(range), reverse, limit: mostDead }
  const [page, leaps] = await Promise.all([
    view.scan('live', range),
    view.leap('history', bounds, VERSION_SUFFIX_BYTES),
  ])
  const past = leaps.rows.map(row => splitVersionKey(row.key).key)
  const boundary = page.more ? page.rows.at(-1)?.key : undefined
  const live = new Set(page.rows.map(row => toByteString(row.key)))
  const inPage = boundary === undefined ? past : past.filter(key => !before(boundary, key, reverse))
  // Keys past the last one that was leapt to may be in the history as well.
  const resumeAfter = leaps.more && inPage.length === past.length ? past.at(-1) : undefined
  return { page, dead: { keys: inPage.filter(key => !live.has(toByteString(key))), resumeAfter } }
}

interface DeadKeys {
  readonly keys: readonly Uint8Array[]
  /** Set where the keys were cut off at a page's worth. */
  readonly resumeAfter: Uint8Array | undefined
}

/** The keys of a range, up to and including `boundary`, that are in the history but not among the live rows; the first `most`. */
async function deadKeys(
  view: View,
  range: KeyRange,
  boundary: Uint8Array | undefined,
  live: readonly Row[],
  most: number,
): Promise<DeadKeys> {
  const reverse = range.reverse === true
  const keys: Uint8Array[] = []
  let next = historyBounds(range)
  let position = 0
  for (;;) {
    const { rows } = await view.scan('history', { ...next, reverse, limit: 1, keysOnly: true })
    const row = rows[0]
    if (row === undefined) return { keys, resumeAfter: undefined }
    const { key } = splitVersionKey(row.key)
    if (
      boundary !== undefined &&
      (reverse ? compareBytes(key, boundary) < 0 : compareBytes(key, boundary) > 0)
    ) {
      return { keys, resumeAfter: undefined }
    }
    // Both sides are sorted the same way: walk the live keys along.
    while (position < live.length && before((live[position] as Row).key, key, reverse)) position++
    const current = live[position]
    if (current === undefined || !bytesEqual(current.key, key)) {
      keys.push(key)
      if (keys.length >= most) return { keys, resumeAfter: key }
    }
    next = reverse
      ? { ...next, lt: firstVersionKey(key), lte: undefined }
      : { ...next, gt: lastVersionKey(key), gte: undefined }
  }
}

function before(a: Uint8Array, b: Uint8Array, reverse: boolean): boolean {
  return reverse ? compareBytes(a, b) > 0 : compareBytes(a, b) < 0
}

/** The same range over the history table. */
function historyBounds(range: KeyRange): Pick<ScanRange, 'gt' | 'gte' | 'lt' | 'lte'> {
  const { gt, gte, lt, lte } = range
  return {
    gt: gt && lastVersionKey(gt),
    gte: gte && firstVersionKey(gte),
    lt: lt && firstVersionKey(lt),
    lte: lte && lastVersionKey(lte),
  }
}

function mergeKeys(live: readonly Row[], dead: readonly Uint8Array[], reverse: boolean): Uint8Array[] {
  const keys: Uint8Array[] = []
  let i = 0
  for (const key of dead) {
    while (i < live.length && before((live[i] as Row).key, key, reverse)) keys.push((live[i++] as Row).key)
    keys.push(key)
  }
  while (i < live.length) keys.push((live[i++] as Row).key)
  return keys
}
