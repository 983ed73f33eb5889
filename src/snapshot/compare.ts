import { decodeValue, type EncodedValue, JSON_CODEC } from '../core/value-codec.ts'
import { binaryBodyLength } from '../delta/binary-body.ts'
import { createPatch, type JsonPatchOperation } from '../delta/json-patch.ts'
import { scalarPatch } from '../delta/scalar-patch.ts'
import { encodeBody } from '../delta/strategies.ts'
import { readAgainIfLost } from '../engine/view-lost.ts'
import type { History, Moment } from '../history/history.ts'
import { decodePayload, fromPayload, type ParsedRecord, payloadsEqual } from '../history/record.ts'
import { inRange, type Range, toKeyRange } from './key-range.ts'
import { touchedRecords } from './touched-records.ts'

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
  /** Bytes of the difference as it is stored: deltas of changed values, added ones compressed. */
  readonly bytes: number
  /** Bytes of the added and changed values of the second moment, whole. */
  readonly fullBytes: number
  /** `bytes / fullBytes`; 0 where nothing was added or changed. */
  readonly ratio: number
}

/** What `compareSnapshots()` returns. */
export interface SnapshotComparison {
  readonly version1: string
  readonly version2: string
  readonly isDifferent: boolean
  /** Keys that only the second moment has, in key order. */
  readonly added: string[]
  /** Keys that only the first moment has, in key order. */
  readonly removed: string[]
  readonly changed: ChangedKey[]
  readonly deltaInfo: DeltaInfo
}

interface DifferingRecord {
  readonly key: string
  readonly before: ParsedRecord | undefined
  readonly after: ParsedRecord | undefined
}

/** The keys that differ between two moments, in key order, some at a time: those are good until the next are asked for. */
async function* differingRecords(
  history: History,
  from: Moment,
  to: Moment,
  range: Range | undefined,
  consistent: boolean,
): AsyncGenerator<readonly DifferingRecord[], void, undefined> {
  const keyRange = toKeyRange(range)
  const wanted = range && inRange(keyRange, history.keys)
  const options = { ...(wanted && { wanted }), reverse: keyRange.reverse === true, consistent }
  let left = keyRange.limit ?? Number.POSITIVE_INFINITY
  if (left === 0) return
  for await (const chunk of touchedRecords(history, from, to, options)) {
    const differing: DifferingRecord[] = []
    for (const { key, before, after } of chunk) {
      if (payloadsEqual(before, after)) continue
      differing.push({ key: history.keys.decode(key), before, after })
      if (--left === 0) break
    }
    if (differing.length > 0) yield differing
    differing.length = 0
    if (left === 0) return
  }
}

/** Streams what differs between two moments, with the values. */
export async function* diff(
  history: History,
  from: Moment,
  to: Moment,
  range?: Range,
): AsyncGenerator<Difference, void, undefined> {
  for await (const differing of differingRecords(history, from, to, range, false)) {
    for (const { key, before, after } of differing) {
      if (before === undefined) yield { key, type: 'added', after: decode(after) }
      else if (after === undefined) yield { key, type: 'removed', before: decode(before) }
      else yield { key, type: 'changed', before: decode(before), after: decode(after) }
    }
  }
}

function patchOf(before: EncodedValue, after: EncodedValue): JsonPatchOperation[] {
  const areTexts = before.codec === JSON_CODEC && after.codec === JSON_CODEC
  const patch = areTexts ? scalarPatch(before.bytes, after.bytes) : undefined
  if (patch !== undefined) return patch
  return createPatch(decodeValue(before.codec, before.bytes), decodeValue(after.codec, after.bytes))
}

function decode(record: ParsedRecord | undefined): unknown {
  return record && decodePayload(record)
}

/** Gathers what differs between two moments. `names` are their names for the result. */
export function compare(
  history: History,
  moments: readonly [Moment, Moment],
  names: readonly [string, string],
): Promise<SnapshotComparison> {
  return readAgainIfLost(() => gather(history, moments, names))
}

async function gather(
  history: History,
  [from, to]: readonly [Moment, Moment],
  [version1, version2]: readonly [string, string],
): Promise<SnapshotComparison> {
  const added: string[] = []
  const removed: string[] = []
  const changed: ChangedKey[] = []
  let bytes = 0
  let fullBytes = 0
  for await (const differing of differingRecords(history, from, to, undefined, true)) {
    for (const { key, before, after } of differing) {
      if (after === undefined) {
        removed.push(key)
        continue
      }
      const whole = fromPayload(after)
      fullBytes += whole.bytes.byteLength
      if (before === undefined) {
        added.push(key)
        bytes += encodeBody('compress', whole, whole).body.byteLength
      } else {
        const old = fromPayload(before)
        changed.push({ key, patch: patchOf(old, whole) })
        bytes += binaryBodyLength(old.bytes, whole.bytes)
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
