import type { Cache, CacheEvents, CacheStats, EntryMetadata } from '../../src/cache/cache.ts'
import type { MaybePromise } from '../../src/core/maybe-promise.ts'

/** Numbers from 0 to 99, the same for the same seed. */
function dice(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * 100)
  }
}

/**
 * A cache that does what a cache must not: it fails, forgets what was set, and brings back what was set before, or by
 * somebody else. The one thing that it never does is to change a value.
 */
export class FaultyCache implements Cache {
  /** All that was ever set. */
  readonly #held: Map<string, unknown[]>
  readonly #roll: () => number

  /** @param held What others have put there, and get from there. */
  constructor(seed: number, held = new Map<string, unknown[]>()) {
    this.#held = held
    this.#roll = dice(seed)
  }

  get(key: string): MaybePromise<unknown> {
    const values = this.#held.get(key) ?? []
    const luck = this.#roll()
    const value = luck < 60 ? values.at(-1) : values[Math.floor((this.#roll() / 100) * values.length)]
    if (luck < 85) return this.#roll() < 50 ? value : Promise.resolve(value)
    if (luck < 88) throw new Error('this cache fails')
    if (luck < 91) return Promise.reject(new Error('this cache fails later'))
    if (luck < 94) return Buffer.from('garbage that is not an entry')
    if (luck < 97) return new Promise(resolve => setImmediate(resolve, value))
    return undefined
  }

  set(key: string, value: unknown): MaybePromise<void> {
    const luck = this.#roll()
    if (luck < 5) throw new Error('this cache fails')
    if (luck < 10) return Promise.reject(new Error('this cache fails later'))
    if (luck < 15) return
    const values = this.#held.get(key) ?? []
    values.push(value)
    this.#held.set(key, values)
  }

  has(): boolean {
    throw new Error('this cache fails')
  }

  delete(): boolean {
    throw new Error('this cache fails')
  }

  clear(): void {
    throw new Error('this cache fails')
  }

  keys(): Iterable<string> {
    return this.#held.keys()
  }

  size(): number {
    return this.#held.size
  }

  metadata(): EntryMetadata | undefined {
    return undefined
  }

  stats(): CacheStats {
    const evictions = { entries: 0, bytes: 0, expired: 0 }
    return { hits: 0, misses: 0, hitRatio: 0, entries: 0, bytes: 0, evictions, rejected: 0 }
  }

  on<E extends keyof CacheEvents<unknown>>(_event: E): () => void {
    return () => undefined
  }

  async close(): Promise<void> {
    throw new Error('this cache fails')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
