import type { BulkSource } from '../history/bulk-commit.ts'
import type { History } from '../history/history.ts'
import type { CurrentRecord } from '../history/patch-buffer.ts'
import { readManyAt } from '../history/reader.ts'
import {
  compressPayload,
  type ParsedRecord,
  type Payload,
  payloadsEqual,
  storedRecord,
} from '../history/record.ts'
import { touchedRecords } from './touched-records.ts'

/**
 * The change that makes the current state equal to a snapshot's: among the keys touched since, those that differ.
 * `signal` cancels it, until it is decided.
 */
export function restoreSource(
  history: History,
  version: number,
  compression: boolean,
  signal?: AbortSignal,
): BulkSource {
  const toTarget = (record: ParsedRecord | undefined): Payload | undefined =>
    record && compressPayload(record, compression)
  return {
    async prepare(patch) {
      for await (const chunk of touchedRecords(history, version, 'head')) {
        for (const { key, before, after } of chunk)
          if (!payloadsEqual(before, after)) patch.add(key, toTarget(before), currentRecord(after))
        await patch.relieve()
        signal?.throwIfAborted()
      }
    },
    async targets(view, keys) {
      const records = await readManyAt(view, keys, history.epochIn(view, version))
      return records.map(record => ({ target: toTarget(record) }))
    },
  }
}

/** What the head has of a key, as it is stored there. */
function currentRecord(record: ParsedRecord | undefined): CurrentRecord | undefined {
  if (record === undefined) return { stored: undefined }
  const stored = storedRecord(record)
  return stored && { stored }
}
