import type { Persistence } from '../persistence/persistence.ts'
import type { ReadableState } from '../snapshot/state-reader.ts'

/** What is to be read: the current state, or a snapshot by any of its names. */
export async function readableAt(
  store: Persistence,
  name: string,
): Promise<{ readonly version: string; readonly state: ReadableState }> {
  const version = await store.resolveVersion(name)
  return { version, state: version === 'head' ? store : store.at(version) }
}
