import { deepStrictEqual as same } from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, it } from 'vitest'
import { PersistentCache } from '../../src/cache/persistent-cache.ts'
import { TieredCache } from '../../src/cache/tiered-cache.ts'
import { CacheModel, callOf, fakeClock } from '../support/cache-model.ts'

const CALLS = 1_000
const RUNS = 100

const CODES = fc.array(fc.noBias(fc.nat(2 ** 26)), { minLength: CALLS, maxLength: CALLS })
const TTL = fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined })

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'varve-cache-'))
  try {
    await run(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** What the cache answers, and what the model did in the same turn. */
async function agree<T>(answer: Promise<T>, expected: T): Promise<void> {
  same(await answer, expected)
}

/** What a call may be besides: the cache is closed, or abandoned as a process abandons it that dies, and opened anew. */
function restartOf(code: number): 'close' | 'abandon' | undefined {
  const chance = Math.floor(code / 7) % 400
  return chance === 300 ? 'close' : chance === 301 ? 'abandon' : undefined
}

describe(`a cache on disk, in ${CALLS * RUNS} calls`, () => {
  it('is a map that survives, except for what it says it let go', () =>
    fc.assert(
      fc.asyncProperty(fc.constantFrom(10_000, 40_000, 10_000_000), TTL, CODES, (maxBytes, ttl, codes) =>
        inFolder(async path => {
          const clock = fakeClock()
          const model = new CacheModel(clock)
          const abandoned: PersistentCache<string>[] = []
          const open = (): PersistentCache<string> => {
            const opened = new PersistentCache<string>({
              path,
              maxBytes,
              ...(ttl !== undefined && { ttl }),
              now: clock.now,
            })
            opened.on('evict', ({ key }) => model.entries.delete(key))
            return opened
          }
          let cache = open()
          await cache.open()
          let writes: Promise<void>[] = []
          for (const [i, code] of codes.entries()) {
            const restart = restartOf(code)
            if (restart !== undefined) {
              // A set that was waited for survives; closing waits for all.
              if (restart === 'close') await cache.close()
              await Promise.all(writes)
              writes = []
              if (restart === 'abandon') abandoned.push(cache)
              cache = open()
              await cache.open()
              // What has expired is not opened.
              model.purge()
            }
            const step = callOf(code)
            if (step.call === 'wait') clock.time += step.milliseconds
            else if (step.call === 'get') await agree(cache.get(step.key), model.get(step.key))
            else if (step.call === 'has') await agree(cache.has(step.key), model.isLive(step.key))
            else if (step.call === 'delete') {
              await agree(cache.delete(step.key), model.isLive(step.key))
              model.entries.delete(step.key)
            } else if (step.call === 'metadata') {
              const { expiresAt } = model.entries.get(step.key) ?? {}
              await agree(
                cache.metadata(step.key).then(found => found?.expiresAt),
                model.isLive(step.key) && expiresAt !== Number.POSITIVE_INFINITY ? expiresAt : undefined,
              )
            } else if (step.call === 'clear') {
              await cache.clear()
              model.entries.clear()
            } else if (step.call === 'purge') {
              await cache.purgeExpired()
              model.purge()
            } else if (step.call === 'keys') {
              await Promise.all(writes)
              const keys: string[] = []
              for await (const key of cache.keys()) keys.push(key)
              same(keys.sort(), [...model.entries.keys()].filter(key => model.isLive(key)).sort())
            } else {
              const value = `${i}`.padEnd(step.size * 10, '.')
              // Not waited for: it is there at once.
              writes.push(cache.set(step.key, value, step.ttl === undefined ? {} : { ttl: step.ttl }))
              model.set(step.key, value, 0, step.ttl ?? ttl)
            }
            if (i % 100 === 99) {
              await Promise.all(writes)
              writes = []
              same(await cache.size(), [...model.entries.keys()].filter(key => model.isLive(key)).length)
              let size = 0
              for (const file of await readdir(path)) size += (await stat(join(path, file))).size
              same(size <= maxBytes, true)
              same(cache.stats().bytes, size)
            }
          }
          for (const opened of [...abandoned, cache]) await opened.close()
        }),
      ),
      { numRuns: RUNS, endOnFailure: true },
    ))
})

describe(`a cache in tiers, in ${CALLS * RUNS} calls`, () => {
  it('never answers with anything but what was last set, and keeps all if it is closed', () =>
    fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 20 }), TTL, CODES, (maxEntries, ttl, codes) =>
        inFolder(async path => {
          const clock = fakeClock()
          const model = new CacheModel(clock)
          const abandoned: TieredCache<string>[] = []
          const open = (): TieredCache<string> =>
            new TieredCache<string>({
              memory: { maxEntries, policy: 'tinylfu', now: clock.now },
              disk: { path, now: clock.now },
              ...(ttl !== undefined && { ttl }),
            })
          let cache = open()
          await cache.open()
          let writes: Promise<void>[] = []
          for (const [i, code] of codes.entries()) {
            const restart = restartOf(code)
            if (restart === 'close') {
              await cache.close()
              cache = open()
              await cache.open()
            } else if (restart === 'abandon') {
              await Promise.all(writes)
              writes = []
              abandoned.push(cache)
              cache = open()
              // Only what was in memory is gone.
              for (const key of model.entries.keys()) {
                const found = await cache.get(key)
                if (found === undefined) model.entries.delete(key)
                else same(found, model.get(key))
              }
            }
            const step = callOf(code)
            if (step.call === 'wait') clock.time += step.milliseconds
            else if (step.call === 'get') await agree(cache.get(step.key), model.get(step.key))
            else if (step.call === 'has') await agree(cache.has(step.key), model.isLive(step.key))
            else if (step.call === 'delete') {
              await agree(cache.delete(step.key), model.isLive(step.key))
              model.entries.delete(step.key)
            } else if (step.call === 'metadata') {
              const { expiresAt } = model.entries.get(step.key) ?? {}
              await agree(
                cache.metadata(step.key).then(found => found?.expiresAt),
                model.isLive(step.key) && expiresAt !== Number.POSITIVE_INFINITY ? expiresAt : undefined,
              )
            } else if (step.call === 'clear') {
              await cache.clear()
              model.entries.clear()
            } else if (step.call === 'set') {
              const value = `${i}`.padEnd(step.size * 10, '.')
              writes.push(cache.set(step.key, value, step.ttl === undefined ? {} : { ttl: step.ttl }))
              model.set(step.key, value, 0, step.ttl ?? ttl)
            } else if (step.call === 'purge') await cache.purgeExpired()
            else {
              const keys: string[] = []
              for await (const key of cache.keys()) keys.push(key)
              same(keys.sort(), [...model.entries.keys()].filter(key => model.isLive(key)).sort())
            }
          }
          for (const opened of [...abandoned, cache]) await opened.close()
        }),
      ),
      { numRuns: RUNS, endOnFailure: true },
    ))
})
