import { deepStrictEqual as same } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, it } from 'vitest'
import { MemoryCache } from '../../src/cache/memory-cache.ts'
import { PersistentCache } from '../../src/cache/persistent-cache.ts'
import { TieredCache } from '../../src/cache/tiered-cache.ts'
import { createPersistence, memory, type Persistence } from '../../src/index.ts'
import { remoteEngine } from '../support/remote-engine.ts'

const KEYS = Array.from({ length: 12 }, (_, i) => `key ${i}`)

const CACHES = {
  memory: () => new MemoryCache({ maxEntries: 8 }),
  tiny: () => new MemoryCache({ maxBytes: 400, policy: 'tinylfu' }),
  persistent: (path: string) => new PersistentCache({ path }),
  tiered: (path: string) => new TieredCache({ memory: { maxEntries: 4 }, disk: { path } }),
} as const

const key = fc.constantFrom(...KEYS)
const host = fc.nat(1)
const value = fc.oneof(fc.nat(100), fc.string({ maxLength: 5 }), fc.constant('long '.repeat(500)))
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ call: fc.constant('get' as const), host, key }) },
  {
    weight: 3,
    arbitrary: fc.record({
      call: fc.constant('getMany' as const),
      host,
      keys: fc.uniqueArray(key, { maxLength: 5 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ call: fc.constant('set' as const), host, key, value }) },
  { weight: 2, arbitrary: fc.record({ call: fc.constant('delete' as const), host, key }) },
  {
    weight: 1,
    arbitrary: fc.record({
      call: fc.constant('save' as const),
      host,
      entries: fc.uniqueArray(fc.tuple(key, value), { selector: ([name]) => name, maxLength: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      call: fc.constantFrom('snapshot' as const, 'restore' as const, 'clear' as const, 'prune' as const),
      host,
    }),
  },
  { weight: 1, arbitrary: fc.record({ call: fc.constantFrom('reopen' as const, 'abandon' as const), host }) },
)

describe.each(Object.keys(CACHES) as (keyof typeof CACHES)[])('a store behind the cache %s', kind => {
  it('answers as a map does, whoever changed it', () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom('strong' as const, 'bounded' as const),
        fc.array(step, { minLength: 20, maxLength: 80 }),
        async (mode, steps) => {
          const folder = await mkdtemp(join(tmpdir(), 'varve-reads-'))
          const engine = memory()
          await engine.open()
          const open = (index: number): Promise<Persistence> =>
            createPersistence({
              engine: remoteEngine(engine),
              cache: CACHES[kind](join(folder, `${index}`)) as MemoryCache,
              cacheMode: mode,
            })
          const hosts = [await open(0), await open(1)]
          const abandoned: Persistence[] = []
          const state = new Map<string, unknown>()
          /** What each host is certain to have seen: in `bounded` mode it may lag behind the other. */
          const writer = { last: 0 }
          const snapshots = new Map<string, ReadonlyMap<string, unknown>>()
          for (const current of steps) {
            const store = hosts[current.host] as Persistence
            // What another host did is not promised to be seen at once.
            const exact = mode === 'strong' || writer.last === current.host
            if (current.call === 'get') {
              const found = await store.get(current.key)
              if (exact) same(found, state.get(current.key))
            } else if (current.call === 'getMany') {
              const found = await store.getMany(current.keys)
              if (exact) {
                same(
                  found,
                  current.keys.map(name => state.get(name)),
                )
              }
            } else if (current.call === 'reopen' || current.call === 'abandon') {
              if (current.call === 'reopen') await store.close()
              else abandoned.push(store)
              hosts[current.host] = await open(current.host)
            } else {
              if (current.call === 'restore' && snapshots.size === 0) continue
              if (current.call !== 'snapshot' && current.call !== 'prune') writer.last = current.host
              if (current.call === 'set') {
                await store.set(current.key, current.value)
                state.set(current.key, current.value)
              } else if (current.call === 'delete') {
                await store.delete(current.key)
                state.delete(current.key)
              } else if (current.call === 'clear') {
                await store.clear()
                state.clear()
              } else if (current.call === 'save') {
                await store.save(Object.fromEntries(current.entries))
                state.clear()
                for (const [name, item] of current.entries) state.set(name, item)
              } else if (current.call === 'snapshot') {
                snapshots.set(await store.createSnapshot(), new Map(state))
              } else if (current.call === 'prune') {
                await store.pruneSnapshots({ keepLast: 1 })
                for (const version of [...snapshots.keys()].slice(0, -1)) snapshots.delete(version)
              } else {
                const [version, snapshot] = [...snapshots][0] as [string, ReadonlyMap<string, unknown>]
                await store.restoreSnapshot(version)
                state.clear()
                for (const [name, item] of snapshot) state.set(name, item)
              }
            }
          }
          for (const store of [...hosts, ...abandoned]) await store.close()
          await engine.close()
          await rm(folder, { recursive: true, force: true })
        },
      ),
      { numRuns: 60, endOnFailure: true },
    ))
})
