import { describe, expect, it, onTestFinished } from 'vitest'
import { type MemoEntry, memoize } from '../../src/cache/memoize.ts'
import { MemoryCache } from '../../src/cache/memory-cache.ts'
import { PersistentCache } from '../../src/cache/persistent-cache.ts'
import { temporaryFolder } from '../support/stores.ts'

describe('memoize', () => {
  it('runs a function once for equal arguments', () => {
    const calls: unknown[] = []
    const join = memoize((...parts: unknown[]) => {
      calls.push(parts)
      return JSON.stringify(parts)
    })
    expect(join('a', { b: 1 })).toBe(join('a', { b: 1 }))
    expect(join('a', { b: 2 })).toBe('["a",{"b":2}]')
    expect(join(new Date(0))).not.toBe(join(new Date(1)))
    expect(join()).toBe('[]')
    expect(join(undefined)).toBe('[null]')
    expect(calls).toHaveLength(6)
    expect(() => join(() => 1)).toThrow('a function')
  })

  it('remembers undefined, and passes this on', () => {
    let runs = 0
    const object = {
      name: 'x',
      read: memoize(function (this: { name: string }, key: string) {
        runs++
        return key === 'name' ? this.name : undefined
      } as (key: string) => string | undefined),
    }
    expect([object.read('name'), object.read('no'), object.read('no')]).toEqual(['x', undefined, undefined])
    expect(runs).toBe(2)
  })

  it('lets overlapping calls share one run', async () => {
    let runs = 0
    const slow = memoize(async (n: number) => {
      runs++
      await new Promise(resolve => setImmediate(resolve))
      return { n }
    })
    const [a, b] = await Promise.all([slow(1), slow(1)])
    expect(a).toBe(b)
    expect(await slow(1)).toBe(a)
    expect(await slow(2)).toEqual({ n: 2 })
    expect(runs).toBe(2)
  })

  it.each([true, false])('keeps failures only if asked (%s)', async cacheFailures => {
    let runs = 0
    const fail = (): never => {
      runs++
      throw new Error(`failed in run ${runs}`)
    }
    const sync = memoize(fail, { cacheFailures })
    expect(() => sync()).toThrow('run 1')
    expect(() => sync()).toThrow(cacheFailures ? 'run 1' : 'run 2')
    runs = 0
    const later = memoize(async () => fail(), { cacheFailures })
    const both = await Promise.allSettled([later(), later()])
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(runs).toBe(1)
    await expect(later()).rejects.toThrow(cacheFailures ? 'run 1' : 'run 2')
  })

  it('runs again once the TTL has passed, and takes keys and caches of one', () => {
    let time = 1
    let runs = 0
    const cache = new MemoryCache<MemoEntry>({ now: () => time })
    const count = memoize((_user: { id: number }, _request: () => void) => ++runs, {
      ttl: 10,
      key: ({ id }) => `${id}`,
      cache,
    })
    const request = (): void => undefined
    return (async () => {
      expect(await count({ id: 1 }, request)).toBe(1)
      expect(await count({ id: 1 }, request)).toBe(1)
      time += 11
      expect(await count({ id: 1 }, request)).toBe(2)
      expect([...count.cache.keys()]).toEqual(['1'])
    })()
  })

  it('tells apart what is not the same', () => {
    let runs = 0
    const f = memoize((..._values: unknown[]) => ++runs)
    for (const value of [0, -0, Number.NaN, 1n, '1', null, undefined, [undefined], new Map(), new Set()])
      f(value)
    expect(runs).toBe(10)
    expect(f(Number.NaN)).toBe(3)
    expect(f(-0)).toBe(2)
  })

  it('runs nothing for a key that is none', () => {
    let runs = 0
    const f = memoize((_id: number) => ++runs, { key: ((id: number) => id) as never })
    expect(() => f(1)).toThrow('"key" must be a string, not 1')
    expect(runs).toBe(0)
  })

  it('may call itself, with other arguments', async () => {
    const fibonacci: (n: number) => number = memoize((n: number) =>
      n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2),
    )
    expect(fibonacci(70)).toBe(190_392_490_709_135)
    const later: (n: number) => Promise<number> = memoize(async (n: number) =>
      n < 2 ? n : (await later(n - 1)) + (await later(n - 2)),
    )
    expect(await later(50)).toBe(12_586_269_025)
  })

  it('takes a cache that cannot hold a result for what it is, and not for a failure of the function', async () => {
    const cache = new PersistentCache<MemoEntry>({ path: await temporaryFolder() })
    onTestFinished(() => cache.close())
    let runs = 0
    const f = memoize(
      (fails: boolean): unknown => {
        runs++
        if (fails) throw Object.assign(new Error('its own'), { reason: () => 1 })
        return () => 1
      },
      { cache, cacheFailures: true },
    )
    for (let i = 0; i < 2; i++) {
      await expect(f(false)).rejects.toThrow('a function')
      await expect(f(true)).rejects.toThrow('its own')
    }
    expect(runs).toBe(4)
    expect(await cache.size()).toBe(0)
  })

  it('remembers on disk', async () => {
    const path = await temporaryFolder()
    let runs = 0
    const square = (n: number): number => {
      runs++
      return n * n
    }
    const first = new PersistentCache<MemoEntry>({ path })
    const before = memoize(square, { cache: first })
    expect(await Promise.all([before(3), before(3)])).toEqual([9, 9])
    await first.close()
    const second = new PersistentCache<MemoEntry>({ path })
    onTestFinished(() => second.close())
    expect(await memoize(square, { cache: second })(3)).toBe(9)
    expect(runs).toBe(1)
  })

  it.each([
    [7, {}, 'takes a function'],
    [() => 1, { ttl: 0 }, '"ttl" must be'],
    [() => 1, { cache: {} }, '"cache" must be a cache'],
    [() => 1, { keys: 1 }, 'Did you mean "key"?'],
  ])('refuses %o with %o', (fn, options, message) => {
    expect(() => memoize(fn as never, options as never)).toThrow(message)
  })
})
