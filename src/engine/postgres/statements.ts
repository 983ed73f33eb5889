import { createHash } from 'node:crypto'
import { TABLES, type Table } from '../engine.ts'

/** A prepared statement: the text, and a name that no other text has on the same connection. */
export interface Statement {
  readonly name: string
  readonly text: string
}

/** The statements of one table of the store. The first value of each is the name of the store. */
export interface TableStatements {
  /** (key) → (value) */
  readonly get: Statement
  /** (keys) → (index from 1, value), where there is one */
  readonly getMany: Statement
  /** (key, min) → (key, value) */
  readonly seek: Statement
  /** (keys, mins) → (index from 1, key, value), where there is one */
  readonly seekMany: Statement
  /** (from, below, rows, bytes) → (key, value), up to the row with which that many bytes are reached */
  readonly scan: Statement
  readonly scanReverse: Statement
  /** (from, below, rows) → (key) */
  readonly scanKeys: Statement
  readonly scanKeysReverse: Statement
  /** (from, below, rows, suffix, lowest or highest suffix) → (key), the first of those alike but for their suffix */
  readonly leap: Statement
  readonly leapReverse: Statement
  /** (keys, values) */
  readonly put: Statement
  /** (keys) */
  readonly remove: Statement
  /** () → (entries, bytes) */
  readonly measure: Statement
}

/** The statements of a schema. */
export interface Statements {
  readonly tables: Readonly<Record<Table, TableStatements>>
  /** (store) → one row; holds off other writers of the store until the transaction ends */
  readonly lock: Statement
  /** (store, writer, commit) */
  readonly noteCommit: Statement
  /** (store, writer) → (commit) */
  readonly lastCommit: Statement
  /** (channel, writer) */
  readonly notify: Statement
  /** Makes a commit wait for the disk where the server's setting would let it go on before. */
  readonly flush: Statement
  /** (schema, names of tables) → (bytes) of the tables, of all stores */
  readonly size: Statement
}

/** An identifier, quoted: it may hold anything but NUL. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A table of the schema, by its whole name. */
export function tableName(schema: string, table: string): string {
  return `${quoteIdentifier(schema)}.varve_${table}`
}

export function statementsOf(schema: string): Statements {
  const name = (table: string): string => tableName(schema, table)
  const tables = Object.fromEntries(TABLES.map(table => [table, tableStatements(name(table))])) as Record<
    Table,
    TableStatements
  >
  return {
    tables,
    lock: statement(`SELECT 1 FROM ${name('stores')} WHERE store = $1 FOR UPDATE`),
    noteCommit: statement(
      `INSERT INTO ${name('writers')} (store, writer, commit_number, used_at) VALUES ($1, $2, $3, now())
       ON CONFLICT (store, writer) DO UPDATE SET commit_number = excluded.commit_number, used_at = excluded.used_at`,
    ),
    lastCommit: statement(`SELECT commit_number FROM ${name('writers')} WHERE store = $1 AND writer = $2`),
    notify: statement('SELECT pg_notify($1, $2)'),
    flush: statement(
      `SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit', true) = 'off'`,
    ),
    size: statement(
      `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)
       FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
       WHERE n.nspname = $1 AND c.relname = ANY ($2::text[])`,
    ),
  }
}

function statement(text: string): Statement {
  const compact = text.replace(/\s+/g, ' ')
  return { name: `varve_${createHash('sha256').update(compact).digest('hex').slice(0, 24)}`, text: compact }
}

function tableStatements(name: string): TableStatements {
  // Bounds are brought to one form, from (inclusive) and below (exclusive), so that few plans serve every range.
  const inRange = 'store = $1 AND key >= $2 AND key < $3'
  const scan = (order: string): Statement =>
    // Window functions see rows in order: those after the one with which the page is full are not sent.
    statement(
      `SELECT key, value FROM (
         SELECT key, value,
           sum(octet_length(key) + octet_length(value)) OVER (ORDER BY key ${order} ROWS UNBOUNDED PRECEDING)
             - octet_length(key) - octet_length(value) AS before
         FROM (SELECT key, value FROM ${name} WHERE ${inRange} ORDER BY key ${order} LIMIT $4::int) AS page
       ) AS measured WHERE before < $5::bigint ORDER BY key ${order}`,
    )
  const scanKeys = (order: string): Statement =>
    statement(`SELECT key FROM ${name} WHERE ${inRange} ORDER BY key ${order} LIMIT $4::int`)
  const leap = (order: string, beyond: string): Statement => {
    const first = (bounds: string): string =>
      `SELECT key FROM ${name} AS t WHERE store = $1 AND ${bounds} ORDER BY key ${order} LIMIT 1`
    // Each step is one descent of the index, past all keys that differ from the last one in their suffix alone.
    const edge = 'substring(leaps.key FROM 1 FOR octet_length(leaps.key) - $5::int) || $6::bytea'
    return statement(
      `WITH RECURSIVE leaps AS (
         (${first('key >= $2 AND key < $3')})
         UNION ALL
         SELECT (${first(beyond.replace('EDGE', edge))}) FROM leaps WHERE leaps.key IS NOT NULL
       ) SELECT key FROM leaps WHERE key IS NOT NULL LIMIT $4::int`,
    )
  }
  return {
    get: statement(`SELECT value FROM ${name} WHERE store = $1 AND key = $2`),
    getMany: statement(
      `SELECT q.i, t.value FROM unnest($2::bytea[]) WITH ORDINALITY AS q (key, i)
       CROSS JOIN LATERAL (SELECT value FROM ${name} WHERE store = $1 AND key = q.key LIMIT 1) AS t`,
    ),
    seek: statement(
      `SELECT key, value FROM ${name} WHERE store = $1 AND key <= $2 AND key >= $3 ORDER BY key DESC LIMIT 1`,
    ),
    seekMany: statement(
      `SELECT q.i, t.key, t.value FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS q (key, least, i)
       CROSS JOIN LATERAL (
         SELECT key, value FROM ${name} WHERE store = $1 AND key <= q.key AND key >= q.least
         ORDER BY key DESC LIMIT 1
       ) AS t`,
    ),
    scan: scan('ASC'),
    scanReverse: scan('DESC'),
    scanKeys: scanKeys('ASC'),
    scanKeysReverse: scanKeys('DESC'),
    leap: leap('ASC', 'key > EDGE AND key < $3'),
    leapReverse: leap('DESC', 'key < EDGE AND key >= $2'),
    put: statement(
      `INSERT INTO ${name} (store, key, value) SELECT $1, key, value FROM unnest($2::bytea[], $3::bytea[]) AS q (key, value)
       ON CONFLICT (store, key) DO UPDATE SET value = excluded.value`,
    ),
    remove: statement(`DELETE FROM ${name} WHERE store = $1 AND key = ANY ($2::bytea[])`),
    measure: statement(
      `SELECT count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0) FROM ${name} WHERE store = $1`,
    ),
  }
}
