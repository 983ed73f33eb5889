import { EngineError } from '../../core/errors.ts'
import { TABLES } from '../engine.ts'
import { isCreationRace, isMissing, isReadOnly } from './errors.ts'
import type { Session, TextRow } from './session.ts'
import { quoteIdentifier, tableName } from './statements.ts'

/** The version of the tables. Raised when an older varve could no longer use them. */
const SCHEMA_VERSION = 1
/** So often is the creation tried while other hosts do the same. */
const MAX_ATTEMPTS = 20
/** Notes of writers that have not committed for so long are removed; nobody will ask for their last commit any more. */
const FORGOTTEN_AFTER = '7 days'

/**
 * Makes sure that the schema has the tables of this version, and the store its row.
 *
 * Any number of hosts may do so at once. Where all is there already, nothing is asked for that needs the right to create, or
 * to write: a server that only reads will do.
 *
 * @throws {EngineError} with code `FORMAT_TOO_NEW` if a newer varve made the tables, and `ENGINE_NO_STORE` if something is
 *   missing that is not to be created.
 */
export async function prepareSchema(
  session: Session,
  schema: string,
  store: string,
  mayCreate: boolean,
): Promise<void> {
  for (let attempt = 1; !(await isCurrent(session, schema)); attempt++) {
    if (!mayCreate) throw noStore(schema, store)
    try {
      await create(session, schema)
    } catch (error) {
      await session.command('ROLLBACK')
      if (!isCreationRace(error) || attempt >= MAX_ATTEMPTS) throw error
    }
  }
  const run = (text: string): Promise<readonly TextRow[]> => session.run({ name: '', text }, [store])
  const stores = tableName(schema, 'stores')
  if ((await run(`SELECT 1 FROM ${stores} WHERE store = $1`)).length === 0) {
    if (!mayCreate) throw noStore(schema, store)
    await run(`INSERT INTO ${stores} (store) VALUES ($1) ON CONFLICT (store) DO NOTHING`)
  }
  await run(
    `DELETE FROM ${tableName(schema, 'writers')} WHERE store = $1 AND used_at < now() - interval '${FORGOTTEN_AFTER}'`,
  ).catch((error: unknown) => {
    if (!isReadOnly(error)) throw error
  })
}

function noStore(schema: string, store: string): EngineError {
  return new EngineError(
    `There is no store ${JSON.stringify(store)} in the schema ${JSON.stringify(schema)} of this database.`,
    { code: 'ENGINE_NO_STORE' },
  )
}

async function isCurrent(session: Session, schema: string): Promise<boolean> {
  let version: number
  try {
    const text = `SELECT version FROM ${tableName(schema, 'schema')}`
    const [row] = await session.run({ name: '', text }, [])
    if (row === undefined) return false
    version = Number(row[0])
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
  if (version === SCHEMA_VERSION) return true
  throw new EngineError(
    `The tables in the schema ${JSON.stringify(schema)} are of version ${version}, and this varve knows ${SCHEMA_VERSION}. Update varve.`,
    { code: 'FORMAT_TOO_NEW' },
  )
}

async function create(session: Session, schema: string): Promise<void> {
  const name = (table: string): string => tableName(schema, table)
  const steps = [
    'BEGIN',
    // The name of the store leads every primary key: stores share the tables, and a cluster can split them by it.
    `CREATE TABLE IF NOT EXISTS ${name('schema')} (
       id integer PRIMARY KEY CHECK (id = 1), version integer NOT NULL)`,
    `CREATE TABLE IF NOT EXISTS ${name('stores')} (store text COLLATE "C" PRIMARY KEY)`,
    `CREATE TABLE IF NOT EXISTS ${name('writers')} (
       store text COLLATE "C" NOT NULL, writer text NOT NULL, commit_number bigint NOT NULL,
       used_at timestamptz NOT NULL, PRIMARY KEY (store, writer))`,
    ...TABLES.map(
      table => `CREATE TABLE IF NOT EXISTS ${name(table)} (
        store text COLLATE "C" NOT NULL, key bytea NOT NULL, value bytea NOT NULL, PRIMARY KEY (store, key))`,
    ),
    `INSERT INTO ${name('schema')} (id, version) VALUES (1, ${SCHEMA_VERSION}) ON CONFLICT (id) DO NOTHING`,
    'COMMIT',
  ]
  // A user that may not create schemas may have been given one.
  const existing = await session.run(
    { name: '', text: 'SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1' },
    [schema],
  )
  if (existing.length === 0) {
    steps.splice(1, 0, `CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(schema)}`)
  }
  for (const step of steps) await session.command(step)
}
