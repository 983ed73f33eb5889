import { isPromiseLike, type MaybePromise, whenReady } from '../../core/maybe-promise.ts'
import { openTables, type Root, type TableHandles } from './binding.ts'
import { toEngineError } from './errors.ts'

/** The writing side of an environment. */
export interface Writer {
  readonly tables: TableHandles
  /**
   * Runs `build` inside a write transaction, and then `apply`, which makes all its writes. Other writers, in every
   * process, wait meanwhile. One transaction at a time: the caller sees to that.
   *
   * Resolves when the commit is visible, and with `flush` when it is on disk. If anything fails, nothing is written.
   *
   * @throws what `build` throws, and EngineError where LMDB fails
   */
  transact<T>(build: () => MaybePromise<T>, apply: () => void, flush: boolean): Promise<T>
  close(): Promise<void>
}

/** What lmdb-js rejects a commit with; the reason follows in a promise. */
interface CommitFailure {
  readonly commitError?: Promise<never>
}

/** Takes over a handle that is not read-only. */
export function createWriter(root: Root, path: string): Writer {
  // One transaction for all tables; outside of one, each would take its own.
  const tables = root.transactionSync(() => openTables(root))
  return {
    tables,

    async transact(build, apply, flush) {
      let applyFailure: { readonly error: unknown } | undefined
      // lmdb-js does not roll back for a callback that throws. It need not: `build` writes nothing, and after a write
      // that fails LMDB refuses to commit. (Its childTransaction would roll back, but ends the process if that or the
      // commit fails.)
      const transaction = root.transaction(() => {
        disownCommit(root)
        return whenReady(build(), value => {
          try {
            apply()
          } catch (error) {
            applyFailure = { error }
            throw error
          }
          return value
        })
      })
      const value = await transaction.catch(async (error: unknown) => {
        const commitError = (error as CommitFailure | undefined)?.commitError
        if (!isPromiseLike(commitError)) throw applyFailure ? toEngineError(error, 'write to', path) : error
        const reason = await commitError.catch((reason: unknown) => reason)
        throw toEngineError(applyFailure ? applyFailure.error : reason, 'write to', path)
      })
      if (flush) await sync(root, path)
      return value
    },

    close: () => root.close(),
  }
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
