import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { ENGINES, newPlace, openNew } from '../support/stores.ts'

describe.each(ENGINES)('metrics, on %s', name => {
  it('count the calls of each kind, the failed ones, and the time they took', async () => {
    const state = await openNew(name)
    expect((await state.getMetrics()).operations).not.toHaveProperty('set')
    for (let i = 0; i < 50; i++) await state.set('a', i)
    for (let i = 0; i < 3; i++) await state.get('a')
    await expect(state.get('')).rejects.toThrow()
    await expect(state.restoreSnapshot('v7')).rejects.toThrow()
    await state.createSnapshot()
    const { operations } = await state.getMetrics()
    expect(operations).toMatchObject({
      set: { count: 50, errors: 0 },
      get: { count: 4, errors: 1 },
      restoreSnapshot: { count: 1, errors: 1 },
      createSnapshot: { count: 1, errors: 0 },
      getMetrics: { count: 2, errors: 0 },
    })
    for (const operation of ['set', 'get', 'createSnapshot']) {
      const { p50, p95, p99, max } = operations[operation]?.latency ?? { p50: 0, p95: 0, p99: 0, max: 0 }
      expect(p50).toBeGreaterThan(0)
      expect(p95).toBeGreaterThanOrEqual(p50)
      expect(p99).toBeGreaterThanOrEqual(p95)
      expect(max * 1.02).toBeGreaterThanOrEqual(p99)
      expect(max).toBeLessThan(10_000)
    }
  })

  it('count keys and snapshots, of whichever process made them', async () => {
    const place = await newPlace(name)
    const state = await place.open()
    expect(await state.getMetrics()).toMatchObject({ keys: 0, snapshotCount: 0 })
    await state.setMany({ a: 1, b: 2, c: 3 })
    await state.createSnapshot()
    await state.createSnapshot()
    await state.delete('b')
    await state.deleteSnapshot('v1')
    expect(await state.getMetrics()).toMatchObject({ keys: 2, snapshotCount: 1 })
    await state.close()
    expect(await (await place.open()).getMetrics()).toMatchObject({ keys: 2, snapshotCount: 1 })
  })

  it('tell where the data is and what room it takes', async () => {
    const place = await newPlace(name)
    const state = await place.open({ cache: 'none', delta: 'none' })
    await state.setMany(Array.from({ length: 500 }, (_, i) => [`key ${i}`, `${i}`.repeat(200)] as const))
    await state.createSnapshot()
    await state.setMany(Array.from({ length: 500 }, (_, i) => [`key ${i}`, `${i + 1}`.repeat(200)] as const))
    const { storage, delta, cache } = await state.getMetrics()
    expect(storage).toMatchObject({ engine: name, tables: { live: { entries: 500 } } })
    expect(storage.bytes).toBeGreaterThan(10_000)
    expect(storage.freeBytes).toBeGreaterThanOrEqual(0)
    expect(storage.freeBytes).toBeLessThan(storage.bytes)
    expect(storage.tables.history?.bytes).toBeGreaterThan(0)
    expect(delta).toMatchObject({ strategy: 'none', records: storage.tables.history?.entries })
    expect(delta.bytes).toBe(storage.tables.history?.bytes)
    expect(cache).toMatchObject({ kind: 'none', hits: 0, misses: 0, hitRatio: 0 })
    if (name === 'lmdb') {
      // Background work may lengthen the file between the two looks at it.
      await vi.waitFor(async () => {
        const { storage: now } = await state.getMetrics()
        const sizes = ['data.mdb', 'lock.mdb'].map(async file => (await stat(join(place.path, file))).size)
        expect(now.bytes).toBe((await Promise.all(sizes)).reduce((sum, size) => sum + size))
      })
    }
  })

  it('can be written as JSON', async () => {
    const state = await openNew(name)
    await state.set('a', 1)
    const metrics = await state.getMetrics()
    expect(JSON.parse(JSON.stringify(metrics))).toStrictEqual(metrics)
  })
})
