import { describe, expect, it } from 'vitest'
import { createPersistence } from '../../src/index.ts'

const entries = (count: number, value: unknown): [string, unknown][] =>
  Array.from({ length: count }, (_, i) => [`key ${String(i).padStart(6, '0')}`, value])

describe('packed change lists', () => {
  it('do not reach over an epoch that touched many keys', async () => {
    const state = await createPersistence()
    for (let i = 1; i <= 60; i++) {
      await state.set('x', i)
      if (i === 30) await state.setMany(entries(5000, i))
      await state.createSnapshot()
    }
    await state.compact()
    expect((await state.compareSnapshots('v45', 'v50')).changed.map(({ key }) => key)).toEqual(['x'])
    expect((await state.compareSnapshots('v10', 'v20')).changed.map(({ key }) => key)).toEqual(['x'])
    expect((await state.compareSnapshots('v29', 'v30')).added).toHaveLength(5000)
    await state.restoreSnapshot('v45')
    expect(await state.get('x')).toBe(45)
    expect(await state.verify()).toMatchObject({ ok: true })
    await state.close()
  })

  it('lose nothing when epochs that no snapshot separates are merged', async () => {
    const state = await createPersistence()
    await state.save(Object.fromEntries(entries(25_000, 'first')))
    await state.createSnapshot()
    await state.setMany(entries(25_000, 'second').filter((_, i) => i % 8 === 0))
    // Of this size it opens an epoch of its own, which no snapshot seals.
    await state.save(Object.fromEntries(entries(25_000, 'third')))
    await state.createSnapshot()
    await state.compact()
    expect((await state.compareSnapshots('v1', 'v2')).changed).toHaveLength(25_000)
    await state.restoreSnapshot('v1')
    expect(new Set(Object.values(await state.load()))).toEqual(new Set(['first']))
    expect(await state.verify()).toMatchObject({ ok: true })
    await state.close()
  })

  it('stay while a list in them is needed, though the first is not', async () => {
    const state = await createPersistence()
    for (let i = 1; i <= 4; i++) {
      await state.set('x', i)
      await state.createSnapshot()
    }
    await state.compact()
    await state.deleteSnapshot('v1')
    await state.compact()
    expect((await state.compareSnapshots('v2', 'v3')).changed.map(({ key }) => key)).toEqual(['x'])
    await state.close()
  })
})
