import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { EngineError } from '../../core/errors.ts'
import type { MaybePromise } from '../../core/maybe-promise.ts'
import { inSlices } from '../../core/turns.ts'
import type {
  Batch,
  CommitOptions,
  EngineCompactOptions,
  EngineStats,
  Peeked,
  Table,
  View,
} from '../engine.ts'
import { createLifecycle, type Lifecycle } from '../lifecycle.ts'
import { createSerialQueue } from '../serial-queue.ts'
import { createWriteBatch, type WriteOperation } from '../write-batch.ts'
import { loadLmdb, lookUp, MOVED_KEY, type ReadTransaction } from './binding.ts'
import { prepareFolder } from './data-file.ts'
import { type Environment, openCurrentEnvironment, type StoreFolder } from './environment.ts'
import { toEngineError } from './errors.ts'
import { removeUnfinishedFiles } from './first-files.ts'
import {
  flushFolder,
  generationFolder,
  listGenerations,
  readCurrentGeneration,
  removeGeneration,
  writeCurrentGeneration,
} from './generation.ts'
import { createNextGeneration } from './next-generation.ts'
import { isBeingOpened } from './openings.ts'
import { NOTICE_MS, TRUST_MS } from './trust.ts'
import { LmdbView } from './view.ts'
import type { TransactOptions, Writer } from './writer.ts'
import { createWriterTurns } from './writer-turns.ts'

/** A store in a folder, shared by all engines of this thread that have the same folder. */
export interface LmdbStore {
  /** One lookup in the newest commit. */
  get(table: Table, key: Uint8Array): Uint8Array | undefined
  /** The same, in a buffer that the next read writes over. */
  peek(table: Table, key: Uint8Array): Peeked | undefined
  /** A view of the newest commit. `assertOpen` throws once the engine that it belongs to is closed. */
  read(assertOpen: () => void): View
  /** Says that a commit is about to be asked for that is to be kept a turn for. */
  announce(): void
  commit<T>(
    build: (view: View, batch: Batch) => MaybePromise<T>,
    options: CommitOptions | undefined,
  ): Promise<T>
  stats(): Promise<EngineStats>
  compact(options?: EngineCompactOptions): Promise<void>
  trim(): Promise<void>
  /** Resolves once all commits and compactions given so far have settled. */
  idle(): Promise<void>
  close(): Promise<void>
}

/** One engine's share of an {@link LmdbStore}. */
export interface StoreLease {
  readonly store: LmdbStore
  release(): Promise<void>
}

/**
 * The stores of this thread, by the real path of their folder. Sharing them is not for economy: opening a handle for
 * writing waits for LMDB's write lock and blocks the thread meanwhile; if that lock is held by an asynchronous builder
 * of the same thread, neither would ever go on.
 */
const stores = new Map<string, Lifecycle<LmdbStore>>()

/** Opens the store in a folder, or joins those who have. @throws EngineError as `toEngineError` has it. */
export async function leaseStore(path: string): Promise<StoreLease> {
  const lmdb = await loadLmdb()
  const { folder, writable } = await prepareFolder(lmdb, path)
  const shared = stores.get(folder) ?? share({ lmdb, path: folder, writable })
  await shared.open()
  return { store: shared.get(), release: shared.close }
}

/** Registers a store for as long as somebody uses it. */
function share(folder: StoreFolder): Lifecycle<LmdbStore> {
  const shared = createLifecycle(
    () =>
      openStore(folder).catch((error: unknown) => {
        stores.delete(folder.path)
        throw error
      }),
    async store => {
      await store.close()
      if (shared.users === 0) stores.delete(folder.path)
    },
  )
  stores.set(folder.path, shared)
  return shared
}

/** So much of a file may stay in the map. */
const MAX_RESIDENT_BYTES = 64 * 1024 * 1024

/** Turns of the event loop in which those who read may come to an end. */
const TRIM_ATTEMPTS = 5

/** What a transaction comes to that finds the store moved. */
const MOVED = Symbol('moved')
/** What a commit comes to that has to be made in the other way. Nothing of it was written. */
const ELSEWHERE = Symbol('elsewhere')

async function openStore(folder: StoreFolder): Promise<LmdbStore> {
  const { path, writable } = folder
  let environment = openCurrentEnvironment(folder)
  let trustedUntil = 0
  /** The generation that CURRENT is known to name. */
  let named: number | undefined
  /** The generation before which files have been looked for, to be removed. */
  let tidied: number | undefined
  /** Whether the data file is known to be listed on disk. */
  let listed = false
  /** The current one, and those before that somebody still reads. */
  const open = new Set([environment])
  /** Orders the commits of this thread: lmdb-js has one write transaction at a time. */
  const commits = createSerialQueue()
  /** Orders them among those of others. */
  const turns = createWriterTurns(path)

  /** The generation to read. */
  function current(): Environment {
    const now = performance.now()
    if (now >= trustedUntil) {
      if (environment.isClosed()) replace(openCurrentEnvironment(folder, environment.generation))
      const isOpened = isBeingOpened(path)
      environment.beCareful(isOpened)
      followIfMoved()
      // It may be another one by now, which begins as careful as can be.
      environment.beCareful(isOpened)
      if (!environment.isInPlace()) {
        // Old files are removed once the store has moved, which may have happened just now.
        followIfMoved()
        if (!environment.isInPlace()) throw notInPlace(path)
      }
      trustedUntil = now + TRUST_MS
    }
    return environment
  }

  function followIfMoved(): void {
    const next = environment.movedTo()
    if (next !== undefined) follow(next)
  }

  function replace(next: Environment): void {
    environment = next
    open.add(next)
  }

  function follow(next: number): void {
    const previous = environment
    replace(openCurrentEnvironment(folder, next))
    const forget = (): void => void open.delete(previous)
    // A commit that is under way there has yet to find that the store has moved.
    commits
      .idle()
      .then(() => previous.retire())
      .then(forget, forget)
  }

  /**
   * Opens the files again, unless they are small or somebody reads them: the pages that were read stay in the map, and
   * count as memory of the process, as long as they are open. To be called between commits. Answers whether somebody
   * reads.
   */
  async function trim(): Promise<boolean> {
    const previous = environment
    if (previous.isRead()) return true
    if (previous.isClosed() || previous.fileBytes() <= MAX_RESIDENT_BYTES) return false
    // A compaction, of another process, holds the lock for long: opening for writing would wait for it.
    if (existsSync(generationFolder(path, previous.generation + 1))) return false
    await previous.closeWriter()
    // Whoever has moved on meanwhile retires it.
    if (environment !== previous) return false
    // Nobody can begin to read from here on: the rest happens in one turn.
    const forget = (): void => void open.delete(previous)
    previous.retire().then(forget, forget)
    trustedUntil = 0
    try {
      replace(openCurrentEnvironment(folder, previous.generation))
    } catch {
      // The next use tries again, and reports what is wrong.
    }
    return false
  }

  /** Runs `build` inside a write transaction of the current generation, and then `apply`, which writes. */
  function transact<T>(
    build: (writer: Writer, generation: number) => MaybePromise<T>,
    apply: (writer: Writer) => MaybePromise<void>,
  ): Promise<T> {
    return inTurn((writer, { generation }) => attempt(writer, generation, build, apply))
  }

  function attempt<T>(
    writer: Writer,
    generation: number,
    build: (writer: Writer, generation: number) => MaybePromise<T>,
    apply: (writer: Writer) => MaybePromise<void>,
    options?: TransactOptions,
  ): Promise<T | typeof MOVED> {
    return writer.transact<T | typeof MOVED>(
      () => {
        turns.begun(writer.transactionNumber())
        if (writer.tables.engine.get(MOVED_KEY) !== undefined) return MOVED
        if (named === generation) return build(writer, generation)
        return name(generation).then(() => build(writer, generation))
      },
      () => apply(writer),
      options,
    )
  }

  /** Makes a commit whose writes are gathered, and made once it is built. */
  async function commitGathered<T>(
    build: (view: View, batch: Batch) => MaybePromise<T>,
    writer: Writer,
    generation: number,
    options: TransactOptions,
  ): Promise<T | typeof MOVED> {
    let operations: readonly WriteOperation[] = []
    let view: View | undefined
    try {
      return await attempt(
        writer,
        generation,
        ({ tables }) => {
          const batch = createWriteBatch()
          operations = batch.operations
          view = new LmdbView({ path, tables, assertOpen: nothing, release: nothing })
          return build(view, batch)
        },
        writer => apply(writer, operations),
        options,
      )
    } finally {
      view?.close()
    }
  }

  /** Makes a commit whose writes are made in another thread while it is built; so it reads the commit before. */
  function commitBeside<T>(
    build: (view: View, batch: Batch) => MaybePromise<T>,
    write: NonNullable<Writer['write']>,
    environment: Environment,
    options: TransactOptions,
  ): Promise<T | typeof MOVED | typeof ELSEWHERE> {
    const { generation, tables } = environment
    return write<T | typeof MOVED | typeof ELSEWHERE>(async (batch, number) => {
      turns.begun(number)
      const transaction = beginReadOrNot(environment)
      if (transaction === undefined) return ELSEWHERE
      const view = viewOf(environment, transaction, nothing)
      try {
        if (!environment.showsCommit(transaction, number - 1)) return ELSEWHERE
        if (lookUp(tables.engine, MOVED_KEY, transaction.options) !== undefined) return MOVED
        if (named !== generation) await name(generation)
        return await build(view, batch)
      } finally {
        view.close()
      }
    }, options)
  }

  /** Waits for its turn to write to the current generation, and looks for the next one if the store has moved. */
  async function inTurn<T>(
    make: (writer: Writer, environment: Environment) => Promise<T | typeof MOVED>,
  ): Promise<T> {
    for (;;) {
      const writing = current().writer
      if (writing === undefined) throw readOnly(path)
      const turn = turns.ask(writing.newestTransaction())
      if (turn !== undefined) await turn
      let outcome: T | typeof MOVED
      let generation: number
      try {
        // Only now: the store may have moved while somebody else was let go first.
        const environment = current()
        const { writer } = environment
        generation = environment.generation
        if (writer === undefined) throw readOnly(path)
        outcome = await make(writer, environment)
      } finally {
        turns.done()
      }
      if (outcome !== MOVED) {
        await tidyOnce(generation)
        return outcome
      }
      trustedUntil = 0
    }
  }

  /**
   * After a transaction in a generation, which CURRENT has named since: removes the files before. Whoever has moved the
   * store may have died before they did so.
   */
  async function tidyOnce(generation: number): Promise<void> {
    if (tidied === generation) return
    tidied = generation
    await removeBefore(path).catch(nothing)
  }

  /** A view of a read transaction, which it ends. */
  function viewOf(environment: Environment, transaction: ReadTransaction, assertOpen: () => void): View {
    return new LmdbView({
      path,
      tables: environment.tables,
      transaction: transaction.native,
      openCursor: handle => environment.openCursor(handle, transaction),
      assertOpen,
      release: cursors => environment.endRead(transaction, cursors),
    })
  }

  /** Lets CURRENT name a generation, if it does not yet: before anybody commits to it, under its write lock. */
  async function name(generation: number): Promise<void> {
    try {
      if (readCurrentGeneration(path) !== generation) {
        await delay(NOTICE_MS)
        await writeCurrentGeneration(path, generation)
      }
      named = generation
    } catch (cause) {
      throw toEngineError(cause, 'write to', path)
    }
  }

  /**
   * Flushes what lists the data file, whoever has created it: LMDB flushes the file alone, and one that no folder lists is
   * lost with all that is in it. A generation is listed before anybody moves there.
   */
  async function list(): Promise<void> {
    if (listed) return
    try {
      await flushFolder(path)
      // What may not be read was not created by us.
      await flushFolder(dirname(path)).catch(nothing)
      listed = true
    } catch (cause) {
      throw toEngineError(cause, 'flush', path)
    }
  }

  /** Moves the store to a new generation, unless somebody else has done so meanwhile. */
  async function compact(options: EngineCompactOptions = {}): Promise<void> {
    const { generation: before } = current()
    let next: number | undefined
    await transact(
      async ({ tables }, generation) => {
        if (generation !== before) return
        const view = new LmdbView({ path, tables, assertOpen: nothing, release: nothing })
        await createNextGeneration(folder, generation + 1, view, options)
        next = generation + 1
      },
      ({ tables, noteCommit }) => {
        if (next === undefined) return
        tables.engine.put(MOVED_KEY, Buffer.from(String(next)))
        noteCommit(1)
      },
    )
    trustedUntil = 0
    // As the first commit does: only now may the files before go.
    await transact(nothing, nothing)
  }

  /** Finishes what compactions have left that died, or could not remove files in use. */
  async function tidy(): Promise<void> {
    const { generation: opened } = environment
    const latest = Math.max(...(await listGenerations(path)))
    if (latest > opened || readCurrentGeneration(path) < opened) {
      await transact(async (_, generation) => {
        if (latest > generation) await removeGeneration(path, latest)
      }, nothing)
    }
    await tidyOnce(environment.generation)
    for (const folder of new Set([path, generationFolder(path, environment.generation)]))
      await removeUnfinishedFiles(folder)
  }

  if (writable) await tidy().catch(nothing)

  return {
    get: (table, key) => current().get(table, key),
    peek: (table, key) => current().peek(table, key),

    read(assertOpen) {
      const environment = current()
      return viewOf(environment, environment.beginRead(), assertOpen)
    },

    announce: turns.announce,

    commit(build, options = {}) {
      // Among others, the turn begins with the call.
      if (writable && !turns.isAlone()) turns.announce()
      return commits.run(async () => {
        if (options.flush === true) await list()
        return inTurn(async (writer, environment) => {
          if (options.brief !== true && writer.write !== undefined) {
            const outcome = await commitBeside(build, writer.write, environment, options)
            if (outcome !== ELSEWHERE) return outcome
          }
          // Among others, who makes one commit after the other without a pause would leave them behind.
          const brief = options.brief === true && turns.isAlone()
          return commitGathered(build, writer, environment.generation, { flush: options.flush, brief })
        })
      })
    },

    compact: options => commits.run(() => compact(options)),
    async trim() {
      // Most views are closed soon.
      for (let attempt = 0; attempt < TRIM_ATTEMPTS && (await commits.run(trim)); attempt++) await nextTurn()
    },
    stats: async () => current().stats(),
    idle: () => commits.idle(),

    async close() {
      turns.close()
      for (const environment of open) await environment.close()
    },
  }
}

/** Removes the generations before the one that CURRENT names. */
async function removeBefore(path: string): Promise<void> {
  const current = readCurrentGeneration(path)
  const generations = await listGenerations(path)
  for (const generation of generations.filter(generation => generation < current)) {
    // Windows does not remove what somebody has open. The next to open the store tries again.
    await removeGeneration(path, generation).catch(nothing)
  }
}

/** So many operations are applied at a time; between, the event loop turns. */
const APPLIED_AT_A_TIME = 4096

function apply({ tables, noteCommit }: Writer, operations: readonly WriteOperation[]): MaybePromise<void> {
  if (operations.length === 0) return
  noteCommit(operations.length)
  return inSlices(operations.length, APPLIED_AT_A_TIME, (start, end) => {
    for (let i = start; i < end; i++) {
      const { table, key, value } = operations[i] as WriteOperation
      if (value === undefined) tables[table].remove(key)
      else tables[table].put(key, value)
    }
  })
}

/** `undefined` where that fails: all places in the table of readers may be taken. */
function beginReadOrNot(environment: Environment): ReadTransaction | undefined {
  try {
    return environment.beginRead()
  } catch {
    return undefined
  }
}

function notInPlace(path: string): EngineError {
  return new EngineError(
    `The files of the store in ${JSON.stringify(path)} have been removed, moved or replaced while it was open: what is ` +
      'written now would be lost. Put them back, or close the store in all processes and open it again.',
    { code: 'ENGINE_FILES_GONE' },
  )
}

function readOnly(path: string): EngineError {
  return new EngineError(
    `The store in ${JSON.stringify(path)} was opened for reading, since this process may not write to the folder.`,
    { code: 'ENGINE_READ_ONLY' },
  )
}

function nothing(): void {}
