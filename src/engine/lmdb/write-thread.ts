import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { isMainThread } from 'node:worker_threads'
import { EngineError } from '../../core/errors.ts'
import { type MaybePromise, whenReady } from '../../core/maybe-promise.ts'
import type { Batch } from '../engine.ts'
import { assertWrite } from '../write-batch.ts'
import { COMMIT_KEY, type Lmdb, type Root, startsFromNewest, type TableHandles } from './binding.ts'
import { toEngineError } from './errors.ts'
import { InstructionMemory, Instructions } from './instructions.ts'

/** What a transaction comes to that must not be committed: see `startsFromNewest`. */
export const OUTDATED = Symbol('outdated')

/** What a transaction in the writing thread has come to. */
export interface Written<T> {
  readonly value: T | typeof OUTDATED
  /** How many rows it has written. */
  readonly rows: number
}

/**
 * Makes write transactions in the thread that lmdb-js writes in, beside this one.
 *
 * lmdb-js would have each write of a transaction made in this thread, one call after the other, while nothing else goes on
 * here. Given to its thread as instructions, they are made while the next ones are built; what is read meanwhile has to
 * be read elsewhere, in a read transaction.
 */
export interface WriteThread {
  /**
   * Runs `build` under the write lock, for the transaction of a number, and commits what it puts into the batch. It is
   * written from the first on. If `build` throws or rejects, or LMDB fails, nothing of it is.
   *
   * One transaction of the environment at a time, of this kind or another: the caller sees to that. lmdb-js would let a second
   * one commit what the first has written so far.
   */
  transact<T>(build: BatchBuilder<T>): Promise<Written<T>>
}

/** Puts the writes of the transaction of a number into a batch. */
export type BatchBuilder<T> = (batch: Batch, number: number) => MaybePromise<T>

/**
 * The version of lmdb-js whose writing thread these instructions are for. It ends the process at one that it does not know,
 * and they are no part of what it promises from one version to the next.
 */
const KNOWN_VERSION = '3.5.6'

/** In the status of a transaction: this thread is called, as it has begun. Any other is the last one. */
const BEGUN = 2

/** Transactions that have not ended, with what ends them at once. */
const running = new Set<() => void>()

/**
 * Node.js waits for its threads before it exits, and the one that writes waits for instructions that do not come any more.
 * It would hold the write lock meanwhile.
 */
function onExit(): void {
  for (const end of running) end()
}

/** @param tables as the root has them. `undefined` where transactions have to be made in the other way. */
export function createWriteThread(
  lmdb: Lmdb,
  root: Root,
  path: string,
  tables: TableHandles,
): WriteThread | undefined {
  if (!isUsable(lmdb, root, tables)) return undefined
  const { env } = root
  const memory = new InstructionMemory(lmdb)
  const numbers = Object.fromEntries(
    Object.entries(tables).map(([table, { db }]) => [table, db.dbi]),
  ) as Record<keyof TableHandles, number>
  if (!process.listeners('exit').includes(onExit)) process.on('exit', onExit)

  /** From the end of this on the writing thread waits for instructions, and not for this thread. */
  function meet(): { readonly number: number; readonly isNewest: boolean } {
    try {
      return { number: env.getWriteTxnId(), isNewest: startsFromNewest(root) }
    } finally {
      env.resumeWriting()
    }
  }

  return {
    async transact<T>(build: BatchBuilder<T>): Promise<Written<T>> {
      // A process that exits in the turn that asks for this has begun nothing then, and what lmdb-js has to tell this thread
      // comes in the next turn.
      await nextTurn()
      const instructions = new Instructions(memory, env.address)
      let hasBegun = false
      let rows = 0
      /** What the builder has come to. */
      let built: { readonly value: Written<T>['value'] } | { readonly error: unknown } | undefined

      /** Shows writes to the thread as they come; with the first, notes the number of the transaction. */
      function batchOf(number: number): Batch {
        function count(): void {
          if (rows === 0) instructions.put(numbers.engine, COMMIT_KEY, Buffer.from(String(number)))
          rows += 1
        }
        return {
          put(table, key, value) {
            assertWrite(key, value)
            count()
            instructions.put(numbers[table], key, value)
          },
          delete(table, key) {
            assertWrite(key)
            count()
            instructions.remove(numbers[table], key)
          },
        }
      }

      function succeed(value: Written<T>['value']): void {
        built = instructions.end() ? { value } : { error: exiting(path) }
      }

      function fail(error: unknown): void {
        instructions.abandon()
        built = { error }
      }

      /** Must not throw: lmdb-js would end the process. */
      function begin(): void {
        try {
          const { number, isNewest } = meet()
          const value = isNewest ? build(batchOf(number), number) : OUTDATED
          const later = whenReady<Written<T>['value'], void>(value, succeed)
          if (later !== undefined) later.then(undefined, fail)
        } catch (error) {
          fail(error)
        }
      }

      function outcome(status: number): Written<T> {
        if (built !== undefined && 'error' in built) throw built.error
        if (status !== 0 || built === undefined) throw toEngineError(reasonOf(lmdb, status), 'write to', path)
        return { value: built.value, rows }
      }

      function stop(): void {
        if (hasBegun) instructions.abandon()
        else instructions.callOff()
      }

      return new Promise((resolve, reject) => {
        env.startWriting(instructions.start, status => {
          if (!hasBegun && status === BEGUN) {
            hasBegun = true
            begin()
            return true
          }
          // Only now: the thread has ended.
          instructions.release()
          running.delete(stop)
          try {
            resolve(outcome(status))
          } catch (error) {
            reject(error)
          }
          return false
        })
        running.add(stop)
      })
    },
  }
}

function isUsable({ nativeAddon }: Lmdb, { env }: Root, tables: TableHandles): boolean {
  return (
    // A worker thread can be ended at any point: the one that writes would wait for ever, with the write lock.
    isMainThread &&
    // The only systems on which this is tested. Others may reorder writes to memory.
    process.platform === 'linux' &&
    process.arch === 'x64' &&
    typeof nativeAddon.getBufferAddress === 'function' &&
    typeof nativeAddon.write === 'function' &&
    typeof nativeAddon.lmdbError === 'function' &&
    typeof env.startWriting === 'function' &&
    typeof env.resumeWriting === 'function' &&
    env.address > 0 &&
    Object.values(tables).every(({ db }) => db.dbi > 0) &&
    isKnownVersion()
  )
}

/** Whether the version is the known one; it stays what it was found to be. */
let isKnown: boolean | undefined

function isKnownVersion(): boolean {
  isKnown ??= readsKnownVersion()
  return isKnown
}

function readsKnownVersion(): boolean {
  try {
    const folder = dirname(createRequire(import.meta.url).resolve('lmdb'))
    const { version } = JSON.parse(readFileSync(join(folder, '../package.json'), 'utf8')) as Partial<
      Record<string, unknown>
    >
    return version === KNOWN_VERSION
  } catch {
    // It has been bundled, or is elsewhere.
    return false
  }
}

function reasonOf({ nativeAddon }: Lmdb, status: number): unknown {
  try {
    nativeAddon.lmdbError(status)
  } catch (error) {
    return error
  }
  return new Error(`LMDB has failed with the status ${status}`)
}

function exiting(path: string): EngineError {
  return new EngineError(`Cannot write to the store in ${JSON.stringify(path)}: the process exits.`)
}
