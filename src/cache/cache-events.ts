import { oneOf } from '../core/options.ts'
import type { CacheEvents } from './cache.ts'

const EVENTS = ['evict', 'expire', 'error'] as const

type Listeners<V> = { [E in keyof CacheEvents<V>]: Set<{ tell(event: CacheEvents<V>[E]): void }> }

/** Who wants to be told what. */
export class CacheListeners<V> {
  readonly #listeners: Listeners<V> = { evict: new Set(), expire: new Set(), error: new Set() }

  /** @throws {InvalidArgumentError} for an event that there is not. */
  add<E extends keyof CacheEvents<V>>(event: E, listener: (event: CacheEvents<V>[E]) => void): () => void {
    oneOf(EVENTS)(event, 'event')
    const listeners = this.#listeners[event]
    // Of its own, so that a listener that was added twice is told twice, and each way to end that ends one.
    const added = { tell: listener }
    listeners.add(added)
    return () => {
      listeners.delete(added)
    }
  }

  /** What a listener throws is an uncaught exception: it is not the fault of the call that the event comes of. */
  emit<E extends keyof CacheEvents<V>>(event: E, details: CacheEvents<V>[E]): void {
    for (const { tell } of this.#listeners[event]) {
      try {
        tell(details)
      } catch (error) {
        process.nextTick(() => {
          throw error
        })
      }
    }
  }
}
