import { InvalidArgumentError } from '../core/errors.ts'
import type { Engine, Table } from './engine.ts'
import { createLifecycle } from './lifecycle.ts'
import { KNOWS_PAGES } from './lmdb/page.ts'
import { pinGeneration } from './lmdb/pin.ts'
import { openSalvage } from './lmdb/salvage.ts'
import { leaseStore, type StoreLease } from './lmdb/store.ts'

/**
 * The embedded engine: an LMDB environment in a folder, used by any number of processes and threads of one machine.
 *
 * The folder must be on a local disk; it is created if it is absent. One that can only be read is opened for reading,
 * and `commit` is refused. A commit survives the death of the process, and with `flush` that of the machine.
 * `stats().bytes` is the length of the files.
 *
 * `compact` rewrites the store densely into new files, moves every process that has it open there, and removes the old
 * files. It needs room for both; commits wait meanwhile, readers do not. Aborted, it leaves all as it was.
 *
 * @param path - the folder
 * @throws InvalidArgumentError if the path is not a string or is empty. `open` rejects with an `EngineError`, of the
 *   code `ENGINE_NOT_A_FOLDER`, `ENGINE_NOT_WRITABLE`, `ENGINE_DISK_FULL`, `ENGINE_DAMAGED` or `ENGINE`; `commit` also with
 *   `ENGINE_READ_ONLY`, and every call with `ENGINE_FILES_GONE` where the files have been removed or replaced meanwhile.
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
  const opened = createLifecycle<StoreLease>(
    () => leaseStore(path),
    async ({ store, release }) => {
      await store.idle()
      await release()
    },
  )

  return {
    name: 'lmdb',
    open: opened.open,
    close: opened.close,
    get: (table: Table, key: Uint8Array) => opened.get().store.get(table, key),
    peek: (table: Table, key: Uint8Array) => opened.get().store.peek(table, key),
    read: () => opened.get().store.read(opened.get),
    announce: () => opened.get().store.announce(),
    commit: async (build, options) => opened.get().store.commit(build, options),
    stats: async () => opened.get().store.stats(),
    compact: async options => opened.get().store.compact(options),
    trim: async () => opened.get().store.trim(),
    ...(KNOWS_PAGES && { salvage: (options = {}) => openSalvage(path, pinGeneration, options) }),
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
