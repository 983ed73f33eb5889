import { type EncodedValue, encodedEqual } from '../core/value-codec.ts'
import type { BulkSource } from '../history/bulk-commit.ts'
import { deleteOthers } from '../history/delete-others.ts'
import type { History } from '../history/history.ts'
import { readManyAt } from '../history/reader.ts'
import { fromPayload, type Payload, toPayload } from '../history/record.ts'

/** Keys read and compared at a time. */
const CHUNK_KEYS = 500

/** The change that makes the state equal to some data: what differs is set, what the data lacks is deleted. `signal` cancels. */
export function saveSource(
  history: History,
  data: ReadonlyMap<string, EncodedValue>,
  compression: boolean,
  signal?: AbortSignal,
): BulkSource {
  const keys = [...data.keys()]
  const target = (key: string): Payload | undefined => {
    const value = data.get(key)
    return value && toPayload(value, compression)
  }
  return {
    async prepare(patch) {
      const start = await history.head()
      let alreadyThere = 0
      for (let at = 0; at < keys.length; at += CHUNK_KEYS) {
        const chunk = keys.slice(at, at + CHUNK_KEYS)
        const encoded = chunk.map(name => history.keys.encode(name))
        const records = await history.view((view, head) => readManyAt(view, encoded, head.epoch))
        for (const [i, record] of records.entries()) {
          const key = chunk[i] as string
          if (record !== undefined) {
            alreadyThere++
            if (encodedEqual(fromPayload(record), data.get(key) as EncodedValue)) continue
          }
          patch.add(encoded[i] as Uint8Array, target(key))
        }
        await patch.relieve()
        signal?.throwIfAborted()
      }
      const end = await history.head()
      // If nobody wrote meanwhile and every key of the state was met above, there is none to delete.
      if (end.sequence === start.sequence && end.size === alreadyThere) return
      await deleteOthers(history, patch, async live => live.map(key => data.has(history.keys.decode(key))))
      signal?.throwIfAborted()
    },
    async targets(_view, touched) {
      return touched.map(key => ({ target: target(history.keys.decode(key)) }))
    },
  }
}

/** The change that empties the state. */
export function clearSource(history: History): BulkSource {
  return {
    prepare: patch => deleteOthers(history, patch, async keys => keys.map(() => false)),
    async targets(_view, touched) {
      return touched.map(() => ({ target: undefined }))
    },
  }
}
