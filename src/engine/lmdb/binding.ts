import { readFileSync } from 'node:fs'
import type { Database, RootDatabase, RootDatabaseOptionsWithPath, Transaction } from 'lmdb'
import { copyOfBytes, EMPTY_BYTES } from '../../core/bytes.ts'
import { EngineError } from '../../core/errors.ts'
import { type Peeked, TABLES, type Table } from '../engine.ts'
import { BOOT } from './boot.ts'

/** The parts of lmdb-js that its types leave out; its own read functions are made of them. */
interface NativeAddon {
  /** Begins a transaction on a handle; with {@link READ_ONLY}, one that shows the newest commit. */
  readonly Txn: new (
    env: unknown,
    flags: number,
  ) => NativeTransaction
  /** Lets go of what a read transaction shows. It keeps its slot in the table of readers, and can be renewed. */
  resetTxn(address: number): void
  /** Opens a cursor in a transaction; `table` is the native part of a handle. */
  readonly Cursor: new (
    table: unknown,
    transaction: number,
  ) => NativeCursor
  /**
   * Moves a cursor to a key, which stands at the beginning of the buffer of keys. Answers the length of the key that it
   * finds, 0 if there is none, or a negative error.
   */
  position(cursor: number, flags: number, offset: number, keyLength: number, end: number): number
  /** Moves a cursor on, in the direction of the flags that it was positioned with. Answers as `position` does. */
  iterate(cursor: number): number
  /** Where a buffer is in memory. */
  getBufferAddress(buffer: Buffer): number
  /** With the address 0: wakes the thread that writes, where it waits for instructions. */
  write(env: number, address: 0): void
  /** Throws the error of a number. */
  lmdbError(code: number): void
}

interface NativeCursor {
  readonly address: number
  close(): void
}

interface NativeTransaction extends Transaction {
  readonly address: number
  /** After a reset: shows the newest commit. A read through the transaction does this by itself. */
  renew(): void
  abort(): void
}

/** An open environment, as one of its handles. */
export type Root = RootDatabase<Uint8Array, Uint8Array> & {
  readonly env: {
    /** The number of the write transaction that is under way. */
    getWriteTxnId(): number
    readonly address: number
    /**
     * Makes a transaction in another thread, of the instructions at an address: see instructions.ts. `called` is called with 2
     * where these call this thread, which has the transaction until `resumeWriting`, if the answer is `true`; and at the end,
     * with 0 or an error of LMDB.
     */
    startWriting(address: number, called: (status: number) => boolean): void
    resumeWriting(): void
    /**
     * `lastTxnId` is the number of the newest commit, as the data file has it; `numReaders` how many places of the table of
     * readers have been taken since the first of those who have the files open opened them.
     */
    info(): { readonly lastTxnId: number; readonly numReaders: number }
  }
  /** Frees the places of processes that have died in the table of readers. */
  readerCheck(): number
  /** Flushes the file, in another thread. */
  sync(done: (error: Error | null | undefined) => void): void
}
/** A table, as one of the handles sees it. */
export type TableHandle = Database<Uint8Array, Uint8Array> & {
  /** The native part, and the number of the table. */
  readonly db: { readonly dbi: number }
  /** The value: in a buffer that the next read overwrites, which is `isGlobal`, or in LMDB's map. */
  getBinaryFast(
    key: Uint8Array,
    options: { readonly transaction?: Transaction },
  ): (Uint8Array & { readonly isGlobal?: boolean }) | undefined
}
/** The store's tables, and one of this engine's own: see {@link MOVED_KEY}. */
export type TableHandles = Readonly<Record<Table | 'engine', TableHandle>>

/** What is loaded of the lmdb package. */
export interface Lmdb {
  open(options: RootOptions): Root
  readonly nativeAddon: NativeAddon
}

interface RootOptions extends RootDatabaseOptionsWithPath {
  /** In pages: with more free ones in memory, no more are looked up; a large value is then put at the end of the file. */
  readonly maxFreeSpaceToLoad: number
  /** In pages: with more free ones in memory, a commit lets go of the list, and the next one begins another. */
  readonly maxFreeSpaceToRetain: number
}

/** A read transaction, and the options that make a read of lmdb-js use it. */
export interface ReadTransaction {
  readonly native: NativeTransaction
  readonly options: { readonly transaction: Transaction }
}

/** LMDB's flag for a read transaction (`MDB_RDONLY`). */
const READ_ONLY = 0x20000

/** Slots in the table of readers, which all processes share; each is 64 bytes of the lock file. */
const MAX_READERS = 1024

/**
 * Address space for the file, which takes no memory by itself. A file that outgrows it is mapped again, twice as large,
 * and lmdb-js keeps the old map beside the new one: with its own first size, all pages that were read counted twice as
 * memory of the process.
 */
const MAP_BYTES = 2 ** 36

/**
 * Whether address space is free of cost: Windows would make the file as large as its map, and lmdb-js ends the process where
 * the system refuses a map, as it does where address space is limited (`ulimit -v`).
 */
function isAddressSpaceFree(): boolean {
  if (process.platform === 'win32' || process.arch === 'ia32') return false
  try {
    return /^Max address space +unlimited/m.test(readFileSync('/proc/self/limits', 'latin1'))
  } catch {
    // No such file: not Linux, or /proc is not mounted.
    return true
  }
}

/**
 * Free pages that LMDB keeps in memory. It writes the list again with each commit: with lmdb-js's own limits (50,000 to
 * load, 75,000 to retain) each commit after a load of a million keys in random order took 24 to 36 ms instead of one.
 * Fewer pages to choose from make files of mixed values 0 to 2 % larger.
 */
const MAX_FREE_PAGES = 2000

/**
 * Copies each value out of lmdb-js's buffer, or out of LMDB's map, into bytes of its own. Node's pool of small buffers
 * makes that cheaper than what `encoding: 'binary'` does.
 */
const encoder = {
  encode: (value: Uint8Array): Uint8Array => value,
  // The buffer itself is longer than a value in it: lmdb-js has given it the length of the value.
  decode: (value: Uint8Array): Uint8Array => copyOfBytes(value, 0, value.length),
}

/** lmdb-js's buffer, and the same memory under its whole length: with the one it is given, reading it is slower. */
let shared: Uint8Array = EMPTY_BYTES
let sharedMemory: Uint8Array = EMPTY_BYTES
const peeked: { bytes: Uint8Array; length: number } = { bytes: EMPTY_BYTES, length: 0 }

/** Whether bytes are lmdb-js's buffer of values. */
function isShared(bytes: Uint8Array & { readonly isGlobal?: boolean }): boolean {
  if (bytes === shared) return true
  if (bytes.isGlobal !== true) return false
  shared = bytes
  sharedMemory = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return true
}

/**
 * The value at a key: what `get` of a handle comes to, without its choices among encodings, and not copied. It is in
 * lmdb-js's buffer, which the next read of any handle writes over.
 */
export function peek(
  handle: TableHandle,
  key: Uint8Array,
  options: { readonly transaction?: Transaction },
): Peeked | undefined {
  const bytes = handle.getBinaryFast(key, options)
  if (bytes === undefined) return undefined
  // Long values may be shown in LMDB's map, where they stand as long as the transaction.
  if (!isShared(bytes)) return { bytes: copyOfBytes(bytes, 0, bytes.length), length: bytes.length }
  peeked.bytes = sharedMemory
  peeked.length = bytes.length
  return peeked
}

/** {@link peek}, in bytes of its own. */
export function lookUp(
  handle: TableHandle,
  key: Uint8Array,
  options: { readonly transaction?: Transaction },
): Uint8Array | undefined {
  const found = peek(handle, key, options)
  return found === peeked ? copyOfBytes(found.bytes, 0, found.length) : found?.bytes
}

/** The buffer that a cursor puts a value into, for which the next read writes over it; an empty one before the first lookup. */
export function foundValues(): Uint8Array {
  return sharedMemory
}

/** Every table of a file. */
export const ALL_TABLES = [...TABLES, 'engine'] as const satisfies readonly (keyof TableHandles)[]

/**
 * Under this key of the table `engine` stands the number of the generation that the store has moved to, in digits.
 * The commit that writes it is the last one to its file: see generation.ts.
 */
export const MOVED_KEY: Uint8Array = Buffer.from('moved')

/** The memory in which lmdb-js exchanges keys with LMDB. */
export interface KeyBuffer {
  readonly bytes: Buffer
  /** Of what a cursor has found: the length of the value, and where it is if not in the buffer of values. */
  readonly numbers: Uint32Array
}

let keys: KeyBuffer | undefined

/** Absent until the first lookup. */
export function keyBuffer(): KeyBuffer | undefined {
  return keys
}

/** Keys as they are. It takes the place of what lmdb-js has for `keyEncoding: 'binary'`, to get hold of the buffer. */
const keyForm = {
  writeKey(key: Uint8Array, target: Buffer, start: number): number {
    // Lookups write their key to the beginning of the buffer; commits have theirs elsewhere.
    if (start === 0 && keys === undefined)
      keys = { bytes: target, numbers: new Uint32Array(target.buffer, target.byteOffset, 2) }
    target.set(key, start)
    return start + key.length
  },
  readKey: (source: Buffer, start: number, end: number): Uint8Array =>
    Buffer.from(source.subarray(start, end)),
}

const TABLE_OPTIONS = { keyEncoding: 'binary', encoder } as const

/**
 * Loads the lmdb package: only when a store is opened, since programs that use another engine need no native binding.
 *
 * @throws EngineError where it is missing, or of a version that this library does not know.
 */
export async function loadLmdb(): Promise<Lmdb> {
  let lmdb: Partial<Lmdb>
  try {
    lmdb = (await import('lmdb')) as unknown as Partial<Lmdb>
  } catch (cause) {
    throw new EngineError(
      'The lmdb package, or its native binding for this platform, cannot be loaded: install it again here, optional ' +
        `dependencies included, or use another engine, such as memory(). (${String(cause)})`,
      { cause },
    )
  }
  if (!isKnown(lmdb))
    throw new EngineError('This version of the lmdb package is not known here; install lmdb 3.5.')
  return lmdb
}

function isKnown(lmdb: Partial<Lmdb>): lmdb is Lmdb {
  return (
    lmdb.open !== undefined &&
    lmdb.nativeAddon?.Txn !== undefined &&
    lmdb.nativeAddon.resetTxn !== undefined &&
    lmdb.nativeAddon.Cursor !== undefined &&
    lmdb.nativeAddon.position !== undefined &&
    lmdb.nativeAddon.iterate !== undefined
  )
}

/** Opens a handle. In one thread, all handles of a folder share the environment that the first has opened. */
export function openRoot(lmdb: Lmdb, path: string, { readOnly }: { readonly readOnly: boolean }): Root {
  return lmdb.open({
    path,
    // Without this, lmdb-js takes a folder with a dot in its name for a file.
    noSubdir: false,
    readOnly,
    // lmdb-js's own way of syncing has a lock of its own in the lock file. If a process dies with it, as most do that
    // are killed while they commit, the next commit of another can fail for good (MDB_PANIC) although it was made.
    overlappingSync: false,
    // Commits are flushed behind their callers' backs (flusher.ts). Where that cannot be, there is one flush a commit
    // instead of two: the data is on disk before the meta page that points to it is written, so a loss of power leaves a
    // whole state, at worst that before the last commit; `flush` asks for the second one.
    ...(BOOT === undefined ? { noMetaSync: true } : { noSync: true }),
    ...(isAddressSpaceFree() && { mapSize: MAP_BYTES }),
    maxFreeSpaceToLoad: MAX_FREE_PAGES,
    maxFreeSpaceToRetain: MAX_FREE_PAGES,
    maxDbs: 12,
    maxReaders: MAX_READERS,
    ...TABLE_OPTIONS,
  })
}

/** Opens all tables; a handle that is not read-only creates those that are absent. */
export function openTables(root: Root): TableHandles {
  return Object.fromEntries(ALL_TABLES.map(table => [table, openTable(root, table)])) as TableHandles
}

function openTable(root: Root, table: keyof TableHandles): TableHandle {
  const handle = root.openDB(table, TABLE_OPTIONS) as TableHandle | undefined
  if (handle !== undefined) return Object.assign(handle, keyForm)
  throw new EngineError(
    `There is no table "${table}", and none can be created, since the folder can only be read: it was not written ` +
      'by this library, or by an older version. Open it once where it can be written.',
    { code: 'ENGINE_NOT_WRITABLE' },
  )
}

/**
 * Inside a write transaction: whether it starts from the newest commit. It must not be committed if it does not.
 *
 * LMDB keeps the number of the newest commit in the lock file. Whoever opens the files sets it to what the data file
 * said a moment before, without a lock: if somebody commits in that moment, their commit is forgotten, and the next
 * one would overwrite it. Opening the files again sets it right.
 */
export function startsFromNewest({ env }: Root): boolean {
  return env.getWriteTxnId() === env.info().lastTxnId + 1
}

/** Under this key of the table `engine` stands the number of the newest commit, in digits. */
export const COMMIT_KEY: Uint8Array = Buffer.from('commit')

/** Whether the newest commit is noted in the file at all. */
export function isNoted({ engine }: TableHandles): boolean {
  return engine.get(COMMIT_KEY) !== undefined
}

/** Inside a write transaction that writes anything: notes its number, for {@link showsNewest}. */
export function noteCommit({ env }: Root, { engine }: TableHandles): void {
  engine.put(COMMIT_KEY, Buffer.from(String(env.getWriteTxnId())))
}

/** Whether a read transaction shows what is the newest commit now, or was so when it began: see openings.ts. */
export function showsNewest(
  { env }: Root,
  { engine }: TableHandles,
  options: { readonly transaction: Transaction },
): boolean {
  const noted = notedCommit(engine, options)
  return noted === undefined || noted >= env.info().lastTxnId
}

/** Whether a read transaction shows the commit of a number, or a later one. */
export function showsCommit(
  { engine }: TableHandles,
  options: { readonly transaction: Transaction },
  number: number,
): boolean {
  const noted = notedCommit(engine, options)
  return noted !== undefined && noted >= number
}

function notedCommit(
  engine: TableHandle,
  options: { readonly transaction: Transaction },
): number | undefined {
  const noted = lookUp(engine, COMMIT_KEY, options)
  return noted && Number(Buffer.from(noted).toString('latin1'))
}

/** Begins a read transaction of its own on a handle: not lmdb-js's, which is shared and ends by a timer. */
export function beginReadTransaction(lmdb: Lmdb, root: Root): ReadTransaction {
  const native = new lmdb.nativeAddon.Txn(root.env, READ_ONLY)
  return { native, options: { transaction: native } }
}
