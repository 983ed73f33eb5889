import { describe, expect, it } from 'vitest'
import { LruStore } from '../../src/cache/lru-store.ts'
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

  it('refuses options of an entry, and events, that there are not', () => {
    const cache = new MemoryCache<number>()
    expect(() => cache.set('a', 1, { tll: 5 } as never)).toThrow('Did you mean "ttl"?')
    expect(() => cache.set('a', 1, 5_000 as never)).toThrow('must be an object, not 5000')
    expect(() => cache.on('evcit' as never, () => undefined)).toThrow("Did you mean 'evict'?")
  })

  it.each(['lru', 'tinylfu'] as const)('takes no room for entries that it only may hold (%s)', policy => {
    for (const maxEntries of [1e9, Number.MAX_SAFE_INTEGER]) {
      const cache = new MemoryCache<number>({ maxEntries, policy })
      cache.set('a', 1)
      expect(cache.get('a')).toBe(1)
      expect(cache.stats()).toMatchObject({ entries: 1, bytes: 0 })
    }
  })

  it.each([undefined, 100])(
    'lets the right ones go also where it is bounded to very many (%s bytes)',
    maxBytes => {
      const removed: string[] = []
      const store = new LruStore<number>(
        {
          maxEntries: 3,
          maxBytes,
          now: Date.now,
          onRemoved: ({ key, cause }) => removed.push(`${key}: ${cause}`),
        },
        2,
      )
      const bytes = maxBytes === undefined ? 0 : 10
      for (const key of ['a', 'b', 'c']) store.set(key, 1, bytes, undefined)
      store.get('a')
      store.set('b', 2, bytes, undefined)
      expect(removed).toEqual([])
      store.set('d', 1, bytes, undefined)
      expect(removed).toEqual(['c: entries'])
      expect([...store.keys()].sort()).toEqual(['a', 'b', 'd'])
      expect([store.size, store.bytes, store.info('a')?.bytes]).toEqual([3, 3 * bytes, bytes])
      if (maxBytes === undefined) return
      store.set('d', 1, 85, undefined)
      expect(removed).toEqual(['c: entries', 'a: bytes'])
    },
  )

  it('tells a listener as often as it was added', () => {
    const cache = new MemoryCache<number>({ maxEntries: 1 })
    let told = 0
    const listener = (): void => {
      told++
    }
    const [off] = [cache.on('evict', listener), cache.on('evict', listener)]
    for (const key of ['a', 'b']) cache.set(key, 1)
    expect(told).toBe(2)
    off()
    off()
    cache.set('c', 1)
    expect(told).toBe(3)
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

  it.each(['lru', 'lfu', 'fifo', 'ttl', 'tinylfu'] as const)(
    'measures a value again that is set again (%s)',
    policy => {
      const cache = new MemoryCache<string[]>({ maxBytes: 100, sizeOf: ({ length }) => length, policy })
      const growing = ['x']
      cache.set('growing', growing)
      cache.set(
        'other',
        Array.from({ length: 60 }, () => 'x'),
      )
      for (let i = 1; i < 50; i++) growing.push('x')
      cache.set('growing', growing)
      expect(cache.stats()).toMatchObject({ entries: 1, bytes: 50, evictions: { bytes: 1 } })
      expect(cache.get('growing')).toBe(growing)
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
    const many = new Set(Array.from({ length: 300_000 }, (_, i) => i))
    expect(bytesOf(many)).toBeGreaterThan(2_000_000)
    const cyclic: Record<string, unknown> = {}
    cyclic['self'] = cyclic
    expect(bytesOf(new Map([['a', new Set([cyclic])]]))).toBeLessThan(1_000)
  })
})
