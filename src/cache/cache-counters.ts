import type { CacheStats, EvictionCause } from './cache.ts'

/** Counts what a cache does. */
export class CacheCounters {
  hits = 0
  misses = 0
  rejected = 0
  expired = 0
  readonly evicted: Record<EvictionCause, number> = { entries: 0, bytes: 0 }

  report(entries: number, bytes: number): CacheStats {
    const { hits, misses, rejected, expired, evicted } = this
    return {
      hits,
      misses,
      hitRatio: hits === 0 ? 0 : hits / (hits + misses),
      entries,
      bytes,
      evictions: { ...evicted, expired },
      rejected,
    }
  }
}
