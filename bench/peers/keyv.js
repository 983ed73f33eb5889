// @ts-check
import { join } from 'node:path'
import KeyvSqlite from '@keyv/sqlite'
import Keyv from 'keyv'

/**
 * keyv over its SQLite store with its defaults: a rollback journal and `synchronous = FULL`, so each write waits for
 * flushes. The store has no setting for that.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  const keyv = new Keyv({ store: new KeyvSqlite(`sqlite://${join(folder, 'state.sqlite')}`) })
  return {
    set: (key, value) => keyv.set(key, value),
    setMany: entries => keyv.setMany(entries.map(([key, value]) => ({ key, value }))),
    get: key => keyv.get(key),
    getMany: keys => keyv.getMany([...keys]),
    close: () => keyv.disconnect(),
  }
}
