import type { History } from './history.ts'
import type { PatchBuffer } from './patch-buffer.ts'

/** Adds to a patch the deletion of every current key that is not to be kept. `kept` is asked for keys in key order. */
export async function deleteOthers(
  history: History,
  patch: PatchBuffer,
  kept: (keys: readonly Uint8Array[]) => Promise<readonly boolean[]>,
): Promise<void> {
  for await (const page of history.records('head', {})) {
    const keys = page.map(({ key }) => key)
    const keep = await kept(keys)
    for (const [i, key] of keys.entries()) if (keep[i] !== true) patch.add(key, undefined)
    await patch.relieve()
  }
}
