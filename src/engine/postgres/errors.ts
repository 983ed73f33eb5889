import { EngineError } from '../../core/errors.ts'

/** What the system says of a connection that cannot be made or was lost, such as `ECONNRESET`; the server has no such codes. */
const SYSTEM_CODE = /^E[A-Z_]+$/
const NO_SUCH_HOST = 'ENOTFOUND'
/** What the server says before it ends a connection. */
const LOST_CODES = new Set([
  // It shuts down, crashed, or starts.
  '57P01',
  '57P02',
  '57P03',
  // The connection or its transaction was idle for too long, or the transaction took too long.
  '57P05',
  '25P03',
  '25P04',
])
/** Others came in between: a serialization failure, a deadlock. */
const CONFLICT_CODES = new Set(['40001', '40P01'])
/** A limit of the server on how long a statement may take, or may wait for a lock. */
const TIMEOUT_CODES = new Set(['57014', '55P03'])
/** The prepared statements of a connection are not those that were made on it. */
const STATEMENT_CODES = new Set(['26000', '42P05'])
/** A transaction that somebody else began, or that failed, was left on the connection. */
const LEFTOVER_CODES = new Set(['25P02', '25001'])
const TOO_MANY_CONNECTIONS = '53300'
const READ_ONLY = '25006'
const NO_RIGHT = '42501'
/** Some errors of the driver have no code. */
const LOST_MESSAGE =
  /^Connection terminated|connection error and is not queryable|^timeout exp|timeout exceeded when/

/** Whether an error is that of a connection: what was asked for is not wrong, and may be asked for again. */
export function isLost(error: unknown): boolean {
  const { code, message } = properties(error)
  if (code === undefined) return LOST_MESSAGE.test(message)
  if (SYSTEM_CODE.test(code)) return code !== NO_SUCH_HOST
  return LOST_CODES.has(code) || code.startsWith('08')
}

/** Whether a transaction that was not committed may succeed if it is tried again, on another connection. */
export function isTransient(error: unknown): boolean {
  const { code = '' } = properties(error)
  return (
    isLost(error) ||
    CONFLICT_CODES.has(code) ||
    TIMEOUT_CODES.has(code) ||
    STATEMENT_CODES.has(code) ||
    LEFTOVER_CODES.has(code) ||
    code === TOO_MANY_CONNECTIONS
  )
}

/** Whether the server takes no more connections. */
export function isOutOfConnections(error: unknown): boolean {
  return properties(error).code === TOO_MANY_CONNECTIONS
}

/** Whether a server can be reached at all, though it may not be able to serve at the moment. */
export function isReachable(error: unknown): boolean {
  const { code = '' } = properties(error)
  return !SYSTEM_CODE.test(code)
}

/** Whether the server, or the user's rights there, allow only reading. */
export function isReadOnly(error: unknown): boolean {
  const { code = '' } = properties(error)
  return code === READ_ONLY || code === NO_RIGHT
}

/** Whether the server itself said so, as opposed to the connection having failed. */
export function isAnswer(error: unknown): boolean {
  const { code } = properties(error)
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && !SYSTEM_CODE.test(code) && !isLost(error)
}

/** Whether tables or the schema are missing. */
export function isMissing(error: unknown): boolean {
  const { code = '' } = properties(error)
  return code === '42P01' || code === '3F000'
}

/** Whether another host created the same thing at the same moment. */
export function isCreationRace(error: unknown): boolean {
  const { code = '' } = properties(error)
  return ['23505', '42P06', '42P07', '42710'].includes(code) || isTransient(error)
}

/** Whether the server does not know a function or statement. */
export function isUnsupported(error: unknown): boolean {
  const { code = '' } = properties(error)
  return code === '0A000' || code === '42883' || code === '42601'
}

/**
 * Puts an error of the driver or the server into the terms of this library. `doing` says what failed, such as `read`;
 * an error that is an {@link EngineError} already stays as it is.
 */
export function toEngineError(cause: unknown, doing: string, store: string): EngineError {
  if (cause instanceof EngineError) return cause
  const { code = '', message } = properties(cause)
  const describe = (what: string): string =>
    `Cannot ${doing} the store ${JSON.stringify(store)} on PostgreSQL: ${what}`
  const fail = (errorCode: string, what: string): EngineError =>
    new EngineError(describe(what), { code: errorCode, cause })
  if (code === 'ERR_INVALID_URL' || cause instanceof URIError) {
    // What the driver throws here holds the whole string, with its password.
    return new EngineError(
      describe(
        'the connection string is no URL that can be read. It looks like postgres://user:password@host:5432/database, with %-codes for the special characters of a password.',
      ),
    )
  }
  if (code === TOO_MANY_CONNECTIONS) {
    return fail(
      'ENGINE_TOO_MANY_CONNECTIONS',
      `the server takes no more connections (${message}). Raise max_connections, or use fewer processes.`,
    )
  }
  if (message.startsWith('timeout exceeded when')) {
    return fail(
      'ENGINE_TOO_MANY_CONNECTIONS',
      'no connection of the pool became free in time. Close iterators that are not read to their end, run fewer at a time, or enlarge the pool.',
    )
  }
  if (code === '28P01' || code === '28000') {
    return fail('ENGINE_ACCESS_DENIED', `${message}. Check user and password, and the server’s pg_hba.conf.`)
  }
  if (code === NO_RIGHT) {
    return fail(
      'ENGINE_ACCESS_DENIED',
      `${message}. Grant the user the right to create the schema and its tables, or to use them.`,
    )
  }
  if (code === '3D000')
    return fail('ENGINE', `${message}. Create the database, or name another in the connection string.`)
  if (code === READ_ONLY) {
    return fail('ENGINE_READ_ONLY', `${message}. The server is a standby, or takes no writes now.`)
  }
  if (TIMEOUT_CODES.has(code)) {
    return fail(
      'ENGINE_TIMEOUT',
      `${message}. Nothing of it was written. Raise statement_timeout and lock_timeout for the user varve has, or ask for less at a time.`,
    )
  }
  if (STATEMENT_CODES.has(code)) {
    return fail(
      'ENGINE',
      `${message}. A pooler between here and the server has to keep prepared statements (PgBouncer: max_prepared_statements).`,
    )
  }
  if (code === '53100')
    return fail('ENGINE_DISK_FULL', 'its disk is full. Nothing was written; make room and try again.')
  if (isMissing(cause)) {
    return fail(
      'ENGINE',
      `${message}. Its tables were removed since it was opened; restore them from a backup.`,
    )
  }
  if (isLost(cause) || code === NO_SUCH_HOST) {
    return fail(
      'ENGINE_UNREACHABLE',
      `the server cannot be reached, or has cut the connection (${message || code}). Check that it runs, and the connection string.`,
    )
  }
  return fail('ENGINE', `${message}.`)
}

function properties(error: unknown): { readonly code: string | undefined; readonly message: string } {
  const { code, message, errors } = (error ?? {}) as { code?: unknown; message?: unknown; errors?: unknown[] }
  // Where a name has several addresses, none of them answered.
  const inner = errors?.[0] as { code?: unknown; message?: unknown } | undefined
  const ownCode = code ?? inner?.code
  return {
    code: typeof ownCode === 'string' ? ownCode : undefined,
    message: String(message || inner?.message || ''),
  }
}
