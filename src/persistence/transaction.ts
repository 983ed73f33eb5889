import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { bytesEqual, toByteString } from '../core/bytes.ts'
import { ConflictError, PersistenceError } from '../core/errors.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { View } from '../engine/engine.ts'
import { isViewLost } from '../engine/view-lost.ts'
import type { Committed } from '../history/committer.ts'
import type { Draft } from '../history/draft.ts'
import type { History } from '../history/history.ts'
import { readAt } from '../history/reader.ts'
import { decodePayload, encodeRecord, type Payload } from '../history/record.ts'
import type { KeyOf } from '../snapshot/state-reader.ts'

/** What the function given to `transaction()` reads and writes. */
export interface Transaction<S = Record<string, unknown>> {
  /** What the key holds, with what this transaction did so far. All reads are of one moment. */
  get<K extends KeyOf<S>>(key: K): Promise<S[K] | undefined>
  get<K extends KeyOf<S>, F>(key: K, fallback: F): Promise<S[K] | F>
  /** Whether the key has a value, with what this transaction did so far. */
  has(key: KeyOf<S>): Promise<boolean>
  /** Notes a write, to be made when the function has returned. @throws {InvalidKeyError | UnserializableValueError} */
  set<K extends KeyOf<S>>(key: K, value: S[K]): void
  /** Notes a removal, at once. Resolves to whether there was something to delete. */
  delete(key: KeyOf<S>): Promise<boolean>
}

/** So many runs that each lost against another writer are enough. */
const MAX_ATTEMPTS = 100
/** The longest pause before another run, in milliseconds. */
const MAX_PAUSE = 50

/** Thrown inside a commit to say that what the transaction read has changed. */
const CONFLICT = Symbol('conflict')

/** Active until the transaction's function has ended: what that started may run on, and is then outside. */
const inTransaction = new AsyncLocalStorage<{ active: boolean }>()

/**
 * Runs transactions: optimistically, then in line.
 *
 * The function runs on a view of its own, and what it read is compared under the write exclusion when it commits: if
 * any of it has changed, it runs again. Runs after the first go one at a time, so that many transactions of one
 * process on the same keys do not keep beating each other; those of other processes are met with growing pauses.
 */
export class Transactions {
  readonly #history: History
  readonly #encode: (value: unknown) => Payload
  #line: Promise<unknown> = Promise.resolve()

  constructor(history: History, encode: (value: unknown) => Payload) {
    this.#history = history
    this.#encode = encode
  }

  /** Whether the code that runs now is inside a transaction's function. */
  get inside(): boolean {
    return inTransaction.getStore()?.active === true
  }

  async run<S, T>(body: (transaction: Transaction<S>) => T | PromiseLike<T>): Promise<T> {
    const first = await this.#attempt(body)
    if (first !== CONFLICT) return first.value
    // A transaction inside another one must not wait in line behind it.
    if (this.inside) return this.#retry(body)
    const turn = this.#line.then(() => this.#retry(body))
    this.#line = turn.catch(() => undefined)
    return turn
  }

  async #retry<S, T>(body: (transaction: Transaction<S>) => T | PromiseLike<T>): Promise<T> {
    for (let attempt = 1; attempt < MAX_ATTEMPTS; attempt++) {
      const outcome = await this.#attempt(body)
      if (outcome !== CONFLICT) return outcome.value
      await delay(Math.random() * Math.min(2 ** attempt, MAX_PAUSE))
    }
    throw new ConflictError(
      `The transaction ran ${MAX_ATTEMPTS} times, and each time other writers changed what it had read. Read fewer keys, or make it shorter.`,
    )
  }

  async #attempt<S, T>(
    body: (transaction: Transaction<S>) => T | PromiseLike<T>,
  ): Promise<Committed<T> | typeof CONFLICT> {
    const run = new TransactionRun<S>(this.#history, this.#encode)
    const scope = { active: true }
    let value: T
    try {
      value = await inTransaction.run(scope, async () => body(run.transaction))
    } catch (error) {
      // Nothing was written yet, and the next run reads in a view of its own.
      if (isViewLost(error)) return CONFLICT
      throw error
    } finally {
      await run.end()
    }
    try {
      const { operationId } = await this.#history.mutate({ keys: run.keys, apply: draft => run.apply(draft) })
      return { operationId, value }
    } catch (error) {
      if (error === CONFLICT) return CONFLICT
      throw error
    }
  }
}

interface ReadRecord {
  readonly key: Uint8Array
  /** The record as it is stored, or what it would be; `undefined` for an absent key. */
  readonly stored: Uint8Array | undefined
  readonly payload: Payload | undefined
}

/** One run of a transaction's function. */
class TransactionRun<S> {
  readonly transaction: Transaction<S>
  readonly #history: History
  readonly #encode: (value: unknown) => Payload
  readonly #reads = new Map<string, Promise<ReadRecord>>()
  readonly #settled = new Map<string, ReadRecord>()
  readonly #writes = new Map<string, { readonly key: Uint8Array; readonly payload: Payload | undefined }>()
  #view: View | undefined
  #epoch: MaybePromise<number> | undefined
  #ended = false

  constructor(history: History, encode: (value: unknown) => Payload) {
    this.#history = history
    this.#encode = encode
    this.transaction = {
      get: async (key: string, fallback?: unknown) => {
        const payload = await this.#read(key)
        return payload === undefined ? fallback : decodePayload(payload)
      },
      has: async key => (await this.#read(key)) !== undefined,
      set: (key, value) => {
        this.#assertOpen()
        this.#write(this.#history.keys.encode(key), this.#encode(value))
      },
      delete: async key => {
        this.#assertOpen()
        const bytes = this.#history.keys.encode(key)
        const reading = this.#read(key)
        // At once, so that it counts also if nobody waits for the answer.
        this.#write(bytes, undefined)
        return (await reading) !== undefined
      },
    } as Transaction<S>
  }

  /** Every key it read or wrote. */
  get keys(): Uint8Array[] {
    const keys = new Map<string, Uint8Array>()
    for (const [name, { key }] of this.#settled) keys.set(name, key)
    for (const [name, { key }] of this.#writes) keys.set(name, key)
    return [...keys.values()]
  }

  /** Makes its writes, if everything it read is still so. */
  apply(draft: Draft): void {
    for (const { key, stored } of this.#settled.values()) {
      const now = draft.record(key)
      if (now === undefined || stored === undefined ? now !== stored : !bytesEqual(now, stored))
        throw CONFLICT
    }
    for (const { key, payload } of this.#writes.values()) {
      if (payload === undefined) draft.delete(key)
      else draft.set(key, payload)
    }
  }

  /** Ends the run, once the reads that nobody waited for are done. A call that comes later is a mistake. */
  async end(): Promise<void> {
    this.#ended = true
    if (this.#settled.size < this.#reads.size) await Promise.allSettled(this.#reads.values())
    this.#view?.close()
  }

  #write(key: Uint8Array, payload: Payload | undefined): void {
    this.#writes.set(toByteString(key), { key, payload })
  }

  #assertOpen(): void {
    if (!this.#ended) return
    throw new PersistenceError(
      'TRANSACTION_ENDED',
      'A transaction was used after its function had returned. Await every call inside the function.',
    )
  }

  async #read(key: string): Promise<Payload | undefined> {
    this.#assertOpen()
    const bytes = this.#history.keys.encode(key)
    const name = toByteString(bytes)
    const write = this.#writes.get(name)
    if (write !== undefined) return write.payload
    let read = this.#reads.get(name)
    if (read === undefined) {
      read = this.#fetch(bytes).then(record => {
        this.#settled.set(name, record)
        return record
      })
      this.#reads.set(name, read)
    }
    return (await read).payload
  }

  async #fetch(key: Uint8Array): Promise<ReadRecord> {
    this.#view ??= this.#history.engine.read()
    const view = this.#view
    this.#epoch ??= this.#history.epochIn(view, 'head')
    const record = await readAt(view, key, this.#epoch)
    const stored = record && encodeRecord(key, record.birth, record)
    return { key, stored, payload: record }
  }
}
