import { type EngineStats, TABLES, type Table } from '../engine.ts'
import { createLifecycle, type Lifecycle } from '../lifecycle.ts'
import { createSerialQueue, type SerialQueue } from '../serial-queue.ts'
import {
  beginReadTransaction,
  type Lmdb,
  loadLmdb,
  openRoot,
  openTables,
  type ReadTransaction,
  type Root,
  type TableHandles,
} from './binding.ts'
import { lengthOfFiles, prepareFolder } from './data-file.ts'
import { toEngineError } from './errors.ts'
import { createWriter, type Writer } from './writer.ts'

/**
 * An open LMDB environment, shared by all engines of this thread that have the same folder.
 *
 * It has two handles. Every read on a handle goes through the write transaction that the handle has under way; so all
 * writing happens on one, and readers, who must not see what is not committed, use the other.
 */
export interface Environment {
  readonly path: string
  /** `undefined` where the folder can only be read. */
  readonly writer: Writer | undefined
  readonly tables: TableHandles
  /** Orders the commits of this thread: lmdb-js has one write transaction at a time. */
  readonly commits: SerialQueue
  /** One lookup in the newest commit. */
  get(table: Table, key: Uint8Array): Uint8Array | undefined
  /** A read transaction that shows the newest commit, to be given back with `endRead`. */
  beginRead(): ReadTransaction
  endRead(transaction: ReadTransaction): void
  stats(): Promise<EngineStats>
  close(): Promise<void>
}

/** One engine's share of an {@link Environment}. */
export interface EnvironmentLease {
  readonly environment: Environment
  release(): Promise<void>
}

/** So many read transactions are kept for the next views. */
const MAX_IDLE_TRANSACTIONS = 8

/**
 * The environments of this thread, by the real path of their folder. Sharing them is not for economy: opening a
 * handle for writing waits for LMDB's write lock and blocks the thread meanwhile; if that lock is held by an
 * asynchronous builder of the same thread, neither would ever go on.
 */
const environments = new Map<string, Lifecycle<Environment>>()

/** Opens the environment in a folder, or joins those who have. @throws EngineError as {@link toEngineError} has it. */
export async function leaseEnvironment(path: string): Promise<EnvironmentLease> {
  const lmdb = await loadLmdb()
  const { folder, writable } = await prepareFolder(path)
  const shared = environments.get(folder) ?? share(lmdb, folder, writable)
  await shared.open()
  return { environment: shared.get(), release: shared.close }
}

/** Registers an environment for as long as somebody uses it. */
function share(lmdb: Lmdb, folder: string, writable: boolean): Lifecycle<Environment> {
  const shared = createLifecycle(
    () =>
      openEnvironment(lmdb, folder, writable).catch((error: unknown) => {
        environments.delete(folder)
        throw error
      }),
    async environment => {
      await environment.close()
      if (shared.users === 0) environments.delete(folder)
    },
  )
  environments.set(folder, shared)
  return shared
}

async function openEnvironment(lmdb: Lmdb, path: string, writable: boolean): Promise<Environment> {
  const opened: { close(): Promise<void> }[] = []
  try {
    let writer: Writer | undefined
    if (writable) {
      const root = openRoot(lmdb, path, { readOnly: false })
      opened.unshift(root)
      writer = createWriter(root, path)
    }
    const root = openRoot(lmdb, path, { readOnly: true })
    opened.unshift(root)
    return createEnvironment(lmdb, path, writer, root)
  } catch (cause) {
    for (const handle of opened) await handle.close()
    throw toEngineError(cause, 'open', path)
  }
}

function createEnvironment(lmdb: Lmdb, path: string, writer: Writer | undefined, root: Root): Environment {
  const { resetTxn } = lmdb.nativeAddon
  const tables = openTables(root)
  const idle: ReadTransaction[] = []
  let closed = false

  /**
   * The read transaction of single lookups, reset after each so that the next shows the newest commit. That of lmdb-js
   * itself is reset by a timer: somebody whom a message tells of another process's commit would look too early.
   */
  const lookup = beginReadTransaction(lmdb, root)
  const lookupOptions = lookup.options
  const lookupAddress = lookup.native.address
  resetTxn(lookupAddress)

  return {
    path,
    writer,
    tables,
    commits: createSerialQueue(),

    get(table, key) {
      try {
        return tables[table].get(key, lookupOptions)
      } catch (error) {
        throw toEngineError(error, 'read', path)
      } finally {
        resetTxn(lookupAddress)
      }
    },

    beginRead() {
      try {
        const transaction = idle.pop()
        if (transaction === undefined) return beginReadTransaction(lmdb, root)
        transaction.native.renew()
        return transaction
      } catch (error) {
        throw toEngineError(error, 'read', path)
      }
    },

    endRead(transaction) {
      // Closing has ended it already.
      if (closed) return
      if (idle.length === MAX_IDLE_TRANSACTIONS) return transaction.native.abort()
      resetTxn(transaction.native.address)
      idle.push(transaction)
    },

    async stats() {
      // Page counts are read through the transaction that was begun last on the handle.
      const transaction = beginReadTransaction(lmdb, root)
      const pages = pageStats(tables)
      transaction.native.abort()
      return { bytes: await lengthOfFiles(path), ...pages }
    },

    async close() {
      closed = true
      await root.close()
      await writer?.close()
    },
  }
}

/** Pages of one of LMDB's trees. */
interface TreeStats {
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

/** What lmdb-js answers about a table: its tree, and the trees and numbers of the whole file. */
interface TableStats extends TreeStats {
  readonly pageSize: number
  readonly entryCount: number
  readonly lastPageNumber: number
  /** The tree that names the tables. */
  readonly root: TreeStats
  /** The tree of the free pages. */
  readonly free: TreeStats
}

/** LMDB's two meta pages are at the beginning of the file. */
const META_PAGES = 2

function pageStats(tables: TableHandles): Pick<EngineStats, 'tables' | 'freeBytes'> {
  const { pageSize, lastPageNumber, root, free } = tables.meta.getStats() as TableStats
  const result: Partial<Record<Table, { entries: number; bytes: number }>> = {}
  let used = META_PAGES + pagesOf(root) + pagesOf(free)
  for (const table of TABLES) {
    const tree = tables[table].getStats() as TableStats
    used += pagesOf(tree)
    result[table] = { entries: tree.entryCount, bytes: pagesOf(tree) * pageSize }
  }
  // LMDB does not count the free pages: they are those that are in no tree.
  return { tables: result, freeBytes: (lastPageNumber + 1 - used) * pageSize }
}

function pagesOf(tree: TreeStats): number {
  return tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages
}
