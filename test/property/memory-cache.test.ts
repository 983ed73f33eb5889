import { deepStrictEqual as same } from 'node:assert/strict'
import fc from 'fast-check'
import { describe, it } from 'vitest'
import { type CachePolicy, MemoryCache } from '../../src/cache/memory-cache.ts'
import { CacheModel, callOf, fakeClock } from '../support/cache-model.ts'

const CALLS = 1_000
const RUNS = 100

const POLICIES: CachePolicy[] = ['lru', 'lfu', 'fifo', 'ttl', 'tinylfu']
const BOUNDS = fc.constantFrom(
  { maxEntries: 8 },
  { maxEntries: 1 },
  { maxEntries: 30 },
  { maxBytes: 100 },
  { maxBytes: 25 },
  { maxEntries: 10, maxBytes: 120 },
)
const CODES = fc.array(fc.noBias(fc.nat(2 ** 26)), { minLength: CALLS, maxLength: CALLS })

describe.each(POLICIES)(`a memory cache with the policy %s, in ${CALLS * RUNS} calls`, policy => {
  it('does what a map does that lets the right ones go', () => {
    fc.assert(
      fc.property(BOUNDS, fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined }), CODES, run(policy)),
      { numRuns: RUNS, endOnFailure: true },
    )
  })
})

function run(policy: CachePolicy) {
  return (
    bounds: { maxEntries?: number; maxBytes?: number },
    ttl: number | undefined,
    codes: readonly number[],
  ): void => {
    const clock = fakeClock()
    const model = new CacheModel(clock)
    const cache = new MemoryCache<string>({
      ...bounds,
      ...(ttl !== undefined && { ttl }),
      policy,
      sizeOf: value => value.length,
      now: clock.now,
    })
    const { maxEntries = Number.POSITIVE_INFINITY, maxBytes = Number.POSITIVE_INFINITY } = bounds
    const told: { key: string; cause: string }[] = []
    cache.on('evict', ({ key, cause }) => told.push({ key, cause }))
    const expired: string[] = []
    cache.on('expire', ({ key }) => expired.push(key))
    const count = { hits: 0, misses: 0, rejected: 0, evicted: 0 }

    for (const [i, code] of codes.entries()) {
      const step = callOf(code)
      told.length = 0
      expired.length = 0
      if (step.call === 'wait') clock.time += step.milliseconds
      else if (step.call === 'get') {
        const wasExpired = model.entries.has(step.key) && !model.isLive(step.key)
        const value = model.get(step.key)
        same(cache.get(step.key), value)
        same(expired, wasExpired ? [step.key] : [])
        if (value === undefined) count.misses++
        else count.hits++
      } else if (step.call === 'has') same(cache.has(step.key), model.isLive(step.key))
      else if (step.call === 'delete') {
        same(cache.delete(step.key), model.isLive(step.key))
        model.entries.delete(step.key)
      } else if (step.call === 'metadata') {
        const { bytes, expiresAt } = model.entries.get(step.key) ?? {}
        same(
          cache.metadata(step.key),
          model.isLive(step.key)
            ? {
                tier: 'memory',
                bytes: bounds.maxBytes === undefined ? 0 : bytes,
                ...(expiresAt !== Number.POSITIVE_INFINITY && { expiresAt }),
              }
            : undefined,
        )
      } else if (step.call === 'clear') {
        cache.clear()
        model.entries.clear()
      } else if (step.call === 'purge') {
        cache.purgeExpired()
        const gone = [...model.entries.keys()].filter(key => !model.isLive(key))
        same(expired.sort(), gone.sort())
        model.purge()
      } else if (step.call === 'keys') {
        const live = [...model.entries.keys()].filter(key => model.isLive(key))
        same([...cache.keys()].sort(), live.sort())
      } else {
        const value = `${i}`.padEnd(step.size, '.')
        const bytes = Math.max(1, value.length)
        cache.set(step.key, value, step.ttl === undefined ? {} : { ttl: step.ttl })
        if (bytes > maxBytes) {
          model.entries.delete(step.key)
          count.rejected++
        } else {
          model.set(step.key, value, bytes, step.ttl ?? ttl)
          for (const { key, cause } of told) {
            const crowded = model.entries.size > maxEntries
            same(crowded || model.bytes > maxBytes, true)
            same(cause, crowded ? 'entries' : 'bytes')
            // Whom `tinylfu` lets go is its own affair, as long as it is an entry.
            if (policy === 'tinylfu') same(key !== step.key && model.entries.has(key), true)
            else same(key, model.victim(policy, step.key))
            model.entries.delete(key)
            count.evicted++
          }
          same(model.entries.size <= maxEntries, true)
          same(model.bytes <= maxBytes, true)
        }
      }
      same(cache.size(), model.entries.size)
    }

    const { hits, misses, rejected, bytes, entries, evictions } = cache.stats()
    same({ hits, misses, rejected, evicted: evictions.entries + evictions.bytes }, count)
    same(entries, model.entries.size)
    same(bytes, bounds.maxBytes === undefined ? 0 : model.bytes)
    for (const key of [...model.entries.keys()]) same(cache.get(key), model.get(key))
  }
}
