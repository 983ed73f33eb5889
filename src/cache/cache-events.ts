import type { CacheEvents } from './cache.ts'

type Listeners<V> = { [E in keyof CacheEvents<V>]?: Set<(event: CacheEvents<V>[E]) => void> }

/** Who wants to be told what. */
export class CacheListeners<V> {
  readonly #listeners: Listeners<V> = {}

  add<E extends keyof CacheEvents<V>>(event: E, listener: (event: CacheEvents<V>[E]) => void): () => void {
    const listeners: Set<(event: CacheEvents<V>[E]) => void> = this.#listeners[event] ?? new Set()
    this.#listeners[event] = listeners as Listeners<V>[E]
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  emit<E extends keyof CacheEvents<V>>(event: E, details: CacheEvents<V>[E]): void {
    for (const listener of this.#listeners[event] ?? []) listener(details)
  }
}
