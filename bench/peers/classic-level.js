// @ts-check
import { ClassicLevel } from 'classic-level'

/**
 * classic-level with its defaults: LevelDB, whose writes wait for no flush.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  /** @type {ClassicLevel<string, unknown>} */
  const db = new ClassicLevel(folder, { valueEncoding: 'json' })
  await db.open()
  return {
    set: (key, value) => db.put(key, value),
    setMany: entries => db.batch(entries.map(([key, value]) => ({ type: 'put', key, value }))),
    get: key => db.get(key),
    getMany: keys => db.getMany([...keys]),
    entries: () => db.iterator(),
    close: () => db.close(),
  }
}
