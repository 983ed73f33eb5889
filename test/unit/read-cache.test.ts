import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { MemoryCache } from '../../src/cache/memory-cache.ts'
import { PersistentCache } from '../../src/cache/persistent-cache.ts'
import type { Engine } from '../../src/engine/engine.ts'
import { createPersistence, memory, type Persistence, type PersistenceOptions } from '../../src/index.ts'
import { remoteEngine, type Traffic } from '../support/remote-engine.ts'
import { newPlace, openNew, temporaryFolder } from '../support/stores.ts'

async function open(options: PersistenceOptions): Promise<Persistence> {
  const store = await createPersistence(options)
  onTestFinished(() => store.close())
  return store
}

/** Data that several hosts share. */
async function sharedEngine(): Promise<Engine> {
  const engine = memory()
  await engine.open()
  onTestFinished(() => engine.close())
  return engine
}

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

describe('a store behind a cache', () => {
  it('asks for a few bytes in strong mode, and for nothing in bounded mode', async () => {
    const engine = await sharedEngine()
    for (const cacheMode of ['strong', 'bounded'] as const) {
      const traffic: Traffic = { reads: 0, bytes: 0 }
      const store = await open({ engine: remoteEngine(engine, turn, traffic), cacheMode, compression: false })
      await store.set('a', 'x'.repeat(100_000))
      await store.get('a')
      await store.get('a')
      traffic.reads = 0
      traffic.bytes = 0
      await Promise.all(Array.from({ length: 50 }, () => store.get('a')))
      if (cacheMode === 'strong') expect(traffic).toEqual({ reads: 1, bytes: 68 })
      const { kind, mode, hits, misses } = (await store.getMetrics()).cache
      expect({ kind, mode, hits, misses }).toEqual({ kind: 'memory', mode: cacheMode, hits: 51, misses: 1 })
    }
  })

  it('counts absent keys, and reads many keys as of one moment', async () => {
    const store = await open({ engine: remoteEngine(await sharedEngine()) })
    await store.setMany({ a: 1, b: 2 })
    expect(await store.has('c')).toBe(false)
    expect(await store.getMany(['a', 'c', 'b', 'a'])).toEqual([1, undefined, 2, 1])
    expect(await store.getMany(['b', 'c'])).toEqual([2, undefined])
    expect((await store.getMetrics()).cache).toMatchObject({ hits: 3, misses: 4 })
  })

  it.each(['set', 'delete', 'save', 'transaction'] as const)(
    'has seen what another host wrote where %s changes nothing, in bounded mode',
    async call => {
      const engine = await sharedEngine()
      const [other, store] = [
        await open({ engine: remoteEngine(engine), cache: 'none' }),
        await open({ engine: remoteEngine(engine), cacheMode: 'bounded' }),
      ]
      const isDelete = call === 'delete'
      await other.set('before', 1)
      if (isDelete) await other.set('a', 'there')
      await store.get('a')
      if (isDelete) await other.delete('a')
      else await other.set('a', 'there')
      if (call === 'set') await store.set('a', 'there')
      if (call === 'delete') expect(await store.delete('a')).toBe(false)
      if (call === 'save') await store.save({ a: 'there', before: 1 })
      if (call === 'transaction') await store.transaction(t => t.set('a', 'there'))
      expect(await store.get('a')).toBe(isDelete ? undefined : 'there')
    },
  )

  it('never goes backwards in bounded mode, and sees others soon', async () => {
    const engine = await sharedEngine()
    const [writer, reader] = [
      await open({ engine: remoteEngine(engine), cache: 'none' }),
      await open({ engine: remoteEngine(engine), cacheMode: 'bounded' }),
    ]
    await writer.setMany({ first: 0, second: 0 })
    let writing = true
    const writes = (async () => {
      for (let i = 1; i <= 300; i++) await writer.setMany({ first: i, second: i })
      writing = false
    })()
    let newest = 0
    while (writing) {
      for (const read of [
        async () => (await reader.get('first')) as number,
        async () => (await reader.get('second')) as number,
        async () => ((await reader.load()) as { first: number }).first,
        async () => {
          const [first, second] = (await reader.getMany(['first', 'second'])) as [number, number]
          expect(first).toBe(second)
          return first
        },
      ]) {
        const found = await read()
        expect(found).toBeGreaterThanOrEqual(newest)
        newest = found
      }
    }
    await writes
    while ((await reader.get('first')) !== 300) await delay(5)
    await reader.set('first', 'own')
    expect(await reader.get('first')).toBe('own')
  })

  it('answers nothing from the cache in bounded mode once the engine is gone', async () => {
    let gone = false
    const engine = remoteEngine(await sharedEngine(), async () => {
      await turn()
      if (gone) throw new Error('the network is gone')
    })
    const store = await open({ engine, cacheMode: 'bounded' })
    await store.set('a', 1)
    await store.get('a')
    await store.get('a')
    gone = true
    let failure: unknown
    while (failure === undefined) {
      await delay(5)
      await store.get('a').catch(error => {
        failure = error
      })
    }
    expect(String(failure)).toContain('the network is gone')
    gone = false
    expect(await store.get('a')).toBe(1)
  })

  it('goes on with a cache on disk after a restart, or a kill', async () => {
    const engine = await sharedEngine()
    const path = await temporaryFolder()
    for (const kind of ['persistent', 'tiered'] as const) {
      const options = { cache: kind, cachePath: join(path, kind) } as const
      const first = await open({ engine: remoteEngine(engine), ...options })
      await first.setMany(Array.from({ length: 20 }, (_, i) => [`key ${i}`, i] as const))
      for (let i = 0; i < 20; i++) await first.get(`key ${i}`)
      // Killed, as far as the folder can tell, if the cache is all on disk.
      if (kind === 'tiered') await first.close()
      else while ((await first.getMetrics()).cache.bytes < 1_000) await delay(5)
      const other = await open({ engine: remoteEngine(engine), cache: 'none' })
      await other.set('key 3', 'changed')
      await other.delete('key 4')
      const again = await open({ engine: remoteEngine(engine), ...options })
      for (let i = 0; i < 20; i++) {
        expect(await again.get(`key ${i}`)).toBe(i === 3 ? 'changed' : i === 4 ? undefined : i)
      }
      expect((await again.getMetrics()).cache).toMatchObject({ hits: 18, misses: 2 })
    }
  })

  it('takes nothing that another store, or another past of it, has left in the cache', async () => {
    const path = join(await temporaryFolder(), 'cache')
    for (const value of ['one', 'another']) {
      const engine = await sharedEngine()
      const store = await open({ engine: remoteEngine(engine), cache: 'persistent', cachePath: path })
      await store.set('a', value)
      expect(await store.get('a')).toBe(value)
      expect(await store.get('a')).toBe(value)
      await store.close()
    }
  })

  it('goes on without a cache that cannot be used, and says so once', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'file'), '')
    const warnings: string[] = []
    const silent = (): void => undefined
    const logger = {
      debug: silent,
      info: silent,
      error: silent,
      warn: (_: object, message: string) => warnings.push(message),
    }
    const broken = new MemoryCache()
    broken.get = () => {
      throw new Error('out of order')
    }
    for (const cache of [new PersistentCache({ path: join(folder, 'file', 'cache') }), broken]) {
      warnings.length = 0
      const store = await open({ engine: remoteEngine(await sharedEngine()), cache, logger })
      await store.set('a', 1)
      for (let i = 0; i < 5; i++) expect(await store.get('a')).toBe(1)
      expect(warnings).toEqual([expect.stringContaining('the store goes on without it')])
      const { kind, failure, hits } = (await store.getMetrics()).cache
      expect({ kind, hits }).toEqual({ kind: 'custom', hits: 0 })
      expect(failure).toMatch(/cannot be opened|out of order/)
    }
  })

  it('hands out values of the caller’s own', async () => {
    for (const engine of [memory(), remoteEngine(memory())]) {
      const store = await open({ engine })
      const value = { list: Array.from({ length: 500 }, (_, i) => ({ i })) }
      await store.set('a', value)
      for (let i = 0; i < 3; i++) {
        const found = (await store.get('a')) as typeof value
        expect(found).toEqual(value)
        found.list.length = 0
      }
      expect((await store.getMetrics()).cache.hits).toBeGreaterThan(0)
    }
  })

  it.each(['memory', 'lmdb'] as const)(
    'keeps inflated values before %s, whoever changes them',
    async name => {
      const place = await newPlace(name)
      const [a, b] = [await place.open(), await place.open({ cache: 'none' })]
      const value = (n: number): object => Array.from({ length: 200 }, (_, i) => ({ n, i }))
      for (let n = 0; n < 3; n++) {
        await b.set('a', value(n))
        expect(await a.get('a')).toEqual(value(n))
        expect(await a.getMany(['a'])).toEqual([value(n)])
      }
      await a.set('small', 1)
      expect(await a.get('small')).toBe(1)
      expect((await a.getMetrics()).cache).toMatchObject({ kind: 'memory', hits: 3, misses: 3, entries: 1 })
      expect((await b.getMetrics()).cache).toMatchObject({ kind: 'none', hits: 0, misses: 0, entries: 0 })
    },
  )

  it('refuses options that are not as they should be', async () => {
    await expect(openNew('memory', { cache: 'memroy' as never })).rejects.toThrow("Did you mean 'memory'?")
    await expect(openNew('memory', { cache: {} as never })).rejects.toThrow('"cache" must be one of')
    await expect(openNew('memory', { cacheMode: 'weak' as never })).rejects.toThrow('"cacheMode"')
    await expect(openNew('memory', { cachePath: '' })).rejects.toThrow('"cachePath"')
    const engine = remoteEngine(await sharedEngine())
    await expect(createPersistence({ engine, cache: 'tiered' })).rejects.toThrow('"cachePath"')
  })
})
