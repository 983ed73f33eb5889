import { join } from 'node:path'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { isMainThread } from 'node:worker_threads'
import { EngineError } from '../../core/errors.ts'
import { isPromiseLike, type MaybePromise, whenReady } from '../../core/maybe-promise.ts'
import { createSerialQueue } from '../serial-queue.ts'
import {
  beginReadTransaction,
  isNoted,
  type Lmdb,
  noteCommit,
  openRoot,
  openTables,
  type Root,
  startsFromNewest,
  type TableHandles,
} from './binding.ts'
import { blockFor } from './block-for.ts'
import { BOOT } from './boot.ts'
import { toEngineError } from './errors.ts'
import { flushNewest } from './flushed-commit.ts'
import { createFlusher, createNoFlusher, type Flusher } from './flusher.ts'
import { DATA_FILE, LOCK_FILE } from './generation.ts'
import { findWriteLock, type WriteLock } from './write-lock.ts'
import { type BatchBuilder, createWriteThread, OUTDATED } from './write-thread.ts'

/** The writing side of an environment. */
export interface Writer {
  readonly tables: TableHandles
  /** To be called inside a transaction that writes anything, about so many rows: {@link noteCommit}. */
  noteCommit(rows: number): void
  /** The number of the transaction that is under way: that of the commit before and one more. */
  transactionNumber(): number
  /** The number of the newest transaction that has been committed; not in worker threads. */
  newestTransaction(): number | undefined
  /**
   * Runs `build` inside a write transaction, and then `apply`, which makes all its writes. Other writers, in every
   * process, wait meanwhile, and so do later calls.
   *
   * Resolves when the commit is visible, and with `flush` when it is on disk. If anything fails, nothing is written.
   *
   * @throws what `build` throws, and EngineError where LMDB fails
   */
  transact<T>(
    build: () => MaybePromise<T>,
    apply: () => MaybePromise<void>,
    options?: TransactOptions,
  ): Promise<T>
  /**
   * The same where `build` puts its writes into a batch: they are made in another thread, while it goes on. What it reads has
   * to be read in a read transaction that shows the commit before. Absent where that cannot be.
   */
  write?<T>(build: BatchBuilder<T>, options?: Pick<TransactOptions, 'flush'>): Promise<T>
  /** Waits until what is committed is on disk. Reading goes on. */
  close(): Promise<void>
}

/** How a transaction is to be made. */
export interface TransactOptions {
  /** Resolve only once it is on disk. */
  readonly flush?: boolean | undefined
  /** It takes no longer than to hand it to another thread would: it is made in this one, if nobody has the write lock. */
  readonly brief?: boolean | undefined
}

/** What lmdb-js rejects a commit with; the reason follows in a promise. */
interface CommitFailure {
  readonly commitError?: Promise<never>
}

/** How long, in milliseconds, whoever has set back the number of the newest commit is given to set it right. */
const REPAIR_MS = 5000

/** What a transaction throws that LMDB could not begin in this thread: the other way tells why. */
const NOT_BEGUN = new Error('not begun')

/**
 * For so long, in milliseconds, transactions are made in this thread one after the other before the event loop turns: their
 * callers wait for nothing else.
 */
const TURN_MS = 1

/**
 * Takes over a handle that is not read-only. Answers `undefined` where the files have to be opened again: see
 * {@link startsFromNewest}. The handle is not closed then.
 */
function createWriter(lmdb: Lmdb, root: Root, folder: string, path: string): Writer | undefined {
  const file = join(folder, DATA_FILE)
  let lock: WriteLock | undefined
  // One transaction for all tables; outside of one, each would take its own.
  const tables = root.transactionSync(() => {
    if (!startsFromNewest(root)) return undefined
    if (BOOT !== undefined) {
      // A worker thread that is terminated amid a call of lmdb-js's can take the process with it, or leave the lock behind.
      if (isMainThread) lock = findWriteLock(join(folder, LOCK_FILE))
      // What is written here is flushed with the first commit.
      flushNewest(file, BOOT)
    }
    const opened = openTables(root)
    if (!isNoted(opened)) noteCommit(root, opened)
    return opened
  })
  if (tables === undefined) return undefined

  /** Orders the commits, and what the flusher does between them. */
  const transactions = createSerialQueue()
  const flusher = openFlusher()
  /** The number of the transaction under way, and how many rows it has written. */
  let number = 0
  let rows = 0
  /** Since when transactions have been made in this thread without a turn of the event loop between them. */
  let busySince: number | undefined

  function turned(): void {
    busySince = undefined
  }

  function openFlusher(): Flusher {
    const flush = (): Promise<void> => sync(root, path)
    if (BOOT === undefined) return createNoFlusher({ file, sync: flush })
    return createFlusher({
      file,
      boot: BOOT,
      // In this thread where it can be: a process that exits before the other one has made the step would hang.
      underLock: step => transactions.run(() => repeat(step, nothing, true)),
      sync: flush,
      pin() {
        const { native } = beginReadTransaction(lmdb, root)
        return () => native.abort()
      },
      checkReaders: () => root.readerCheck(),
    })
  }

  function admit(): void {
    try {
      flusher.admit()
    } catch (error) {
      throw toEngineError(error, 'write to', path)
    }
  }

  async function flushed(transaction: number): Promise<void> {
    try {
      await flusher.flush(transaction)
    } catch (error) {
      throw toEngineError(error, 'flush', path)
    }
  }

  /** What runs inside a transaction. */
  function body<T>(
    build: () => MaybePromise<T>,
    apply: () => MaybePromise<void>,
    failed: (error: unknown) => never,
  ): MaybePromise<T | typeof OUTDATED> {
    if (!startsFromNewest(root)) return OUTDATED
    return whenReady(build(), value => {
      try {
        const applied = apply()
        return isPromiseLike(applied) ? applied.then(() => value, failed) : value
      } catch (error) {
        return failed(error)
      }
    })
  }

  /** Makes a transaction in the thread that lmdb-js has for it. */
  async function attempt<T>(
    build: () => MaybePromise<T>,
    apply: () => MaybePromise<void>,
  ): Promise<T | typeof OUTDATED> {
    let applyFailure: { readonly error: unknown } | undefined
    const failed = (error: unknown): never => {
      applyFailure = { error }
      throw error
    }
    // lmdb-js does not roll back for a callback that throws. It need not: `build` writes nothing, and after a write
    // that fails LMDB refuses to commit. (Its childTransaction would roll back, but ends the process if that or the
    // commit fails.)
    const transaction = root.transaction(() => {
      disownCommit(root)
      return body(build, apply, failed)
    })
    return transaction.catch(async (error: unknown) => {
      const commitError = (error as CommitFailure | undefined)?.commitError
      if (!isPromiseLike(commitError)) throw applyFailure ? toEngineError(error, 'write to', path) : error
      const reason = await commitError.catch((reason: unknown) => reason)
      throw toEngineError(applyFailure ? applyFailure.error : reason, 'write to', path)
    })
  }

  /** The same in this thread, which waits for the write lock. */
  async function attemptHere<T>(
    build: () => MaybePromise<T>,
    apply: () => MaybePromise<void>,
  ): Promise<T | typeof OUTDATED> {
    let isBuilt = false
    const failed = (error: unknown): never => {
      throw toEngineError(error, 'write to', path)
    }
    try {
      return await root.transactionSync(() => {
        if (root.env.getWriteTxnId() === 0) throw NOT_BEGUN
        return whenReady(body(build, apply, failed), value => {
          isBuilt = true
          return value
        })
      })
    } catch (error) {
      if (error === NOT_BEGUN) return attempt(build, apply)
      throw isBuilt ? toEngineError(error, 'write to', path) : error
    }
  }

  /** Makes a transaction, again where it started from one that is not the newest. */
  async function untilNewest<T>(attempt: () => Promise<T | typeof OUTDATED>): Promise<T> {
    for (const begun = performance.now(); ; ) {
      const value = await attempt()
      if (value !== OUTDATED) return value
      if (performance.now() > begun + REPAIR_MS) throw outdated(path)
      await delay(1)
    }
  }

  function repeat<T>(
    build: () => MaybePromise<T>,
    apply: () => MaybePromise<void>,
    brief: boolean,
  ): Promise<T> {
    return untilNewest(() =>
      brief && lock?.() === false ? attemptHere(build, apply) : attempt(build, apply),
    )
  }

  /** A transaction has begun that may write. */
  function begin(transaction: number): void {
    number = transaction
    rows = 0
    admit()
  }

  /** Makes a transaction once those before have been made, and lets the flusher know of it. */
  async function inOrder<T>(make: () => Promise<T>, flush: boolean): Promise<T> {
    let newest = 0
    const value = await transactions.run(async () => {
      let committed = 0
      rows = 0
      try {
        const value = await make()
        committed = rows
        newest = committed > 0 ? number : number - 1
        return value
      } finally {
        flusher.ended(committed)
      }
    })
    if (flush) await flushed(newest)
    return value
  }

  const thread = createWriteThread(lmdb, root, path, tables)
  return {
    tables,
    noteCommit(written) {
      rows += written
      noteCommit(root, tables)
    },
    transactionNumber: () => root.env.getWriteTxnId(),
    // The fewer calls of lmdb-js's a worker thread makes, the fewer it can be terminated in.
    newestTransaction: () => (isMainThread ? root.env.info().lastTxnId : undefined),

    async transact(build, apply, { flush = false, brief = false } = {}) {
      const keptUp = flusher.keepUp()
      if (keptUp !== undefined) await keptUp
      if (brief) {
        if (busySince === undefined) {
          busySince = performance.now()
          setImmediate(turned)
        } else if (performance.now() > busySince + TURN_MS) await nextTurn()
      }
      const begun = (): ReturnType<typeof build> => {
        begin(root.env.getWriteTxnId())
        return build()
      }
      return inOrder(() => repeat(begun, apply, brief), flush)
    },

    ...(thread && {
      async write<T>(
        build: BatchBuilder<T>,
        { flush = false }: Pick<TransactOptions, 'flush'> = {},
      ): Promise<T> {
        const keptUp = flusher.keepUp()
        if (keptUp !== undefined) await keptUp
        const attempt = async (): Promise<T | typeof OUTDATED> => {
          const written = await thread.transact<T>((batch, transaction) => {
            begin(transaction)
            return build(batch, transaction)
          })
          rows = written.rows
          return written.value
        }
        return inOrder(() => untilNewest(attempt), flush)
      },
    }),

    async close() {
      await transactions.idle()
      await flusher.close()
      await root.close()
    },
  }
}

function nothing(): void {}

/** What is thrown where nobody sets the number of the newest commit right. */
function outdated(path: string): EngineError {
  return new EngineError(
    `Cannot write to the store in ${JSON.stringify(path)}: a process has died while it opened the store, and has left ` +
      'its lock file outdated. Nothing is lost; close the store in all processes and open it again.',
  )
}

/**
 * lmdb-js makes a promise for the batch that a transaction is part of and hands it to nobody; if the commit fails,
 * it would end the process as an unhandled rejection. To be called inside the transaction.
 */
function disownCommit(root: Root): void {
  root.committed.then(ignore, ignore)
}

function ignore(): void {}

function sync(root: Root, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    root.sync(error => {
      if (error) reject(toEngineError(error, 'flush', path))
      else resolve()
    })
  })
}

/** Opens a folder for writing: waits for LMDB's write lock, and blocks the thread meanwhile. */
export function openWriter(lmdb: Lmdb, folder: string, path: string): Writer {
  for (const begun = performance.now(); ; ) {
    const root = openRoot(lmdb, folder, { readOnly: false })
    let writer: Writer | undefined
    try {
      writer = createWriter(lmdb, root, folder, path)
      if (writer !== undefined) return writer
      if (performance.now() > begun + REPAIR_MS) throw outdated(path)
    } finally {
      if (writer === undefined) root.close().catch(ignore)
    }
    blockFor(1)
  }
}
