import { EngineError } from '../../core/errors.ts'

/** What a query of the driver is given. Results are taken as arrays of the text that the server sent. */
export interface DriverQuery {
  /** Names a prepared statement; left out for what takes no values. */
  readonly name?: string
  readonly text: string
  readonly values?: unknown[]
  readonly rowMode: 'array'
  readonly types: { getTypeParser(): (text: string) => string }
}

/** What varve takes of a query's result. */
export interface DriverResult {
  readonly rows: unknown[]
  readonly command: string
}

/** What varve uses of a client of `pg`. */
export interface DriverClient {
  /** Whether queries are sent without waiting for the answer of the one before. */
  readonly pipeline?: boolean
  /** `I` outside of a transaction, `T` in one, `E` in one that failed; `null` where it is not known. */
  getTransactionStatus?(): string | null
  query(query: never): Promise<unknown>
  on(event: string, listener: (...args: unknown[]) => void): unknown
  removeListener(event: string, listener: (...args: unknown[]) => void): unknown
  /** Gives the client back to its pool; `true` closes it. */
  release(destroy?: boolean): void
}

/**
 * What varve uses of a pool of `pg`: `new pg.Pool(…)` is one. Its clients should be made with `pipeline: true`; else a
 * call waits for the answer of the one before it, and takes several round trips instead of one.
 */
export interface PostgresPool {
  connect(): Promise<DriverClient>
  /** Tells of each connection that it makes, before anybody gets it. */
  on?(event: 'connect', listener: (client: DriverClient) => void): unknown
  removeListener?(event: 'connect', listener: (client: DriverClient) => void): unknown
  /** How many connections it makes at most. */
  readonly options?: { readonly max?: number }
}

/** A pool that the engine made, and ends. */
export interface OwnPool extends PostgresPool {
  /** How many of its connections nobody uses. */
  readonly idleCount: number
  end(): Promise<void>
}

/** How a pool of the engine's own is made. */
export interface OwnPoolOptions {
  readonly connectionString: string
  /** Connections at most. */
  readonly max: number
  /** How long to wait for a connection, in milliseconds. */
  readonly timeout: number
}

/** How long a connection that nobody uses is kept, in milliseconds. */
const IDLE_TIMEOUT = 10_000

/** @throws {EngineError} if the driver is not installed. */
export async function createPool({ connectionString, max, timeout }: OwnPoolOptions): Promise<OwnPool> {
  const { Pool } = await loadDriver()
  const pool = new Pool({
    connectionString,
    max,
    pipeline: true,
    keepAlive: true,
    connectionTimeoutMillis: timeout,
    idleTimeoutMillis: IDLE_TIMEOUT,
    application_name: 'varve',
  })
  // A connection that breaks while nobody uses it has left the pool already.
  pool.on('error', () => undefined)
  return pool
}

/**
 * Lets connections of a pool break at any time. The pool hands out a new one at the end of a turn of the event loop; what
 * the server says in that same turn, such as that it shuts down, is an event nobody listens to yet, and would end the process.
 * Returns what ends that for connections to come.
 */
export function letBreak(pool: PostgresPool): () => void {
  const listen = (client: DriverClient): void => {
    client.on('error', () => undefined)
  }
  pool.on?.('connect', listen)
  return () => void pool.removeListener?.('connect', listen)
}

async function loadDriver(): Promise<Pick<typeof import('pg'), 'Pool'>> {
  try {
    const driver = await import('pg')
    return driver.default
  } catch (cause) {
    throw new EngineError(
      'varve/postgres needs the package "pg", which is not installed. Install it: npm install pg.',
      { cause },
    )
  }
}
