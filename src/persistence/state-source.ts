import type { BulkSource } from '../history/bulk-commit.ts'
import { deleteOthers } from '../history/delete-others.ts'
import type { History } from '../history/history.ts'
import { type Payload, toPayload } from '../history/record.ts'
import type { EncodedState } from './encoded-state.ts'

/** So many keys that the store lacks are added to the patch before it is asked whether it has outgrown memory. */
const ADDED_AT_A_TIME = 500

/**
 * The change that makes the state equal to some data: what differs is set, what the data lacks is deleted. `signal` cancels.
 *
 * Both are in the order of the stored keys, so that one walk over them side by side tells everything.
 */
export function saveSource(
  history: History,
  data: EncodedState,
  compression: boolean,
  signal?: AbortSignal,
): BulkSource {
  const { size } = data
  const target = (index: number): Payload => toPayload(data.valueAt(index), compression)
  return {
    async prepare(patch) {
      let next = 0
      for await (const page of history.records('head', {}, { renewable: true })) {
        for (const { key, record } of page) {
          const name = data.nameOf(key)
          let order = -1
          while (next < size) {
            order = data.compare(next, name)
            if (order >= 0) break
            patch.add(data.storedKey(next), target(next))
            if (++next % ADDED_AT_A_TIME === 0) await patch.relieve()
          }
          if (next === size || order !== 0) patch.add(key, undefined)
          else if (!data.isEqual(next++, record)) patch.add(key, target(next - 1))
        }
        await patch.relieve()
        signal?.throwIfAborted()
      }
      while (next < size) {
        patch.add(data.storedKey(next), target(next))
        if (++next % ADDED_AT_A_TIME !== 0) continue
        await patch.relieve()
        signal?.throwIfAborted()
      }
    },
    async targets(_view, touched) {
      return touched.map(key => {
        const index = data.indexOf(data.nameOf(key))
        return { target: index < 0 ? undefined : target(index) }
      })
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
