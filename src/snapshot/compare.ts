import { fromByteString } from '../core/bytes.ts'
import { decodeKey } from '../core/key.ts'
import { createPatch, type JsonPatchOperation } from '../delta/json-patch.ts'
import type { View } from '../engine/engine.ts'
import { readChangedKeys } from '../history/change-list.ts'
import type { Head } from '../history/head.ts'
import type { History, Moment } from '../history/history.ts'
import { readManyAt } from '../history/reader.ts'
import { decodePayload, fromPayload, type ParsedRecord, payloadsEqual } from '../history/record.ts'
import { requireSnapshot } from '../history/snapshot-table.ts'
import { inRange, type Range, toKeyRange } from './key-range.ts'

/** One key that differs between two moments. */
export interface Difference {
  readonly key: string
  readonly type: 'added' | 'removed' | 'changed'
  /** The value at the first moment, unless the key was added. */
  readonly before?: unknown
  /** The value at the second moment, unless the key was removed. */
  readonly after?: unknown
}

/** A key that both moments have with different values, and the RFC 6902 JSON Patch from the first to the second. */
export interface ChangedKey {
  readonly key: string
  readonly patch: JsonPatchOperation[]
}

/** What a difference takes. */
export interface DeltaInfo {
  /** Keys added, removed or changed. */
  readonly changes: number
  /** Bytes of the difference: values added, patches of those changed. */
  readonly bytes: number
  /** Bytes of the differing values of the second moment, stored whole. */
  readonly fullBytes: number
  /** `bytes / fullBytes`; 0 where nothing differs. */
  readonly ratio: number
}

/** What `compareSnapshots()` returns. */
export interface SnapshotComparison {
  readonly version1: string
  readonly version2: string
  readonly isDifferent: boolean
  readonly added: string[]
  readonly removed: string[]
  readonly changed: ChangedKey[]
  readonly deltaInfo: DeltaInfo
}

interface DifferingRecords {
  readonly key: string
  readonly before: ParsedRecord | undefined
  readonly after: ParsedRecord | undefined
}

/** Keys read and compared at a time. */
const CHUNK_KEYS = 500
/** A comparison moves on to a fresh view when its view is older than this, in milliseconds. */
const MAX_VIEW_AGE = 5_000

/**
 * The keys that differ between two moments, in key order.
 *
 * Reads the change lists of the epochs between and the keys they name, and nothing else of the state.
 */
async function* differingRecords(
  history: History,
  from: Moment,
  to: Moment,
  range: Range | undefined,
): AsyncGenerator<DifferingRecords[], void, undefined> {
  const keyRange = toKeyRange(range)
  const wanted = inRange(keyRange)
  let left = keyRange.limit ?? Number.POSITIVE_INFINITY
  for await (const keys of changedKeys(history, from, to, keyRange.reverse === true)) {
    const chunkKeys = keys.filter(wanted)
    let start = 0
    while (start < chunkKeys.length && left > 0) {
      const view = history.engine.read()
      const opened = performance.now()
      try {
        const [before, after] = await epochsOf(history, view, from, to)
        while (start < chunkKeys.length && left > 0 && performance.now() - opened < MAX_VIEW_AGE) {
          const chunk = chunkKeys.slice(start, start + CHUNK_KEYS).map(fromByteString)
          start += chunk.length
          const olds = await readManyAt(view, chunk, before)
          const news = await readManyAt(view, chunk, after)
          const differing: DifferingRecords[] = []
          for (const [i, key] of chunk.entries()) {
            if (payloadsEqual(olds[i], news[i])) continue
            differing.push({ key: decodeKey(key), before: olds[i], after: news[i] })
            if (--left === 0) break
          }
          if (differing.length > 0) yield differing
        }
      } finally {
        view.close()
      }
    }
    if (left === 0) return
  }
}

/** The epochs of two moments in one view. @throws {SnapshotNotFoundError} */
async function epochsOf(history: History, view: View, from: Moment, to: Moment): Promise<[number, number]> {
  const head = await history.headIn(view)
  return [await epochOf(view, from, head), await epochOf(view, to, head)]
}

async function epochOf(view: View, moment: Moment, head: Head): Promise<number> {
  return moment === 'head' ? head.epoch : (await requireSnapshot(view, moment)).epoch
}

/** The keys touched between two moments, sorted, in pages. In descending order all of them are gathered first. */
async function* changedKeys(
  history: History,
  from: Moment,
  to: Moment,
  reverse: boolean,
): AsyncGenerator<readonly string[], void, undefined> {
  const gathered: string[] = []
  let above = ''
  for (let more = true; more; ) {
    const page = await history.view(async view => {
      const [one, other] = await epochsOf(history, view, from, to)
      return readChangedKeys(view, { after: Math.min(one, other), through: Math.max(one, other) }, above)
    })
    if (reverse) for (const key of page.keys) gathered.push(key)
    else yield page.keys
    above = page.keys.at(-1) ?? above
    more = page.more
  }
  if (reverse) yield gathered.reverse()
}

/** Streams what differs between two moments, with the values. */
export async function* diff(
  history: History,
  from: Moment,
  to: Moment,
  range?: Range,
): AsyncGenerator<Difference, void, undefined> {
  for await (const records of differingRecords(history, from, to, range)) {
    for (const { key, before, after } of records) {
      if (before === undefined) yield { key, type: 'added', after: decode(after) }
      else if (after === undefined) yield { key, type: 'removed', before: decode(before) }
      else yield { key, type: 'changed', before: decode(before), after: decode(after) }
    }
  }
}

function decode(record: ParsedRecord | undefined): unknown {
  return record && decodePayload(record)
}

/** Gathers what differs between two moments. `names` are their names for the result. */
export async function compare(
  history: History,
  [from, to]: readonly [Moment, Moment],
  [version1, version2]: readonly [string, string],
): Promise<SnapshotComparison> {
  const added: string[] = []
  const removed: string[] = []
  const changed: ChangedKey[] = []
  let bytes = 0
  let fullBytes = 0
  for await (const records of differingRecords(history, from, to, undefined)) {
    for (const { key, before, after } of records) {
      if (after === undefined) {
        removed.push(key)
        continue
      }
      fullBytes += after.bytes.byteLength
      if (before === undefined) {
        added.push(key)
        bytes += after.bytes.byteLength
      } else {
        const patch = createPatch(decode(before), decode(after))
        changed.push({ key, patch })
        bytes += Math.min(patchBytes(patch), fromPayload(after).bytes.byteLength)
      }
    }
  }
  const changes = added.length + removed.length + changed.length
  return {
    version1,
    version2,
    isDifferent: changes > 0,
    added,
    removed,
    changed,
    deltaInfo: { changes, bytes, fullBytes, ratio: fullBytes === 0 ? 0 : bytes / fullBytes },
  }
}

/** The length of a patch as JSON text; endless for one whose values JSON does not have. */
function patchBytes(patch: readonly JsonPatchOperation[]): number {
  try {
    return Buffer.byteLength(JSON.stringify(patch))
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
