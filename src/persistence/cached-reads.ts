import type { CacheStats } from '../cache/cache.ts'
import type { History } from '../history/history.ts'
import { type CurrentReads, directReads } from '../snapshot/state-reader.ts'

/** How fresh what a cache answers has to be. */
export type CacheMode = 'strong' | 'bounded'

/** What the read cache did. */
export interface CacheMetrics extends CacheStats {
  /** The kind of cache that was asked for; `custom` for a cache that was passed in. */
  readonly kind: string
  /** Which promise reads through it are held to. */
  readonly mode: CacheMode
}

/** Reads of the current state through a cache, or none. */
export interface CachedReads extends CurrentReads {
  metrics(): CacheMetrics
  /** Lets go of the cache. */
  close(): Promise<void>
}

/** Reads without a cache. */
export function uncachedReads(history: History): CachedReads {
  return {
    ...directReads(history),
    metrics: () => ({
      kind: 'none',
      mode: 'strong',
      hits: 0,
      misses: 0,
      hitRatio: 0,
      entries: 0,
      bytes: 0,
      evictions: { entries: 0, bytes: 0, expired: 0 },
      rejected: 0,
    }),
    async close() {},
  }
}
