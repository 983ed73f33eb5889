import { describe, expect, it } from 'vitest'
import { createPersistence, memory } from '../../src/index.ts'
import { openWithLimits } from '../support/open.ts'

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

describe('change lists read in passes of a few keys', () => {
  it('name each key that was touched, once and in order', async () => {
    const { persistence: state } = await openWithLimits(memory(), { pageKeys: 3 })
    const touched = new Set<string>()
    await state.createSnapshot()
    for (let epoch = 0; epoch < 40; epoch++) {
      const keys = Array.from({ length: 5 }, (_, i) => `key ${(epoch * epoch * 7 + i * 11) % 23}`)
      for (const key of keys) touched.add(key)
      await state.setMany(keys.map((key): [string, number] => [key, epoch]))
      await state.createSnapshot()
    }
    const { added } = await state.compareSnapshots('v1', 'v41')
    expect(added).toEqual([...touched].sort())
    await state.close()
  })
})

describe('a log that is far from being folded', () => {
  it('tells of any epochs in it what was written in them', async () => {
    // While somebody is writing, the background folds five commits a second.
    const { persistence: state } = await openWithLimits(memory(), { runKeys: 1 })
    const written: string[][] = []
    for (const count of [700, 3, 0, 900, 2, 5]) {
      const keys = Array.from(
        { length: count },
        (_, i) => `${written.length + 1} ${String(i).padStart(3, '0')}`,
      )
      for (const key of keys) await state.set(key, key)
      written.push(keys)
      await state.createSnapshot()
    }
    for (let from = 1; from <= written.length; from++) {
      for (let to = from; to <= written.length; to++) {
        const { added, changed, removed } = await state.compareSnapshots(`v${from}`, `v${to}`)
        expect({ added, changed, removed }).toEqual({
          added: written.slice(from, to).flat(),
          changed: [],
          removed: [],
        })
      }
    }
    await state.close()
  })
})
