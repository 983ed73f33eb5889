import { setTimeout as delay } from 'node:timers/promises'
import { EngineError } from '../../core/errors.ts'
import { isPromiseLike, type MaybePromise, whenReady } from '../../core/maybe-promise.ts'
import {
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
import { toEngineError } from './errors.ts'

/** The writing side of an environment. */
export interface Writer {
  readonly tables: TableHandles
  /** To be called inside a transaction that writes anything: {@link noteCommit}. */
  noteCommit(): void
  /** The number of the transaction that is under way: that of the commit before and one more. */
  transactionNumber(): number
  /**
   * Runs `build` inside a write transaction, and then `apply`, which makes all its writes. Other writers, in every
   * process, wait meanwhile. One transaction at a time: the caller sees to that.
   *
   * Resolves when the commit is visible, and with `flush` when it is on disk. If anything fails, nothing is written.
   *
   * @throws what `build` throws, and EngineError where LMDB fails
   */
  transact<T>(build: () => MaybePromise<T>, apply: () => MaybePromise<void>, flush: boolean): Promise<T>
  close(): Promise<void>
}

/** What lmdb-js rejects a commit with; the reason follows in a promise. */
interface CommitFailure {
  readonly commitError?: Promise<never>
}

/** How long, in milliseconds, whoever has set back the number of the newest commit is given to set it right. */
const REPAIR_MS = 5000

/** What a transaction comes to that must not be committed: see {@link startsFromNewest}. */
const OUTDATED = Symbol('outdated')

/**
 * Takes over a handle that is not read-only. Answers `undefined` where the files have to be opened again: see
 * {@link startsFromNewest}. The handle is not closed then.
 */
function createWriter(root: Root, path: string): Writer | undefined {
  // One transaction for all tables; outside of one, each would take its own.
  const tables = root.transactionSync(() => {
    if (!startsFromNewest(root)) return undefined
    const opened = openTables(root)
    if (!isNoted(opened)) noteCommit(root, opened)
    return opened
  })
  if (tables === undefined) return undefined

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
      if (!startsFromNewest(root)) return OUTDATED
      return whenReady(build(), value => {
        try {
          const applied = apply()
          return isPromiseLike(applied) ? applied.then(() => value, failed) : value
        } catch (error) {
          return failed(error)
        }
      })
    })
    return transaction.catch(async (error: unknown) => {
      const commitError = (error as CommitFailure | undefined)?.commitError
      if (!isPromiseLike(commitError)) throw applyFailure ? toEngineError(error, 'write to', path) : error
      const reason = await commitError.catch((reason: unknown) => reason)
      throw toEngineError(applyFailure ? applyFailure.error : reason, 'write to', path)
    })
  }

  return {
    tables,
    noteCommit: () => noteCommit(root, tables),
    transactionNumber: () => root.env.getWriteTxnId(),

    async transact(build, apply, flush) {
      let value = await attempt(build, apply)
      for (const begun = performance.now(); value === OUTDATED; value = await attempt(build, apply)) {
        if (performance.now() > begun + REPAIR_MS) throw outdated(path)
        await delay(1)
      }
      if (flush) await sync(root, path)
      return value
    },

    close: () => root.close(),
  }
}

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
      writer = createWriter(root, path)
      if (writer !== undefined) return writer
      if (performance.now() > begun + REPAIR_MS) throw outdated(path)
    } finally {
      if (writer === undefined) root.close().catch(ignore)
    }
    blockFor(1)
  }
}
