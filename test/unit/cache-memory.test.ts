import { describe, expect, it } from 'vitest'
import { MemoryCache, type MemoryCacheOptions } from '../../src/cache/memory-cache.ts'

describe('a memory cache', () => {
  it.each([
    [{ maxEntries: 0 }, '"maxEntries" must be a whole number, 1 or more, not 0'],
    [{ maxEntries: -5 }, 'not -5'],
    [{ maxBytes: Number.NaN }, '"maxBytes" must be a whole number, 1 or more, not NaN'],
    [{ ttl: 0 }, '"ttl" must be a finite number of milliseconds above 0, not 0'],
    [{ ttl: Number.NaN }, 'not NaN'],
    [{ ttl: Number.POSITIVE_INFINITY }, 'not Infinity'],
    [{ policy: 'lur' }, "Did you mean 'lru'?"],
    [{ maxEntrys: 4 }, 'Did you mean "maxEntries"?'],
    [{ sizeOf: 3 }, '"sizeOf" must be a function'],
  ])('refuses %o', (options, message) => {
    expect(() => new MemoryCache(options as MemoryCacheOptions)).toThrow(message)
  })

  it('refuses bad entries', () => {
    const cache = new MemoryCache<unknown>()
    expect(() => cache.set(1 as never, 1)).toThrow('"key" must be a string, not 1')
    expect(() => cache.set('a', undefined)).toThrow('cannot hold undefined')
    expect(() => cache.set('a', 1, { ttl: -1 })).toThrow('"ttl" must be')
    const bad = new MemoryCache({ maxBytes: 10, sizeOf: () => Number.NaN })
    expect(() => bad.set('a', 1)).toThrow('"sizeOf" gave NaN for the key "a"')
  })

  it.each(['lru', 'lfu', 'fifo', 'ttl', 'tinylfu'] as const)(
    'takes no entry larger than itself, and purges nothing for it (%s)',
    policy => {
      const cache = new MemoryCache<string>({ maxBytes: 100, sizeOf: value => value.length, policy })
      cache.set('a', 'x'.repeat(40))
      cache.set('b', 'x'.repeat(40))
      cache.set('a', 'x'.repeat(101))
      expect([...cache.keys()]).toEqual(['b'])
      expect(cache.stats()).toMatchObject({ rejected: 1, bytes: 40, evictions: { entries: 0, bytes: 0 } })
    },
  )

  it.each(['lru', 'tinylfu'] as const)('may be called by those it tells of an eviction (%s)', policy => {
    const cache = new MemoryCache<number>({ maxEntries: 2, policy })
    const evicted: string[] = []
    const off = cache.on('evict', ({ key }) => {
      evicted.push(key)
      if (evicted.length < 5) cache.set(`again ${key}`, 0)
    })
    for (let i = 0; i < 3; i++) cache.set(`${i}`, i)
    expect(evicted).toHaveLength(5)
    expect(cache.size()).toBe(2)
    off()
    cache.set('more', 1)
    expect(evicted).toHaveLength(5)
  })

  it('keeps a hot entry through a scan, with the policy tinylfu', () => {
    const hitsAfterScan = (policy: 'lru' | 'tinylfu'): number => {
      const cache = new MemoryCache<number>({ maxEntries: 100, policy })
      const hot = Array.from({ length: 50 }, (_, i) => `hot ${i}`)
      for (let round = 0; round < 5; round++) for (const key of hot) cache.get(key) ?? cache.set(key, 1)
      for (let i = 0; i < 300; i++) cache.get(`scan ${i}`) ?? cache.set(`scan ${i}`, 1)
      return hot.filter(key => cache.has(key)).length
    }
    expect(hitsAfterScan('tinylfu')).toBe(50)
    expect(hitsAfterScan('lru')).toBe(0)
  })

  it('estimates what values take', () => {
    const bytesOf = (value: unknown): number => {
      const cache = new MemoryCache({ maxBytes: 1e9 })
      cache.set('k', value)
      return cache.stats().bytes
    }
    expect(bytesOf(Buffer.alloc(100_000)) / 100_000).toBeCloseTo(1, 2)
    expect(bytesOf('x'.repeat(100_000)) / 100_000).toBeCloseTo(1, 2)
    expect(bytesOf({ list: Array.from({ length: 1_000 }, (_, i) => ({ i })) })).toBeGreaterThan(10_000)
    const cyclic: Record<string, unknown> = {}
    cyclic['self'] = cyclic
    expect(bytesOf(new Map([['a', new Set([cyclic])]]))).toBeLessThan(1_000)
  })
})
