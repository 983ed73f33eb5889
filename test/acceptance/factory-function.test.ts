import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { PersistenceOptions } from '../../src/index.ts'
import { createPersistence, lmdb, memory } from '../../src/index.ts'
import { ENGINES, newPlace, temporaryFolder } from '../support/stores.ts'

/** What a store must do whatever its options are. */
async function exercise(options: PersistenceOptions): Promise<void> {
  const state = await createPersistence(options)
  onTestFinished(() => state.close())
  const long = 'lorem ipsum '.repeat(200)
  const states: Record<string, unknown>[] = []
  for (let n = 0; n < 10; n++) {
    const data = { n, text: `${long}${n}`, list: [n, { deep: new Date(n) }], [`only ${n}`]: true }
    await state.save(data)
    states.push(data)
    await state.createSnapshot()
    expect(await state.get('text')).toBe(data.text)
  }
  await state.compact()
  for (const [n, data] of states.entries()) {
    expect(await state.getSnapshotData(`v${n + 1}`)).toStrictEqual(data)
  }
  await state.restoreSnapshot('v3')
  expect(await state.load()).toStrictEqual(states[2])
  expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
}

describe.each(ENGINES)('the factory function, on %s', name => {
  it.each(['memory', 'persistent', 'tiered', 'none'] as const)('takes the cache %s', async cache => {
    const place = await newPlace(name)
    const cachePath = join(await temporaryFolder(), 'cache')
    await exercise({ engine: place.engine(), cache, cachePath })
    const state = await place.open({ cache, cachePath })
    expect((await state.getMetrics()).cache.kind).toBe(cache)
  })

  it.each(['auto', 'dict', 'binary', 'compress', 'none'] as const)('takes the delta %s', async delta => {
    const place = await newPlace(name)
    await exercise({ engine: place.engine(), delta })
    const state = await place.open({ delta })
    expect((await state.getMetrics()).delta.strategy).toBe(delta)
  })

  it.each<[string, PersistenceOptions]>([
    ['no options but the engine', {}],
    ['compression', { compression: true }],
    ['no compression', { compression: false }],
    ['a maxChainLength of 1', { maxChainLength: 1 }],
    ['a maxChainLength', { maxChainLength: 64 }],
    ['a maxSnapshots of 0', { maxSnapshots: 0 }],
    ['a maxSnapshots', { maxSnapshots: 100 }],
    ['a retention', { retention: { keepLast: 50, keepDaily: 7, keepWithin: '1d12h', keepTags: ['a'] } }],
    ['a retention that keeps everything', { retention: {} }],
    ['an autoSnapshotInterval', { autoSnapshotInterval: 3_600_000 }],
    ['the durability process', { durability: 'process' }],
    ['the durability power', { durability: 'power' }],
    ['console as logger', { logger: console }],
    ['options that are undefined', { basePath: undefined, cache: undefined, logger: undefined } as object],
  ])('takes %s', async (_, options) => {
    await exercise({ engine: (await newPlace(name)).engine(), ...options })
  })

  it('reads a store that was written with other options', async () => {
    const place = await newPlace(name)
    const cachePath = join(await temporaryFolder(), 'cache')
    const combinations: PersistenceOptions[] = [
      { compression: false, delta: 'none' },
      { compression: true, delta: 'binary', cache: 'tiered', cachePath },
      { delta: 'dict', maxChainLength: 4 },
      { delta: 'compress', durability: 'power' },
      {},
    ]
    const text = 'lorem ipsum '.repeat(200)
    for (const [i, options] of combinations.entries()) {
      const state = await place.open(options)
      await state.set('text', `${text}${i}`)
      await state.createSnapshot()
      await state.close()
    }
    const state = await place.open()
    for (const i of combinations.keys()) {
      expect(await state.at(`v${i + 1}`).get('text')).toBe(`${text}${i}`)
    }
  })
})

describe('the factory function', () => {
  it('takes a basePath, or an engine', async () => {
    const folder = await temporaryFolder()
    await exercise({ basePath: join(folder, 'by path') })
    await exercise({ engine: lmdb(join(folder, 'by engine')) })
    await exercise({ engine: memory() })
    await exercise({})
  })

  it('compresses values where that saves space, unless told not to', async () => {
    const bytes = async (compression: boolean): Promise<number> => {
      const state = await createPersistence({ compression })
      onTestFinished(() => state.close())
      await state.set('text', 'lorem ipsum '.repeat(1000))
      return (await state.getMetrics()).storage.tables.live?.bytes ?? 0
    }
    expect(await bytes(false)).toBeGreaterThan(12_000)
    expect(await bytes(true)).toBeLessThan(1_000)
  })

  it('gives structured log lines to the logger, and nothing to it in quiet times', async () => {
    const lines: unknown[][] = []
    const log = (...line: unknown[]): void => void lines.push(line)
    const logger = { debug: () => undefined, info: () => undefined, warn: log, error: log }
    const state = await createPersistence({ logger, autoSnapshotInterval: 5 })
    onTestFinished(() => state.close())
    await state.set('a', 1)
    await delay(30)
    await state.close()
    expect(lines).toEqual([])
  })
})
