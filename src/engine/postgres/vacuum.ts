import { TABLES } from '../engine.ts'
import type { Session } from './session.ts'
import { type Statement, type Statements, tableName } from './statements.ts'

/** Which store of which schema is vacuumed, and who is told of it. */
export interface VacuumOptions {
  readonly schema: string
  readonly store: string
  readonly statements: Statements
  readonly signal: AbortSignal | undefined
  /** Called with the rows that were moved so far. */
  readonly onProgress: ((rows: number) => void) | undefined
}

/** Rows are moved where a table takes so many times what is in it, and so many bytes more. */
const LOOSE_RATIO = 1.5
const LOOSE_BYTES = 1024 * 1024
const MAX_PASSES = 3
/** A transaction moves about so many bytes, while other writers of the store wait. */
const MOVED_BYTES = 4 * 1024 * 1024

/**
 * Gives space of the tables back to the system without keeping anybody from reading, as `VACUUM FULL` would.
 *
 * A plain `VACUUM` frees what nobody can see any more, for later rows; to the system it only gives back what is free at the
 * end of a table. So where much of a table is free, the rows of the store are written anew, a few at a time: they go to the
 * free space before them, and the next `VACUUM` finds the end of the table empty. Rows of other stores stay where they are.
 *
 * The session is not for others afterwards. Where the user does not own the tables, the server leaves them as they are.
 */
export async function vacuum(session: Session, options: VacuumOptions): Promise<void> {
  const { schema, signal } = options
  // Limits of the server are meant for those who have somebody waiting.
  await session.command('SET statement_timeout TO 0')
  let rows = 0
  for (const table of TABLES) {
    signal?.throwIfAborted()
    const name = tableName(schema, table)
    const vacuumTable = (): Promise<string> => session.command(`VACUUM (ANALYZE) ${name}`)
    await vacuumTable()
    // Not every row finds a place at the front at once.
    for (let pass = 0; pass < MAX_PASSES; pass++) {
      const moved = await moveRows(session, name, options, rows)
      if (moved === 0) break
      rows += moved
      await vacuumTable()
    }
  }
}

/**
 * Writes the rows of the store in a table anew, in the order of their keys. Returns how many. It ends early where the table
 * only grows, since an old view still sees what was in the space that is free.
 */
async function moveRows(
  session: Session,
  name: string,
  { store, statements, signal, onProgress }: VacuumOptions,
  before: number,
): Promise<number> {
  const { taken, used, average } = await roomOf(session, name, store)
  if (taken <= LOOSE_RATIO * used + LOOSE_BYTES) return 0
  const move = unnamed(
    `WITH chosen AS (SELECT key FROM ${name} WHERE store = $1 AND key > $2::bytea ORDER BY key LIMIT $3::int),
       taken AS (DELETE FROM ${name} WHERE store = $1 AND key IN (SELECT key FROM chosen) RETURNING store, key, value),
       put AS (INSERT INTO ${name} (store, key, value) SELECT store, key, value FROM taken ORDER BY key RETURNING key)
     SELECT key, count(*) OVER (), pg_table_size($4::regclass) FROM put ORDER BY key DESC LIMIT 1`,
  )
  const most = Math.max(1, Math.floor(MOVED_BYTES / average))
  let last: string | undefined = '\\x'
  let rows = 0
  while (last !== undefined) {
    signal?.throwIfAborted()
    void session.command('BEGIN ISOLATION LEVEL READ COMMITTED').catch(() => undefined)
    void session.run(statements.lock, [store]).catch(() => undefined)
    const moving = session.run(move, [store, last, most, name])
    await session.command('COMMIT')
    const [[key, count = 0, size = 0] = []] = await moving
    last = Number(size) > taken + LOOSE_BYTES + MOVED_BYTES ? undefined : key
    rows += Number(count)
    onProgress?.(before + rows)
  }
  return rows
}

/** The bytes of a table without its index, those of the rows in it, and what a row of the store takes on average. */
async function roomOf(
  session: Session,
  name: string,
  store: string,
): Promise<{ readonly taken: number; readonly used: number; readonly average: number }> {
  const text = `SELECT pg_table_size($2::regclass), coalesce(sum(bytes), 0), coalesce(avg(bytes) FILTER (WHERE store = $1), 0)
    FROM (SELECT store, pg_column_size(key) + pg_column_size(value) AS bytes FROM ${name}) AS sizes`
  const [[taken, used, average] = []] = await session.run(unnamed(text), [store, name])
  return { taken: Number(taken), used: Number(used), average: Math.max(1, Number(average)) }
}

function unnamed(text: string): Statement {
  return { name: '', text }
}
