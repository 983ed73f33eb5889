import { fromByteString } from '../core/bytes.ts'
import { MAX_EPOCH } from '../core/key.ts'
import type { BulkSource } from '../history/bulk-commit.ts'
import { readChangedKeys } from '../history/change-list.ts'
import type { History } from '../history/history.ts'
import { readManyAt } from '../history/reader.ts'
import { payloadsEqual } from '../history/record.ts'
import { requireSnapshot } from '../history/snapshot-table.ts'

/** Keys read and compared at a time. */
const CHUNK_KEYS = 500

/** The change that makes the current state equal to a snapshot's: among the keys touched since, those that differ. */
export function restoreSource(history: History, version: number): BulkSource {
  return {
    async prepare(patch) {
      let above = ''
      for (let more = true; more; ) {
        const page = await history.view(async view => {
          const { epoch } = await requireSnapshot(view, version)
          return readChangedKeys(view, { after: epoch, through: MAX_EPOCH }, above)
        })
        for (let start = 0; start < page.keys.length; start += CHUNK_KEYS) {
          const keys = page.keys.slice(start, start + CHUNK_KEYS).map(fromByteString)
          await history.view(async (view, head) => {
            const { epoch } = await requireSnapshot(view, version)
            const then = await readManyAt(view, keys, epoch)
            const now = await readManyAt(view, keys, head.epoch)
            for (const [i, key] of keys.entries())
              if (!payloadsEqual(then[i], now[i])) patch.add(key, then[i])
          })
          await patch.relieve()
        }
        above = page.keys.at(-1) ?? above
        more = page.more
      }
    },
    async targets(view, keys) {
      const { epoch } = await requireSnapshot(view, version)
      const records = await readManyAt(view, keys, epoch)
      return records.map(target => ({ target }))
    },
  }
}
