import { InvalidArgumentError } from '../core/errors.ts'
import { boolean, checkOptions, invalidOption, nonEmptyString, nonNegativeInteger } from '../core/options.ts'
import type { Engine } from './engine.ts'
import { createLifecycle } from './lifecycle.ts'
import { createPool, letBreak, type OwnPool, type PostgresPool } from './postgres/driver.ts'
import { toEngineError } from './postgres/errors.ts'
import { limitedPool } from './postgres/limited-pool.ts'
import { pairedPool } from './postgres/paired-pool.ts'
import { removeRows } from './postgres/remove-rows.ts'
import { openStore, type PostgresStore } from './postgres/store.ts'

export type { PostgresPool } from './postgres/driver.ts'

/** Where a store is on PostgreSQL. Either `connectionString` or `pool` is given. */
export interface PostgresOptions {
  /** Such as `postgres://user:password@host:5432/database`. The engine makes connections of its own, and closes them. */
  readonly connectionString?: string
  /**
   * A pool of the package `pg` with room for 5 connections or more, made with `pipeline: true` by preference. Each view that is
   * open holds one of its connections; commits, lookups and watching take one each, which views leave over. The engine
   * does not end it.
   */
  readonly pool?: PostgresPool
  /** The schema of its tables, which is created where it is absent. Default `varve`. */
  readonly schema?: string
  /** The name of the store, of which the tables of a schema hold any number. Default `default`. */
  readonly store?: string
  /**
   * Whether to create the schema, its tables and the store where they are absent. Default true; with `false`, `open` rejects
   * with the code `ENGINE_NO_STORE` instead.
   */
  readonly create?: boolean
  /**
   * For how long, in milliseconds, a call is tried again after a connection was lost or others came in between, where
   * that is safe. Default 10,000.
   */
  readonly retryTimeout?: number
}

/** Connections for views at most: more views wait until others are closed. */
const MAX_VIEW_CONNECTIONS = 48
/** Connections for everything else: a commit, a listener, and lookups. */
const MAX_CALL_CONNECTIONS = 6
/** Of a pool of the caller's, views leave so many over: for a commit, a listener, and lookups. */
const RESERVED_CONNECTIONS = 3
/** A read may take place inside of another. */
const MIN_VIEW_CONNECTIONS = 2
const MIN_POOL = RESERVED_CONNECTIONS + MIN_VIEW_CONNECTIONS
/** It takes a moment to connect, also where nothing is to be tried again. In milliseconds. */
const MIN_CONNECT_TIMEOUT = 5_000
const DEFAULT_SCHEMA = 'varve'
const DEFAULT_STORE = 'default'
const DEFAULT_RETRY_TIMEOUT = 10_000
/** The server cuts longer names of schemas. */
const MAX_SCHEMA_BYTES = 63
/** With a key, the name has to fit into an entry of the server's index. */
const MAX_STORE_BYTES = 255

/** What is held while the engine is open. */
interface Opened {
  readonly store: PostgresStore
  readonly pools: readonly OwnPool[]
  /** Undoes what was done to a pool of the caller's. */
  readonly leave: () => void
}

/**
 * The engine for a store that many hosts share: tables on a PostgreSQL server, through the package `pg`, which has to be
 * installed beside varve.
 *
 * The schema, its tables and the store are created where they are absent (see `create`). A commit survives the death of this process and,
 * with the server's default settings, of the server; `flush` makes sure of it. Commits of one store exclude each other
 * on all hosts, and what they commit is told to watchers on the others. `stats().bytes` is the size of the schema's
 * tables, of all stores; the entries are those of this store, and counting them reads it. `compact` vacuums the tables.
 *
 * @throws InvalidArgumentError for options that are not as they should be. `open` rejects with an `EngineError` of the
 *   code `ENGINE_UNREACHABLE`, `ENGINE_ACCESS_DENIED`, `ENGINE_TOO_MANY_CONNECTIONS`, `ENGINE_NO_STORE`,
 *   `FORMAT_TOO_NEW` or `ENGINE`; other calls also with `ENGINE_READ_ONLY`, `ENGINE_TIMEOUT` (a limit of the server's on the
 *   time of statements), `ENGINE_DISK_FULL`, `ENGINE_VALUE_TOO_LARGE`, `ENGINE_VIEW_LOST` where the
 *   connection broke in the middle of a longer read, and `ENGINE_COMMIT_UNKNOWN` where it broke before a commit was
 *   answered and the server could not be asked again.
 *
 * @example
 * ```ts
 * const state = await createPersistence({
 *   engine: postgres({ connectionString: 'postgres://localhost/app', store: 'settings' }),
 * })
 * ```
 */
export function postgres(options: PostgresOptions): Engine {
  const {
    connectionString,
    pool,
    schema = DEFAULT_SCHEMA,
    store: name = DEFAULT_STORE,
    create = true,
    retryTimeout = DEFAULT_RETRY_TIMEOUT,
  } = checkPostgresOptions(options)

  async function connect(): Promise<Opened> {
    const place = { schema, store: name, create, retryTimeout }
    const timeout = Math.max(retryTimeout, MIN_CONNECT_TIMEOUT)
    if (pool !== undefined) {
      const max = pool.options?.max
      const viewPool = max === undefined ? pool : limitedPool(pool, max - RESERVED_CONNECTIONS, timeout)
      const leave = letBreak(pool)
      try {
        return { store: await openStore({ ...place, viewPool, callPool: pool }), pools: [], leave }
      } catch (error) {
        leave()
        throw error
      }
    }
    const pools: OwnPool[] = []
    try {
      for (const max of [MAX_VIEW_CONNECTIONS, MAX_CALL_CONNECTIONS]) {
        const own = await createPool({ connectionString: connectionString as string, max, timeout })
        letBreak(own)
        pools.push(own)
      }
      const [viewPool, callPool] = pools as [OwnPool, OwnPool]
      const store = await openStore({
        ...place,
        viewPool: pairedPool(viewPool, callPool),
        callPool: pairedPool(callPool, viewPool),
      })
      return { store, pools, leave: () => undefined }
    } catch (error) {
      await endAll(pools)
      throw toEngineError(error, 'open', name)
    }
  }

  const opened = createLifecycle<Opened>(connect, async ({ store, pools, leave }) => {
    await store.idle()
    await store.close()
    await endAll(pools)
    leave()
  })

  return {
    name: 'postgres',
    remote: true,
    open: opened.open,
    close: opened.close,
    get: (table, key) => opened.get().store.get(table, key),
    read: () => opened.get().store.read(opened.get),
    commit: async (build, options) => opened.get().store.commit(build, options?.flush === true),
    stats: async () => opened.get().store.stats(),
    subscribe: listener => opened.get().store.subscribe(listener),
    compact: async (options = {}) => opened.get().store.compact(options),
  }
}

/**
 * Removes a store from its database, with all snapshots, in one transaction. Its tables stay, for other stores. Whoever has the
 * store open gets errors from then on.
 *
 * @returns whether there was one.
 * @throws {EngineError} as `open` of {@link postgres} does.
 *
 * @example
 * ```ts
 * await removeStore({ connectionString: 'postgres://localhost/app', store: 'settings of a test' })
 * ```
 */
export async function removeStore(options: PostgresOptions): Promise<boolean> {
  const {
    connectionString,
    pool,
    schema = DEFAULT_SCHEMA,
    store = DEFAULT_STORE,
    retryTimeout = DEFAULT_RETRY_TIMEOUT,
  } = checkPostgresOptions(options)
  try {
    if (pool !== undefined) return await removeRows(pool, schema, store)
    const timeout = Math.max(retryTimeout, MIN_CONNECT_TIMEOUT)
    const own = await createPool({ connectionString: connectionString as string, max: 1, timeout })
    letBreak(own)
    try {
      return await removeRows(own, schema, store)
    } finally {
      await own.end()
    }
  } catch (error) {
    throw toEngineError(error, 'remove', store)
  }
}

async function endAll(pools: readonly OwnPool[]): Promise<void> {
  await Promise.all(pools.map(pool => pool.end()))
}

function checkPostgresOptions(options: unknown): PostgresOptions {
  const checked = checkOptions<PostgresOptions>(
    options,
    {
      connectionString: nonEmptyString,
      pool: checkPool,
      schema: checkName(MAX_SCHEMA_BYTES),
      store: checkName(MAX_STORE_BYTES),
      create: boolean,
      retryTimeout: nonNegativeInteger,
    },
    'postgres()',
  )
  if ((checked.connectionString === undefined) === (checked.pool === undefined)) {
    throw new InvalidArgumentError(
      'postgres() takes either a connectionString, such as "postgres://user:password@host/database", or a pool of the package pg.',
    )
  }
  return checked
}

function checkPool(value: unknown, name: string): PostgresPool {
  if (typeof (value as PostgresPool | null)?.connect !== 'function') {
    throw invalidOption(name, 'a Pool of the package pg', value)
  }
  const pool = value as PostgresPool
  const max = pool.options?.max ?? MIN_POOL
  if (max < MIN_POOL) {
    throw new InvalidArgumentError(
      `The pool makes ${max} connections at most, and varve needs ${MIN_POOL} to go on whatever is asked for at the same time. Give it a larger "max".`,
    )
  }
  return pool
}

function checkName(most: number): (value: unknown, name: string) => string {
  return (value, name) => {
    const text = nonEmptyString(value, name)
    if (Buffer.byteLength(text) <= most && !text.includes('\0') && text.isWellFormed()) return text
    throw invalidOption(name, `a well-formed name of at most ${most} bytes in UTF-8, without NUL`, value)
  }
}
