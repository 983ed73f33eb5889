// @ts-check
import { mkdir } from 'node:fs/promises'
import { open as openEnvironment } from 'lmdb'

/**
 * lmdb with its defaults: values in MessagePack. A write is acknowledged once it is committed and visible, before it is
 * flushed.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  const db = openEnvironment({ path: folder, noSubdir: false })
  /** @param {Iterable<import('./peer.js').Entry>} entries */
  const putAll = entries =>
    db.transaction(() => {
      for (const [key, value] of entries) db.put(key, value)
    })
  return {
    set: (key, value) => db.put(key, value),
    setMany: putAll,
    get: key => db.get(key),
    getMany: keys => db.getMany([...keys]),
    entries: () => db.getRange(),
    save: state => putAll(Object.entries(state)),
    async backup(target) {
      await mkdir(target)
      await db.backup(target, false)
    },
    close: () => db.close(),
  }
}
