import { createHash, randomBytes } from 'node:crypto'
import { toByteString } from '../../core/bytes.ts'
import { EngineError } from '../../core/errors.ts'
import type { MaybePromise } from '../../core/maybe-promise.ts'
import {
  type Batch,
  type EngineCompactOptions,
  type EngineStats,
  TABLES,
  type Table,
  type View,
} from '../engine.ts'
import { createSerialQueue } from '../serial-queue.ts'
import { VIEW_LOST } from '../view-lost.ts'
import { createWriteBatch, type WriteOperation } from '../write-batch.ts'
import { decodeBytes, encodeByteArray } from './byte-array.ts'
import type { PostgresPool } from './driver.ts'
import {
  isAnswer,
  isLost,
  isReachable,
  isReadOnly,
  isTransient,
  isUnsupported,
  toEngineError,
} from './errors.ts'
import { CommitListener } from './listener.ts'
import { Lookups } from './lookups.ts'
import { Retry } from './retry.ts'
import { prepareSchema } from './schema.ts'
import { Session, type TextRow } from './session.ts'
import { type Statement, statementsOf, tableName } from './statements.ts'
import { vacuum } from './vacuum.ts'
import { PostgresView } from './view.ts'

/** What a store on a server is opened with. */
export interface StoreOptions {
  readonly schema: string
  readonly store: string
  /** Whether what is missing is created. */
  readonly create: boolean
  /** For views, each of which holds a connection while it is open. */
  readonly viewPool: PostgresPool
  /** For everything else, so that it goes on however many views are open. May be the same. */
  readonly callPool: PostgresPool
  /** How long lost connections and conflicts are met with further attempts, in milliseconds. */
  readonly retryTimeout: number
}

/** A store of a server, opened. */
export interface PostgresStore {
  get(table: Table, key: Uint8Array): Promise<Uint8Array | undefined>
  read(assertOpen: () => unknown): View
  commit<T>(build: (view: View, batch: Batch) => MaybePromise<T>, flush: boolean): Promise<T>
  stats(): Promise<EngineStats>
  compact(options: EngineCompactOptions): Promise<void>
  subscribe(listener: () => void): () => void
  /** Resolves once the commits given so far have settled. */
  idle(): Promise<void>
  close(): Promise<void>
}

/** A view sees what was committed when it first asked. */
const BEGIN_VIEW = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'
/**
 * Each statement of a commit sees what is committed by then: once the row of the store is locked, nobody commits to it,
 * so that what follows sees one and the same state. (With REPEATABLE READ it would see the one from before the wait.)
 *
 * A host that vanishes without a word must not keep the others waiting: its transaction is ended when it has said
 * nothing for so long.
 */
const BEGIN_COMMIT =
  "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '30s'"

/** One statement writes at most so many rows, or about so many bytes. */
const MAX_WRITE_ROWS = 20_000
const MAX_WRITE_BYTES = 8 * 1024 * 1024

/** The driver reads bytes as text of twice their length, and a string has no more than 2 ** 29 - 24 characters. */
const MAX_STORED_BYTES = 255 * 1024 * 1024

/** How it ended: with a value, or so that it may be tried again. */
type Attempt<T> = { readonly value: T } | { readonly error: unknown }

interface WaitingGet {
  readonly table: Table
  readonly key: Uint8Array
  readonly resolve: (value: Uint8Array | undefined) => void
  readonly reject: (error: unknown) => void
}

/** Opens a store. @throws {EngineError} */
export async function openStore(options: StoreOptions): Promise<PostgresStore> {
  const { schema, store, create, viewPool, callPool, retryTimeout } = options
  const statements = statementsOf(schema)
  /** Under this name the server keeps the number of the last commit that this engine has made. */
  const writer = randomBytes(16).toString('hex')
  const channel = `varve_${createHash('sha256')
    .update(JSON.stringify([schema, store]))
    .digest('hex')
    .slice(0, 40)}`
  const commits = createSerialQueue()
  /** Sessions of views that are open. */
  const viewing = new Set<Session>()
  let lastCommit = 0
  let closed = false
  let gets: WaitingGet[] = []

  const failed = (error: unknown, doing: string): EngineError => toEngineError(error, doing, store)

  const canNotify = await prepare()
  const lookups = new Lookups(callPool)
  const listener = new CommitListener(callPool, channel, writer)

  /** Sees to it that the store is there. Returns whether the server passes notices on. */
  async function prepare(): Promise<boolean> {
    const retry = new Retry(retryTimeout)
    for (;;) {
      try {
        return await withSession(async session => {
          await prepareSchema(session, schema, store, create)
          return session.run(statements.notify, [channel, writer]).then(
            () => true,
            error => {
              // Where nothing can be written, there is nothing to tell.
              if (isUnsupported(error) || isReadOnly(error)) return false
              throw error
            },
          )
        })
      } catch (error) {
        // Where nobody answers, whoever opens the store is to know at once.
        if (!isTransient(error) || !isReachable(error) || !(await retry.again())) throw failed(error, 'open')
      }
    }
  }

  async function withSession<T>(use: (session: Session) => Promise<T>): Promise<T> {
    const session = await Session.open(callPool)
    try {
      return await use(session)
    } finally {
      session.release()
    }
  }

  /** Runs a statement that reads, by itself; a second time where the connection was lost. */
  async function ask(statement: Statement, values: unknown[], doing: string): Promise<readonly TextRow[]> {
    const retry = new Retry(retryTimeout)
    for (;;) {
      try {
        return await lookups.run(statement, values)
      } catch (error) {
        if (!isTransient(error) || closed || !(await retry.again())) throw failed(error, doing)
      }
    }
  }

  /** Answers what was asked for in the same tick with one statement a table. */
  function answerGets(): void {
    const waiting = gets
    gets = []
    for (const table of new Set(waiting.map(get => get.table))) {
      const group = waiting.filter(get => get.table === table)
      void answerGroup(table, group).catch((error: unknown) => {
        for (const { reject } of group) reject(error)
      })
    }
  }

  async function answerGroup(table: Table, group: readonly WaitingGet[]): Promise<void> {
    const { get, getMany } = statements.tables[table]
    const [first] = group as [WaitingGet]
    if (group.length === 1) {
      const [row] = await ask(get, [store, first.key], 'read')
      first.resolve(row && decodeBytes(row[0] as string))
      return
    }
    const rows = await ask(getMany, [store, encodeByteArray(group.map(({ key }) => key))], 'read')
    const values = new Map(rows.map(([i, value]) => [Number(i) - 1, value as string]))
    for (const [i, { resolve }] of group.entries()) {
      const value = values.get(i)
      resolve(value === undefined ? undefined : decodeBytes(value))
    }
  }

  function read(assertOpen: () => unknown): View {
    let opening: Promise<Session> | undefined
    let answered = false
    let released = false
    const retry = new Retry(retryTimeout)

    function begin(): Promise<Session> {
      return Session.open(viewPool, session => viewing.delete(session)).then(session => {
        viewing.add(session)
        if (closed) session.release(true)
        else void session.command(BEGIN_VIEW).catch(() => undefined)
        return session
      })
    }

    return new PostgresView({
      store,
      statements,
      assertOpen,
      async run(statement, values) {
        for (;;) {
          opening ??= begin()
          const current = opening
          try {
            const session = await current
            const rows = await session.run(statement, values)
            if (session.failure !== undefined) throw session.failure
            answered = true
            return rows
          } catch (error) {
            assertOpen()
            // Before its first answer, a view has not settled on a commit: it may begin again.
            if (answered || released || !isTransient(error) || !(await retry.again())) {
              throw answered && isLost(error) ? lostView(error) : failed(error, 'read')
            }
            if (opening === current) {
              opening = undefined
              void current.then(
                session => session.release(true),
                () => undefined,
              )
            }
          }
        }
      },
      release() {
        released = true
        // Nobody waits for the end of a transaction that has only read.
        void opening?.then(
          session => session.finish(),
          () => undefined,
        )
      },
    })
  }

  function lostView(cause: unknown): EngineError {
    return new EngineError(
      `The connection to PostgreSQL was lost while the store ${JSON.stringify(store)} was read, and with it the moment that was being read. Nothing is lost; read again.`,
      { code: VIEW_LOST, cause },
    )
  }

  /** Begins a transaction and takes the lock of the store; does not wait for either. */
  async function beginCommit(): Promise<{ session: Session; locked: Promise<readonly TextRow[]> }> {
    const session = await Session.open(callPool)
    void session.command(BEGIN_COMMIT).catch(() => undefined)
    const locked = session.run(statements.lock, [store])
    locked.catch(() => undefined)
    return { session, locked }
  }

  async function commit<T>(build: (view: View, batch: Batch) => MaybePromise<T>, flush: boolean): Promise<T> {
    const retry = new Retry(retryTimeout)
    for (;;) {
      const attempt = await attemptCommit(build, flush)
      if ('value' in attempt) return attempt.value
      if (!isTransient(attempt.error) || !(await retry.again())) throw failed(attempt.error, 'write to')
    }
  }

  /** Makes a commit, or answers with the error of the server or the connection for which it was certainly not made. */
  async function attemptCommit<T>(
    build: (view: View, batch: Batch) => MaybePromise<T>,
    flush: boolean,
  ): Promise<Attempt<T>> {
    let begun: Awaited<ReturnType<typeof beginCommit>>
    try {
      begun = await beginCommit()
    } catch (error) {
      return { error }
    }
    const { session, locked } = begun
    const batch = createWriteBatch()
    const view = new PostgresView({
      store,
      statements,
      run: (statement, values) =>
        session.run(statement, values).catch((error: unknown) => {
          throw failed(error, 'read')
        }),
      assertOpen: () => undefined,
      release: () => undefined,
    })
    let value: T
    try {
      value = await build(view, batch)
    } catch (error) {
      if (session.failure === undefined) {
        session.finish()
        throw error
      }
      session.release(true)
      return { error: session.failure }
    } finally {
      view.close()
    }
    try {
      if (batch.operations.length === 0) {
        session.finish()
        return { value }
      }
      if ((await locked).length === 0) throw removed()
      const committed = await write(session, batch.operations, flush)
      session.release()
      if (committed) return { value }
    } catch (error) {
      session.release(true)
      if (error instanceof EngineError) throw error
      return { error }
    }
    return (await settle(lastCommit)) ? { value } : { error: session.failure }
  }

  /**
   * Writes and commits, in one round trip. Resolves to `false` where the connection was lost before the answer, so that
   * nobody knows yet.
   *
   * @throws what kept the commit from being made.
   */
  async function write(
    session: Session,
    operations: readonly WriteOperation[],
    flush: boolean,
  ): Promise<boolean> {
    if (session.failure !== undefined) throw session.failure
    for (const { value } of operations) if (value !== undefined) assertFits(value)
    lastCommit++
    const sent: Promise<unknown>[] = []
    for (const { statement, values } of writesOf(operations))
      sent.push(session.run(statement, [store, ...values]))
    sent.push(session.run(statements.noteCommit, [store, writer, lastCommit]))
    if (flush) sent.push(session.run(statements.flush, []))
    if (canNotify) sent.push(session.run(statements.notify, [channel, writer]))
    const ending = session.command('COMMIT')
    const outcomes = await Promise.allSettled([...sent, ending])
    // After an error the server takes COMMIT for ROLLBACK.
    const answer = outcomes.find(outcome => outcome.status === 'rejected' && isAnswer(outcome.reason))
    if (answer !== undefined) throw (answer as PromiseRejectedResult).reason
    const end = outcomes.at(-1) as PromiseSettledResult<string>
    return end.status === 'fulfilled' && end.value === 'COMMIT'
  }

  /**
   * Whether a commit was made whose answer was lost. The lock of the store is waited for first: while the server still
   * works on the commit, it is held.
   */
  async function settle(commit: number): Promise<boolean> {
    const retry = new Retry(retryTimeout)
    for (;;) {
      let session: Session | undefined
      try {
        const begun = await beginCommit()
        session = begun.session
        const noted = session.run(statements.lastCommit, [store, writer])
        const [[row]] = await Promise.all([noted, begun.locked])
        session.finish()
        return row !== undefined && Number(row[0]) >= commit
      } catch (cause) {
        session?.release(true)
        if (isTransient(cause) && (await retry.again())) continue
        throw new EngineError(
          `The connection to PostgreSQL was lost before it had answered a commit to the store ${JSON.stringify(store)}, and it cannot be asked again: it is not known whether the commit was made. Read what it was to write once the server is back.`,
          { code: 'ENGINE_COMMIT_UNKNOWN', cause },
        )
      }
    }
  }

  function assertFits(value: Uint8Array): void {
    if (value.byteLength <= MAX_STORED_BYTES) return
    throw new EngineError(
      `A value of ${value.byteLength} bytes is too large for the store ${JSON.stringify(store)} on PostgreSQL, which takes up to ${MAX_STORED_BYTES}. Nothing was written; divide the value among several keys.`,
      { code: 'ENGINE_VALUE_TOO_LARGE' },
    )
  }

  function removed(): EngineError {
    return new EngineError(
      `The store ${JSON.stringify(store)} on PostgreSQL was removed since it was opened; nothing was written.`,
    )
  }

  /** The statements that apply the operations, the last one to a key alone. */
  function* writesOf(
    operations: readonly WriteOperation[],
  ): Generator<{ readonly statement: Statement; readonly values: readonly unknown[] }> {
    for (const table of TABLES) {
      const last = new Map<string, WriteOperation>()
      for (const operation of operations) {
        if (operation.table === table) last.set(toByteString(operation.key), operation)
      }
      if (last.size === 0) continue
      const { put, remove } = statements.tables[table]
      const deletions: Uint8Array[] = []
      let keys: Uint8Array[] = []
      let values: Uint8Array[] = []
      let bytes = 0
      for (const { key, value } of last.values()) {
        if (value === undefined) {
          deletions.push(key)
          continue
        }
        if (
          keys.length >= MAX_WRITE_ROWS ||
          (keys.length > 0 && bytes + value.byteLength > MAX_WRITE_BYTES)
        ) {
          yield { statement: put, values: [encodeByteArray(keys), encodeByteArray(values)] }
          keys = []
          values = []
          bytes = 0
        }
        keys.push(key)
        values.push(value)
        bytes += key.byteLength + value.byteLength
      }
      if (keys.length > 0) yield { statement: put, values: [encodeByteArray(keys), encodeByteArray(values)] }
      for (let start = 0; start < deletions.length; start += MAX_WRITE_ROWS) {
        yield { statement: remove, values: [encodeByteArray(deletions.slice(start, start + MAX_WRITE_ROWS))] }
      }
    }
  }

  return {
    get(table, key) {
      return new Promise((resolve, reject) => {
        if (gets.length === 0) queueMicrotask(answerGets)
        gets.push({ table, key, resolve, reject })
      })
    },

    read,
    commit: (build, flush) => commits.run(() => commit(build, flush)),
    subscribe: told => listener.subscribe(told),
    idle: () => commits.idle(),

    async stats() {
      const names = TABLES.map(table => `varve_${table}`)
      const [[size], ...measured] = await Promise.all([
        ask(statements.size, [schema, names], 'measure'),
        ...TABLES.map(table => ask(statements.tables[table].measure, [store], 'measure')),
      ])
      const tables = Object.fromEntries(
        TABLES.map((table, i) => {
          const [entries, bytes] = measured[i]?.[0] ?? []
          return [table, { entries: Number(entries), bytes: Number(bytes) }]
        }),
      )
      return { bytes: Number(size?.[0]), tables, freeBytes: 0 }
    },

    async compact({ signal, onProgress }) {
      try {
        const session = await Session.open(callPool)
        try {
          await vacuum(session, { schema, store, statements, signal, onProgress })
        } finally {
          // Nobody else is to have it as it is set now.
          session.release(true)
        }
      } catch (error) {
        signal?.throwIfAborted()
        throw failed(error, 'compact')
      }
    },

    async close() {
      closed = true
      listener.close()
      lookups.close()
      for (const session of viewing) session.release(true)
      await withSession(
        session =>
          session.run(
            {
              name: '',
              text: `DELETE FROM ${tableName(schema, 'writers')} WHERE store = $1 AND writer = $2`,
            },
            [store, writer],
          ),
        // It is forgotten in time.
      ).catch(() => undefined)
    },
  }
}
