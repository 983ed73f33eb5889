// @ts-check
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { overTable } from './better-sqlite3.js'

/**
 * better-sqlite3 with a history: what a row held before is kept by triggers, once for each snapshot after which it was
 * written over. That a key did not exist yet is not noted.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  const db = new Database(join(folder, 'state.db'))
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = NORMAL')
  db.exec(`
    CREATE TABLE IF NOT EXISTS epoch (now INTEGER NOT NULL);
    INSERT INTO epoch SELECT 1 WHERE NOT EXISTS (SELECT * FROM epoch);
    CREATE TABLE IF NOT EXISTS state (
      key TEXT PRIMARY KEY, value TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS history (
      key TEXT NOT NULL, until INTEGER NOT NULL, value TEXT, PRIMARY KEY (key, until)
    ) WITHOUT ROWID;
    CREATE TRIGGER IF NOT EXISTS superseded AFTER UPDATE ON state BEGIN
      INSERT OR IGNORE INTO history SELECT old.key, now, old.value FROM epoch;
    END;
    CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON state BEGIN
      INSERT OR IGNORE INTO history SELECT old.key, now, old.value FROM epoch;
    END;
  `)
  const advance = db.prepare('UPDATE epoch SET now = now + 1 RETURNING now').pluck()
  // A row is good until the mark in whose time it was written over; so the first one after a mark is what it held there.
  const selectAt = db
    .prepare('SELECT value FROM history WHERE key = ? AND until >= ? ORDER BY until LIMIT 1')
    .pluck()
  const table = overTable(db)
  return {
    ...table,
    mark: () => /** @type {number} */ (advance.get()),
    getAt(mark, key) {
      const text = selectAt.get(key, mark)
      if (text === undefined) return table.get(key)
      return text === null ? undefined : JSON.parse(/** @type {string} */ (text))
    },
  }
}
