import { EngineError, InvalidArgumentError } from '../core/errors.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { Batch, Engine, Table, View } from './engine.ts'
import { createLifecycle } from './lifecycle.ts'
import type { TableHandles } from './lmdb/binding.ts'
import { type Environment, type EnvironmentLease, leaseEnvironment } from './lmdb/environment.ts'
import { LmdbView } from './lmdb/view.ts'
import { createWriteBatch, type WriteOperation } from './write-batch.ts'

/**
 * The embedded engine: an LMDB environment in a folder, used by any number of processes and threads of one machine.
 *
 * The folder must be on a local disk; it is created if it is absent. One that can only be read is opened for reading,
 * and `commit` is refused. A commit survives the death of the process, and with `flush` that of the machine.
 * `stats().bytes` is the length of the files.
 *
 * @param path - the folder
 * @throws InvalidArgumentError if the path is not a string or is empty. `open` rejects with an `EngineError`, of the
 *   code `ENGINE_NOT_A_FOLDER`, `ENGINE_NOT_WRITABLE`, `ENGINE_DISK_FULL` or `ENGINE`; `commit` also with
 *   `ENGINE_READ_ONLY`.
 *
 * @example
 * ```ts
 * import { createPersistence } from 'varve'
 * import { lmdb } from 'varve/engine'
 *
 * await using state = await createPersistence({ engine: lmdb('./state') })
 * ```
 */
export function lmdb(path: string): Engine {
  if (typeof path !== 'string' || path === '') {
    throw new InvalidArgumentError('lmdb() takes the path of a folder: a string that is not empty.')
  }
  const opened = createLifecycle<EnvironmentLease>(
    () => leaseEnvironment(path),
    async ({ environment, release }) => {
      await environment.commits.idle()
      await release()
    },
  )

  return {
    name: 'lmdb',
    open: opened.open,
    close: opened.close,
    get: (table: Table, key: Uint8Array) => opened.get().environment.get(table, key),
    read: () => readView(opened.get().environment, opened.get),
    async commit(build, options) {
      const { environment } = opened.get()
      return environment.commits.run(() => commitNow(environment, build, options?.flush === true))
    },
    stats: async () => opened.get().environment.stats(),
    storedBytes,
  }
}

/** The page size of most machines. Where it is another, records fit less well, and that is all. */
const PAGE_BYTES = 4096
const PAGE_HEADER_BYTES = 16
/** Longer nodes than about half a page go to pages of their own, which no other value shares. */
const MAX_INLINE_BYTES = 2000

function storedBytes(bytes: number): number {
  if (bytes <= MAX_INLINE_BYTES) return bytes
  return Math.ceil((bytes + PAGE_HEADER_BYTES) / PAGE_BYTES) * PAGE_BYTES
}

function readView(environment: Environment, assertOpen: () => void): View {
  const { path, tables } = environment
  const transaction = environment.beginRead()
  return new LmdbView({
    path,
    tables,
    transaction: transaction.native,
    assertOpen,
    release: () => environment.endRead(transaction),
  })
}

async function commitNow<T>(
  { path, writer }: Environment,
  build: (view: View, batch: Batch) => MaybePromise<T>,
  flush: boolean,
): Promise<T> {
  if (writer === undefined) {
    throw new EngineError(
      `The store in ${JSON.stringify(path)} was opened for reading, since this process may not write to the folder.`,
      { code: 'ENGINE_READ_ONLY' },
    )
  }
  const { tables } = writer
  const batch = createWriteBatch()
  const view = new LmdbView({ path, tables, assertOpen: nothing, release: nothing })
  try {
    return await writer.transact(
      () => build(view, batch),
      () => apply(tables, batch.operations),
      flush,
    )
  } finally {
    view.close()
  }
}

function apply(tables: TableHandles, operations: readonly WriteOperation[]): void {
  for (const { table, key, value } of operations) {
    if (value === undefined) tables[table].remove(key)
    else tables[table].put(key, value)
  }
}

function nothing(): void {}
