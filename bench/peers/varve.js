// @ts-check
import { createPersistence } from 'varve'

/**
 * varve with its defaults. An acknowledged write survives the death of the process; nothing waits for a flush.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  const store = await createPersistence({ basePath: folder })
  return {
    set: (key, value) => store.set(key, value),
    setMany: entries => store.setMany(entries),
    get: key => store.get(key),
    getMany: keys => store.getMany(keys),
    entries: () => store.entries(),
    mark: () => store.createSnapshot(),
    getAt: (mark, key) => store.at(String(mark)).get(key),
    async compare(from, to) {
      const { added, removed, changed } = await store.compareSnapshots(String(from), String(to))
      return added.length + removed.length + changed.length
    },
    restore: mark => store.restoreSnapshot(String(mark)),
    save: state => store.save(state),
    backup: () => store.createSnapshot(),
    compact: () => store.compact(),
    close: () => store.close(),
  }
}
