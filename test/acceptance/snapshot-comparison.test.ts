import { describe, expect, it } from 'vitest'
import { ENGINES, openNew, toArray } from '../support/stores.ts'

describe.each(ENGINES)('snapshot comparison, on %s', name => {
  it('says what was added, removed and changed, with a JSON Patch', async () => {
    const state = await openNew(name)
    await state.save({ kept: 1, user: { name: 'Ada', tags: ['a'] }, gone: [1], back: 1 })
    const first = await state.createSnapshot()
    await state.set('user', { name: 'Grace', tags: ['a', 'b'] })
    await state.delete('gone')
    await state.set('new', true)
    await state.set('back', 2)
    await state.createSnapshot()
    await state.set('back', 1)
    const second = await state.createSnapshot()
    const comparison = await state.compareSnapshots(first, second)
    expect(comparison).toMatchObject({
      version1: first,
      version2: second,
      isDifferent: true,
      added: ['new'],
      removed: ['gone'],
      changed: [{ key: 'user', patch: expect.any(Array) }],
      deltaInfo: { changes: 3 },
    })
    expect(comparison.changed[0]?.patch).toEqual(
      expect.arrayContaining([
        { op: 'replace', path: '/name', value: 'Grace' },
        expect.objectContaining({ op: 'add', value: 'b' }),
      ]),
    )
    expect(comparison.changed[0]?.patch).toHaveLength(2)
    const { bytes, fullBytes, ratio } = comparison.deltaInfo
    expect(bytes).toBeGreaterThan(0)
    expect(fullBytes).toBeGreaterThan(0)
    expect(ratio).toBeCloseTo(bytes / fullBytes)
  })

  it('is the other way round when asked the other way round', async () => {
    const state = await openNew(name)
    await state.save({ a: 1, c: { n: 1 } })
    const first = await state.createSnapshot()
    await state.save({ b: 1, c: { n: 2 } })
    const second = await state.createSnapshot()
    expect(await state.compareSnapshots(second, first)).toMatchObject({
      version1: second,
      version2: first,
      added: ['a'],
      removed: ['b'],
      changed: [{ key: 'c', patch: [{ op: 'replace', path: '/n', value: 1 }] }],
    })
  })

  it('finds nothing where nothing differs', async () => {
    const state = await openNew(name)
    await state.save({ a: { x: 1, y: 2 } })
    const first = await state.createSnapshot()
    await state.set('a', 'something else')
    await state.set('b', 1)
    await state.delete('b')
    await state.set('a', { y: 2, x: 1 })
    const second = await state.createSnapshot()
    const nothing = { isDifferent: false, added: [], removed: [], changed: [] }
    expect(await state.compareSnapshots(first, second)).toMatchObject({
      ...nothing,
      deltaInfo: { changes: 0, bytes: 0, fullBytes: 0, ratio: 0 },
    })
    expect(await state.compareSnapshots(first, first)).toMatchObject(nothing)
    expect(await state.compareSnapshots('head', 'head')).toMatchObject(nothing)
    expect(await toArray(state.diff(first, second))).toStrictEqual([])
  })

  it('compares with the current state', async () => {
    const state = await openNew(name)
    await state.set('a', 1)
    const version = await state.createSnapshot()
    await state.set('b', 2)
    expect(await state.compareSnapshots(version, 'head')).toMatchObject({ version2: 'head', added: ['b'] })
    expect(await state.compareSnapshots('head', version)).toMatchObject({ version1: 'head', removed: ['b'] })
  })

  it('streams the differences with the values, in key order, over a range', async () => {
    const state = await openNew(name)
    await state.save({ a: 1, 'k/1': 'old', 'k/2': 'gone', 'k/3': 'same' })
    const first = await state.createSnapshot()
    await state.save({ a: 2, 'k/1': 'new', 'k/3': 'same', 'k/4': 'added', __proto__: null })
    await state.set('__proto__', 'a key like any other')
    const all = [
      { key: '__proto__', type: 'added', after: 'a key like any other' },
      { key: 'a', type: 'changed', before: 1, after: 2 },
      { key: 'k/1', type: 'changed', before: 'old', after: 'new' },
      { key: 'k/2', type: 'removed', before: 'gone' },
      { key: 'k/4', type: 'added', after: 'added' },
    ]
    expect(await toArray(state.diff(first, 'head'))).toStrictEqual(all)
    expect(await toArray(state.diff(first, 'head', { prefix: 'k/' }))).toStrictEqual(all.slice(2))
    expect(await toArray(state.diff(first, 'head', { reverse: true, limit: 2 }))).toStrictEqual(
      all.slice(3).toReversed(),
    )
    expect(await toArray(state.diff(first, 'head', { gt: 'a', lte: 'k/1' }))).toStrictEqual([all[2]])
  })

  it('carries values that JSON does not have', async () => {
    const state = await openNew(name)
    const before = { at: new Date(0), seen: new Set([1]), n: 1n }
    const after = { at: new Date(1), seen: new Set([1]), n: 2n }
    await state.set('k', before)
    const first = await state.createSnapshot()
    await state.set('k', after)
    expect(await toArray(state.diff(first, 'head'))).toStrictEqual([
      { key: 'k', type: 'changed', before, after },
    ])
    const { changed } = await state.compareSnapshots(first, 'head')
    expect(changed).toMatchObject([{ key: 'k' }])
    expect(changed[0]?.patch.length).toBeGreaterThan(0)
  })
})
