import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { MemoryCache } from '../../src/cache/memory-cache.ts'
import { PersistentCache } from '../../src/cache/persistent-cache.ts'
import type { Engine } from '../../src/engine/engine.ts'
import {
  copyStore,
  createPersistence,
  memory,
  type Persistence,
  type PersistenceOptions,
} from '../../src/index.ts'
import { KnownChanges } from '../../src/persistence/known-changes.ts'
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

  it.each(['at', 'getSnapshotData', 'compareSnapshots', 'listSnapshots'] as const)(
    'has seen the state of a snapshot that %s tells of, in bounded mode',
    async call => {
      const engine = await sharedEngine()
      const [other, store] = [
        await open({ engine: remoteEngine(engine), cache: 'none' }),
        await open({ engine: remoteEngine(engine), cacheMode: 'bounded' }),
      ]
      await other.set('a', 'before')
      await store.get('a')
      await other.set('a', 'after')
      const version = await other.createSnapshot()
      if (call === 'at') expect(await store.at(version).get('a')).toBe('after')
      if (call === 'getSnapshotData') expect(await store.getSnapshotData(version)).toEqual({ a: 'after' })
      if (call === 'compareSnapshots') await store.compareSnapshots(version, 'head')
      if (call === 'listSnapshots') await store.listSnapshots()
      expect(await store.get('a')).toBe('after')
    },
  )

  it('asks once for all that one turn asks for', async () => {
    const traffic: Traffic = { reads: 0, bytes: 0 }
    const store = await open({
      engine: remoteEngine(await sharedEngine(), turn, traffic),
      compression: false,
    })
    const keys = Array.from({ length: 2_500 }, (_, i) => `key ${i}`)
    await store.setMany(keys.map(key => [key, key] as const))
    await store.get('key 0')
    traffic.reads = 0
    const found = await Promise.all([...keys, ...keys].map(key => store.get(key)))
    expect(found).toEqual([...keys, ...keys])
    // The head, and the keys in three pieces.
    expect(traffic.reads).toBe(4)
    traffic.reads = 0
    expect(await store.getMany([...keys, 'absent'])).toEqual([...keys, undefined])
    expect(traffic.reads).toBe(2)
  })

  it.each(['strong', 'bounded'] as const)(
    'neither answers with, nor keeps, what was on its way when it changed (%s)',
    async cacheMode => {
      let held: Promise<void> | undefined
      const engine = remoteEngine(await sharedEngine(), async () => {
        await turn()
        await held
      })
      const store = await open({ engine, cacheMode })
      await store.set('a', 'old')
      let release: () => void = () => undefined
      held = new Promise(resolve => {
        release = resolve
      })
      const first = store.get('a')
      // Its view is open by then.
      for (let i = 0; i < 5; i++) await turn()
      held = undefined
      await store.set('a', 'own')
      const second = store.get('a')
      for (let i = 0; i < 20; i++) await turn()
      release()
      expect(await first).toBe('old')
      expect(await second).toBe('own')
      expect(await store.get('a')).toBe('own')
    },
  )

  it('asks for a key that is being asked for no second time in bounded mode', async () => {
    const traffic: Traffic = { reads: 0, bytes: 0 }
    const store = await open({
      engine: remoteEngine(await sharedEngine(), () => delay(20), traffic),
      cacheMode: 'bounded',
      compression: false,
    })
    await store.set('a', 'x'.repeat(1_000))
    const before = traffic.bytes
    const reads: Promise<unknown>[] = []
    for (let i = 0; i < 10; i++) {
      reads.push(store.get('a'))
      await turn()
    }
    expect(new Set(await Promise.all(reads))).toEqual(new Set(['x'.repeat(1_000)]))
    expect(traffic.bytes - before).toBeLessThan(3_000)
  })

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
      const cache = new PersistentCache({ path: join(path, kind) })
      const first = await open({
        engine: remoteEngine(engine),
        ...(kind === 'tiered' ? options : { cache }),
      })
      await first.setMany(Array.from({ length: 20 }, (_, i) => [`key ${i}`, i] as const))
      for (let i = 0; i < 20; i++) await first.get(`key ${i}`)
      if (kind === 'tiered') await first.close()
      else {
        // Killed, as far as the folder can tell, once all is on disk: what was set before the last one is, too.
        while (!(await cache.has('key 19'))) await turn()
        await cache.set('unrelated', 1)
      }
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

  it.each(['persistent', 'tiered'] as const)(
    'takes nothing of commits that the store has lost (%s)',
    async kind => {
      const engine = await sharedEngine()
      const options = { cache: kind, cachePath: join(await temporaryFolder(), 'cache') } as const
      const dying = await open({ engine: remoteEngine(engine), ...options })
      await dying.set('a', 'kept')
      await dying.set('b', 'kept')
      expect(await dying.getMany(['a', 'b'])).toEqual(['kept', 'kept'])
      const backup = await sharedEngine()
      await copyStore(engine, backup)
      await dying.set('a', 'lost')
      expect(await dying.get('a')).toBe('lost')
      await dying.close()
      const other = await open({ engine: remoteEngine(backup), cache: 'none' })
      for (let i = 0; i < 5; i++) await other.set('c', i)
      const again = await open({ engine: remoteEngine(backup), ...options })
      expect(await again.getMany(['a', 'b', 'c'])).toEqual(['kept', 'kept', 4])
    },
  )

  it('takes nothing of commits that the store has lost, if it died before it noted them', async () => {
    const engine = await sharedEngine()
    const path = join(await temporaryFolder(), 'cache')
    const cache = new PersistentCache({ path })
    const dying = await open({ engine: remoteEngine(engine), cache })
    await dying.set('a', 'kept')
    await dying.set('b', 'kept')
    await dying.get('b')
    const backup = await sharedEngine()
    await copyStore(engine, backup)
    await dying.set('a', 'lost')
    expect(await dying.get('a')).toBe('lost')
    while (!(await cache.has('a'))) await turn()
    // Resolves when what was set before is on disk.
    await cache.set('unrelated', 1)
    const other = await open({ engine: remoteEngine(backup), cache: 'none' })
    for (let i = 0; i < 5; i++) await other.set('c', i)
    const again = await open({ engine: remoteEngine(backup), cache: new PersistentCache({ path }) })
    expect(await again.getMany(['a', 'b'])).toEqual(['kept', 'kept'])
    expect((await again.getMetrics()).cache).toMatchObject({ hits: 1, misses: 1 })
  })

  it('begins anew where its note in the cache is none', async () => {
    const path = join(await temporaryFolder(), 'cache')
    for (const note of [
      '{"end":',
      'null',
      '{}',
      '{"lineages":[["1",2]],"start":0,"end":0,"mark":0,"changes":[]}',
      7,
    ]) {
      const cache = new PersistentCache({ path })
      await cache.set('', note)
      await cache.close()
      const store = await open({
        engine: remoteEngine(await sharedEngine()),
        cache: 'persistent',
        cachePath: path,
      })
      await store.set('a', 1)
      expect([await store.get('a'), await store.get('a')]).toEqual([1, 1])
      expect((await store.getMetrics()).cache).toMatchObject({ hits: 1, misses: 1 })
      await store.close()
    }
  })

  it('goes on after a kill though its note had to make room', async () => {
    const engine = await sharedEngine()
    const path = join(await temporaryFolder(), 'cache')
    const make = (): PersistentCache => new PersistentCache({ path, maxBytes: 60_000 })
    const cache = make()
    const dying = await open({ engine: remoteEngine(engine), cache, compression: false })
    const keys = Array.from({ length: 200 }, (_, i) => `key ${i}`)
    await dying.setMany(keys.map(key => [key, key.padEnd(1_000)] as const))
    for (const key of keys) await dying.get(key)
    await cache.set('unrelated', 1)
    const again = await open({ engine: remoteEngine(engine), cache: make(), compression: false })
    for (const key of keys.slice(-10)) await again.get(key)
    expect((await again.getMetrics()).cache).toMatchObject({ hits: 10, misses: 0 })
  })

  it('keeps the later of two changes that are told out of order', () => {
    const known = new KnownChanges(4, 0)
    for (const [i, key] of ['a', 'b', 'c'].entries()) known.add(key, 95 + i)
    known.advance(100)
    // Somebody who began before tells of the same stretch again.
    known.add('a', 60)
    expect(known.isCurrent('a', 70)).toBe(false)
    expect(known.isCurrent('a', 95)).toBe(true)
    const { start, end, changes } = known.report()
    expect(new KnownChanges(4, start, end, changes).isCurrent('a', 70)).toBe(false)
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
