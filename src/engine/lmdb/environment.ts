import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { EngineError } from '../../core/errors.ts'
import { type EngineStats, type Peeked, TABLES, type Table } from '../engine.ts'
import {
  ALL_TABLES,
  beginReadTransaction,
  type Lmdb,
  lookUp,
  MOVED_KEY,
  openRoot,
  openTables,
  peek,
  type ReadTransaction,
  type Root,
  showsCommit,
  showsNewest,
  type TableHandle,
  type TableHandles,
} from './binding.ts'
import { blockFor } from './block-for.ts'
import { lengthOfFiles } from './data-file.ts'
import { toEngineError } from './errors.ts'
import { DATA_FILE, generationFolder, LOCK_FILE, readCurrentGeneration } from './generation.ts'
import { announceOpening } from './openings.ts'
import { ReadCursor } from './read-cursor.ts'
import { NOTICE_MS } from './trust.ts'
import { openWriter, type Writer } from './writer.ts'

/**
 * An open LMDB environment: one generation of a store.
 *
 * It has two handles. Every read on a handle goes through the write transaction that the handle has under way; so all
 * writing happens on one, and readers, who must not see what is not committed, use the other.
 */
export interface Environment {
  readonly generation: number
  /** `undefined` where the folder can only be read. */
  readonly writer: Writer | undefined
  readonly tables: TableHandles
  /** One lookup in the newest commit. */
  get(table: Table, key: Uint8Array): Uint8Array | undefined
  /** The same, in a buffer that the next read writes over. */
  peek(table: Table, key: Uint8Array): Peeked | undefined
  /** The generation that the store has moved to, if it has: as of the newest commit. */
  movedTo(): number | undefined
  /** A read transaction that shows the newest commit, to be given back with `endRead`. */
  beginRead(): ReadTransaction
  /** Whether a read transaction shows the commit of a number, as it must where that is the newest one. */
  showsCommit(transaction: ReadTransaction, number: number): boolean
  endRead(transaction: ReadTransaction, cursors: Iterable<ReadCursor>): void
  /** Opens a cursor in a read transaction, to be given back with it. */
  openCursor(handle: TableHandle, transaction: ReadTransaction): ReadCursor
  /** Says whether anybody is opening the store's files: then reads make sure that they show the newest commit. */
  beCareful(isBeingOpened: boolean): void
  /** Whether a read transaction has begun and not ended. */
  isRead(): boolean
  /** Whether the data file is where it was opened: neither removed, nor moved, nor replaced. */
  isInPlace(): boolean
  /** How long the data file is; 0 if it has been removed. */
  fileBytes(): number
  stats(): Promise<EngineStats>
  /** Closes the handle for writing. Reading goes on. */
  closeWriter(): Promise<void>
  /** Closes once every read transaction that was begun has ended: at once, if there is none. */
  retire(): Promise<void>
  close(): Promise<void>
  isClosed(): boolean
}

/** Which store, and how it may be used. */
export interface StoreFolder {
  readonly lmdb: Lmdb
  /** The real path of the store's folder. */
  readonly path: string
  readonly writable: boolean
}

/**
 * How long, in milliseconds, a read waits for the number of the newest commit to be set right. Whoever has set it back
 * does so at once, unless somebody holds the write lock: then it is the end of that commit which sets it right. That may
 * be one of this thread, which cannot go on meanwhile.
 */
const PATIENCE_MS = 20
const PAUSE_MS = 0.2

/** So many read transactions are kept for the next views. */
const MAX_IDLE_TRANSACTIONS = 8

/**
 * Opens the current generation of a store; `atLeast` is one that it is known to have moved to.
 *
 * Opening for writing waits for LMDB's write lock and blocks the thread meanwhile.
 *
 * @throws EngineError as {@link toEngineError} has it
 */
export function openCurrentEnvironment(store: StoreFolder, atLeast = 0): Environment {
  const { path } = store
  try {
    let generation = atLeast
    for (;;) {
      generation = Math.max(generation, readCurrentGeneration(path))
      let environment: Environment | undefined
      let failure: unknown
      try {
        environment = openEnvironment(store, generation)
      } catch (error) {
        failure = error
      }
      // A generation is removed only after CURRENT has gone past it. If it has not, this one was whole when it was
      // opened.
      if (readCurrentGeneration(path) <= generation) {
        if (environment === undefined) throw failure
        const next = environment.movedTo()
        if (next === undefined) return environment
        generation = next
      }
      environment?.close().catch(ignore)
    }
  } catch (cause) {
    throw toEngineError(cause, 'open', path)
  }
}

/** LMDB would create what is not there. */
function assertPresent(path: string, generation: number): void {
  const folder = generationFolder(path, generation)
  if (generation === 0 || existsSync(join(folder, DATA_FILE))) return
  throw new EngineError(
    `Cannot open the store in ${JSON.stringify(path)}: it has moved to ${JSON.stringify(folder)}, where there is no ` +
      `${DATA_FILE}. Restore that folder from a backup, together with the others.`,
  )
}

function openEnvironment(store: StoreFolder, generation: number): Environment {
  const { lmdb, path, writable } = store
  const folder = generationFolder(path, generation)
  const opened: { close(): Promise<void> }[] = []
  assertPresent(path, generation)
  const isOpen = announceOpening(path, join(folder, LOCK_FILE), NOTICE_MS)
  try {
    let writer: Writer | undefined
    if (writable) {
      writer = openWriter(lmdb, folder, path)
      opened.unshift(writer)
    }
    const root = openRoot(lmdb, folder, { readOnly: true })
    opened.unshift(root)
    return createEnvironment(store, generation, writer, root)
  } catch (cause) {
    for (const handle of opened) handle.close().catch(ignore)
    throw cause
  } finally {
    isOpen()
  }
}

function createEnvironment(
  { lmdb, path }: StoreFolder,
  generation: number,
  writer: Writer | undefined,
  root: Root,
): Environment {
  const { resetTxn } = lmdb.nativeAddon
  const file = join(generationFolder(path, generation), DATA_FILE)
  const opened = statSync(file, { throwIfNoEntry: false })
  const tables = openTables(root)
  const idle: ReadTransaction[] = []
  let reading = 0
  /** Whether the number of the newest commit may be set back. */
  let careful = true
  const onUnused: (() => void)[] = []
  let writerClosing: Promise<void> | undefined
  let closing: Promise<void> | undefined

  /**
   * The read transaction of single lookups, reset after each so that the next shows the newest commit. That of lmdb-js
   * itself is reset by a timer: somebody whom a message tells of another process's commit would look too early.
   */
  const lookup = beginReadTransaction(lmdb, root)
  const lookupOptions = lookup.options
  const lookupAddress = lookup.native.address
  resetTxn(lookupAddress)

  /** Begins a transaction anew until it shows the newest commit. */
  function makeSure({ native, options }: ReadTransaction): void {
    for (const begun = performance.now(); !showsNewest(root, tables, options); ) {
      if (performance.now() > begun + PATIENCE_MS) return
      resetTxn(native.address)
      blockFor(PAUSE_MS)
      native.renew()
    }
  }

  /** What `read` finds in the newest commit. */
  function newest<T>(
    read: (handle: TableHandle, key: Uint8Array, options: ReadTransaction['options']) => T,
    handle: TableHandle,
    key: Uint8Array,
  ): T {
    try {
      if (careful) makeSure(lookup)
      return read(handle, key, lookupOptions)
    } catch (error) {
      throw toEngineError(error, 'read', path)
    } finally {
      resetTxn(lookupAddress)
    }
  }

  function closeWriter(): Promise<void> {
    writerClosing ??= writer?.close() ?? Promise.resolve()
    return writerClosing
  }

  function newRead(): ReadTransaction {
    try {
      const kept = idle.pop()
      kept?.native.renew()
      const transaction = kept ?? beginReadTransaction(lmdb, root)
      if (careful) makeSure(transaction)
      return transaction
    } catch (error) {
      throw toEngineError(error, 'read', path)
    }
  }

  return {
    generation,
    writer,
    tables,
    get: (table, key) => newest(lookUp, tables[table], key),
    peek: (table, key) => newest(peek, tables[table], key),

    beCareful(isBeingOpened) {
      careful = isBeingOpened
    },

    movedTo() {
      const value = newest(lookUp, tables.engine, MOVED_KEY)
      return value && Number(Buffer.from(value).toString('latin1'))
    },

    beginRead() {
      const transaction = newRead()
      reading += 1
      return transaction
    },

    showsCommit: ({ options }, number) => showsCommit(tables, options, number),

    endRead(transaction, cursors) {
      // Closing has ended it already, and what a cursor of it points to.
      if (closing !== undefined) return
      for (const cursor of cursors) cursor.close()
      reading -= 1
      if (reading === 0) for (const resolve of onUnused.splice(0)) resolve()
      if (idle.length === MAX_IDLE_TRANSACTIONS) return transaction.native.abort()
      resetTxn(transaction.native.address)
      idle.push(transaction)
    },

    openCursor: (handle, transaction) => new ReadCursor(lmdb, handle, transaction),
    isRead: () => reading > 0,
    isInPlace() {
      try {
        const now = statSync(file, { throwIfNoEntry: false })
        return now !== undefined && now.ino === opened?.ino && now.dev === opened.dev
      } catch {
        // Who may not look any more can still read and write what is open.
        return true
      }
    },

    fileBytes() {
      return statSync(file, { throwIfNoEntry: false })?.size ?? 0
    },

    async stats() {
      // Page counts are read through the transaction that was begun last on the handle.
      const transaction = beginReadTransaction(lmdb, root)
      const pages = pageStats(tables)
      transaction.native.abort()
      return { bytes: await lengthOfFiles(generationFolder(path, generation)), ...pages }
    },

    async retire() {
      if (reading > 0) {
        await new Promise<void>(resolve => onUnused.push(resolve))
      }
      await this.close()
    },

    closeWriter,

    close() {
      // That of a handle for reading is closed before this returns.
      closing ??= root.close().then(closeWriter)
      return closing
    },

    isClosed: () => closing !== undefined,
  }
}

function ignore(): void {}

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

function pageStats(handles: TableHandles): Pick<EngineStats, 'tables' | 'freeBytes'> {
  const trees = new Map(ALL_TABLES.map(table => [table, handles[table].getStats() as TableStats]))
  const { pageSize, lastPageNumber, root, free } = trees.get('engine') as TableStats
  const tables: Partial<Record<Table, { entries: number; bytes: number }>> = {}
  for (const table of TABLES) {
    const tree = trees.get(table) as TableStats
    tables[table] = { entries: tree.entryCount, bytes: pagesOf(tree) * pageSize }
  }
  // LMDB does not count the free pages: they are those that are in no tree.
  const used = [root, free, ...trees.values()].reduce((sum, tree) => sum + pagesOf(tree), META_PAGES)
  return { tables, freeBytes: (lastPageNumber + 1 - used) * pageSize }
}

function pagesOf(tree: TreeStats): number {
  return tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages
}
