// @ts-check
import { join } from 'node:path'
import Database from 'better-sqlite3'

/**
 * better-sqlite3: one table, values as JSON text. In WAL mode with `synchronous = NORMAL`, as its documentation advises:
 * a commit waits for no flush, checkpoints do.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  const db = new Database(join(folder, 'state.db'))
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = NORMAL')
  db.exec('CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID')
  return overTable(db)
}

/**
 * A table `state` as a peer.
 *
 * @param {import('better-sqlite3').Database} db
 * @returns {import('./peer.js').Peer}
 */
export function overTable(db) {
  const upsert = db.prepare(
    'INSERT INTO state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
  )
  const select = db.prepare('SELECT value FROM state WHERE key = ?').pluck()
  const selectAll = db.prepare('SELECT key, value FROM state ORDER BY key').raw()
  /** @param {unknown} text */
  const parse = text => (text === undefined ? undefined : JSON.parse(/** @type {string} */ (text)))
  const upsertAll = db.transaction(entries => {
    for (const [key, value] of entries) upsert.run(key, JSON.stringify(value))
  })
  return {
    set: (key, value) => upsert.run(key, JSON.stringify(value)),
    setMany: entries => upsertAll(entries),
    get: key => parse(select.get(key)),
    getMany: keys => keys.map(key => parse(select.get(key))),
    *entries() {
      for (const [key, text] of /** @type {Iterable<[string, string]>} */ (selectAll.iterate()))
        yield [key, parse(text)]
    },
    save: state => upsertAll(Object.entries(state)),
    backup: target => db.prepare('VACUUM INTO ?').run(target),
    close: () => db.close(),
  }
}
