import type { ByteMeter } from '../core/byte-meter.ts'
import { KeyBatch } from '../core/key-batch.ts'
import { isPromiseLike, type MaybePromise } from '../core/maybe-promise.ts'
import { invalidOption } from '../core/options.ts'
import { readAgainIfLost } from '../engine/view-lost.ts'
import type { History, Moment } from '../history/history.ts'
import { type Conversion, convertMany, type KeyedRecord, type ManyConversion } from '../history/reader.ts'
import { decodePayload, type Payload, payloadLength } from '../history/record.ts'
import { ValueBatch } from '../history/value-batch.ts'
import type { Range } from './key-range.ts'
import { orderedItems } from './ordered-records.ts'

/** The keys of a state type, as strings. */
export type KeyOf<S> = keyof S & string

/** The values of some keys, in their order: for a tuple of keys a tuple. */
export type ValuesOf<S, K extends readonly KeyOf<S>[]> = { -readonly [I in keyof K]: S[K[I]] | undefined }

/** Everything that can be read of a state, current or past. */
export interface ReadableState<S = Record<string, unknown>> {
  /**
   * The value of a key, or `fallback` (`undefined` by default) where there is none.
   *
   * Like all calls here it rejects with an `InvalidKeyError` for what cannot be a key, and for a snapshot that is gone
   * with a `SnapshotNotFoundError`.
   */
  get<K extends KeyOf<S>>(key: K): Promise<S[K] | undefined>
  get<K extends KeyOf<S>, F>(key: K, fallback: F): Promise<S[K] | F>
  /** The values of keys, in their order; `undefined` where there is none. All of one moment. */
  getMany<const K extends readonly KeyOf<S>[]>(keys: K): Promise<ValuesOf<S, K>>
  /** Whether the key has a value. */
  has(key: KeyOf<S>): Promise<boolean>
  /** The keys of a range, in key order. */
  keys(range?: Range): AsyncIterableIterator<KeyOf<S>>
  /** The values of a range, in the order of their keys. */
  values(range?: Range): AsyncIterableIterator<S[KeyOf<S>]>
  /** Keys and values of a range, in key order. */
  entries(range?: Range): AsyncIterableIterator<[KeyOf<S>, S[KeyOf<S>]]>
  /** How many keys there are. */
  size(): Promise<number>
  /** The whole state as a plain object. */
  load(): Promise<S>
}

/** How single keys of the current state are read: straight from the store, or through a cache. */
export interface CurrentReads {
  /**
   * What a key holds. If it is there at once, its value is to be decoded before anything else is read.
   *
   * @throws {InvalidKeyError}
   */
  get(key: string): MaybePromise<Payload | undefined>
  /** What becomes of what keys hold, all at one moment. */
  getMany<T>(
    keys: readonly string[],
    bytes: readonly Uint8Array[],
    conversion: () => ManyConversion<T>,
  ): Promise<T[]>
  /** The value of what a key holds. */
  decode(key: string, payload: Payload): unknown
}

/** Reads straight from the store. @internal */
export function directReads(history: History): CurrentReads {
  return {
    get: key => history.peek(key),
    getMany: (_keys, bytes, conversion) => history.convertedMany(bytes, conversion),
    decode: (_key, payload) => decodePayload(payload),
  }
}

/**
 * Reads the state as it is, or as it was at a snapshot.
 *
 * @internal
 */
export class StateReader<S = Record<string, unknown>> implements ReadableState<S> {
  readonly #history: History
  readonly #moment: () => Moment
  readonly #current: CurrentReads

  /** `moment` is asked at each call, so that a malformed version is refused by the call and not by making a reader. */
  constructor(history: History, moment: () => Moment, current = directReads(history)) {
    this.#history = history
    this.#moment = moment
    this.#current = current
  }

  async get<K extends KeyOf<S>, F>(key: K, fallback?: F): Promise<S[K] | F | undefined> {
    return this.read(key, fallback)
  }

  /** The same, at once where the engine answers at once. It throws what `get` rejects with. */
  read<K extends KeyOf<S>, F>(key: K, fallback?: F, meter?: ByteMeter): MaybePromise<S[K] | F | undefined> {
    const moment = this.#moment()
    const current = moment === 'head'
    const found = this.#find(moment, key)
    if (isPromiseLike(found))
      return found.then(payload => this.#valueOf(key, payload, fallback, current, meter))
    return this.#valueOf(key, found, fallback, current, meter)
  }

  #find(moment: Moment, key: KeyOf<S>): MaybePromise<Payload | undefined> {
    return moment === 'head'
      ? this.#current.get(key)
      : this.#history.getAt(moment, this.#history.keys.encode(key))
  }

  #valueOf<K extends KeyOf<S>, F>(
    key: K,
    payload: Payload | undefined,
    fallback: F,
    current: boolean,
    meter: ByteMeter | undefined,
  ): S[K] | F {
    if (payload === undefined) return fallback
    if (meter !== undefined) meter.bytes += payloadLength(payload)
    return (current ? this.#current.decode(key, payload) : decodePayload(payload)) as S[K]
  }

  async getMany<const K extends readonly KeyOf<S>[]>(keys: K, meter?: ByteMeter): Promise<ValuesOf<S, K>> {
    if (!Array.isArray(keys)) throw invalidOption('keys', 'an array of keys', keys)
    const names: readonly string[] = [...keys]
    const bytes = names.map(name => this.#history.keys.encode(name))
    const moment = this.#moment()
    if (moment === 'head') {
      const decode = (payload: Payload, i: number): unknown =>
        this.#current.decode(names[i] as string, payload)
      return this.#current.getMany(names, bytes, () => decoding(decode, meter)) as Promise<ValuesOf<S, K>>
    }
    const records = await this.#history.getManyAt(moment, bytes)
    return convertMany(records, decoding(decodePayload, meter)) as ValuesOf<S, K>
  }

  async has(key: KeyOf<S>): Promise<boolean> {
    return (await this.#find(this.#moment(), key)) !== undefined
  }

  keys(range?: Range): AsyncIterableIterator<KeyOf<S>> {
    return this.#iterate(range, () => {
      const names = new KeyBatch(this.#history.keys)
      return { add: key => names.add(key), take: () => names.take() as KeyOf<S>[] }
    })
  }

  values(range?: Range): AsyncIterableIterator<S[KeyOf<S>]> {
    return this.#iterate(range, () => {
      const values = new ValueBatch()
      return { add: (_key, record) => values.add(record), take: () => values.take() as S[KeyOf<S>][] }
    })
  }

  entries(range?: Range): AsyncIterableIterator<[KeyOf<S>, S[KeyOf<S>]]> {
    return this.#iterate(range, () => {
      const names = new KeyBatch(this.#history.keys)
      const values = new ValueBatch()
      return {
        add: (key, record) => {
          names.add(key)
          values.add(record)
        },
        take: () => pairsOf(names.take() as KeyOf<S>[], values.take() as S[KeyOf<S>][]),
      }
    })
  }

  #nameOf(key: Uint8Array): KeyOf<S> {
    return this.#history.keys.decode(key) as KeyOf<S>
  }

  #iterate<T>(range: Range | undefined, conversion: () => Conversion<T>): AsyncIterableIterator<T> {
    return flatten(orderedItems(this.#history, this.#moment(), range, conversion))
  }

  async size(): Promise<number> {
    const moment = this.#moment()
    if (moment === 'head') return (await this.#history.head()).size
    let size = 0
    for await (const page of this.#history.records(moment, {})) size += page.length
    return size
  }

  load(meter?: ByteMeter): Promise<S> {
    return readAgainIfLost(() => this.#load(meter))
  }

  async #load(meter: ByteMeter | undefined): Promise<S> {
    const state: Record<string, unknown> = {}
    for await (const page of this.#history.records(this.#moment(), {}, { consistent: true })) {
      const records = page.map(({ record }) => record)
      const values = convertMany(records, decoding(decodePayload, meter))
      for (let i = 0; i < page.length; i++)
        setOwn(state, this.#nameOf((page[i] as KeyedRecord).key), values[i])
    }
    return state as S
  }
}

/** Decodes what keys hold. `decode` is for what is decoded by itself. */
function decoding(
  decode: (payload: Payload, index: number) => unknown,
  meter: ByteMeter | undefined,
): ManyConversion<unknown> {
  const values = new ValueBatch()
  let bytes = 0
  return {
    add(payload, i) {
      if (payload !== undefined) bytes += payloadLength(payload)
      if (payload === undefined || !values.addText(payload)) values.addValue(payload && decode(payload, i))
    },
    take() {
      if (meter !== undefined) meter.bytes += bytes
      return values.take()
    },
  }
}

function pairsOf<K, V>(keys: readonly K[], values: readonly V[]): [K, V][] {
  const pairs: [K, V][] = []
  for (let i = 0; i < keys.length; i++) pairs.push([keys[i] as K, values[i] as V])
  return pairs
}

/** Sets a property also where its name is `__proto__`, which an assignment would take for the prototype. */
function setOwn(target: Record<string, unknown>, name: string, value: unknown): void {
  if (name !== '__proto__') target[name] = value
  else Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true })
}

/**
 * Iterates over the items of pages one by one.
 *
 * Written out rather than as a generator: within a page every step is a promise that is already resolved, and a
 * generator would take three turns of the microtask queue for it.
 */
function flatten<T>(pages: AsyncGenerator<readonly T[], void, undefined>): AsyncIterableIterator<T> {
  let page: readonly T[] = []
  let position = 0
  let last: Promise<unknown> = Promise.resolve()
  const nextPage = async (): Promise<IteratorResult<T, undefined>> => {
    if (position < page.length) return { done: false, value: page[position++] as T }
    const result = await pages.next()
    if (result.done === true) return { done: true, value: undefined }
    page = result.value
    position = 1
    return { done: false, value: page[0] as T }
  }
  let waiting = 0
  const answered = (): void => {
    waiting--
  }
  return {
    next() {
      if (waiting === 0 && position < page.length)
        return Promise.resolve({ done: false, value: page[position++] as T })
      // Calls that overlap are answered in order.
      const result = waiting++ === 0 ? nextPage() : last.then(nextPage, nextPage)
      last = result.then(answered, answered)
      return result
    },
    async return() {
      page = []
      await pages.return()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
