import { describe, expect, it } from 'vitest'
import { ENGINES, newPlace, openNew, toArray } from '../support/stores.ts'

describe.each(ENGINES)('snapshots, on %s', name => {
  it('are restored by version, after the state was modified', async () => {
    const state = await openNew(name)
    await state.save({ kept: 1, changed: { n: 1 }, removed: [1] })
    const version = await state.createSnapshot()
    expect(version).toBe('v1')
    await state.set('changed', { n: 2 })
    await state.delete('removed')
    await state.set('added', true)
    expect(await state.restoreSnapshot(version)).toMatchObject({ set: 2, deleted: 1, unchanged: 1 })
    expect(await state.load()).toStrictEqual({ kept: 1, changed: { n: 1 }, removed: [1] })
    expect(await state.restoreSnapshot(version)).toMatchObject({ set: 0, deleted: 0, unchanged: 3 })
  })

  it('are restored by tag: the newest with it, or the oldest', async () => {
    const state = await openNew(name)
    for (const n of [1, 2, 3]) {
      await state.save({ n })
      await state.createSnapshot(n < 3 ? { tag: 'stable' } : { tags: ['beta', 'other'] })
    }
    await state.restoreSnapshotByTag('stable')
    expect(await state.load()).toStrictEqual({ n: 2 })
    await state.restoreSnapshotByTag('stable', { latest: false })
    expect(await state.load()).toStrictEqual({ n: 1 })
    await state.restoreSnapshotByTag('other', { latest: true })
    expect(await state.load()).toStrictEqual({ n: 3 })
  })

  it('taken since stay when an older one is restored, and can be gone back to', async () => {
    const place = await newPlace(name)
    const state = await place.open()
    const states = [{ a: 1 }, { a: 2, b: 1 }, { b: 2 }, {}, { a: 1, c: [1] }]
    for (const data of states) {
      await state.save(data)
      await state.createSnapshot()
    }
    for (const i of [0, 4, 2, 1, 3, 0]) {
      await state.restoreSnapshot(`v${i + 1}`)
      expect(await state.load()).toStrictEqual(states[i])
    }
    await state.close()
    const again = await place.open()
    for (const [i, data] of states.entries()) {
      expect(await again.getSnapshotData(`v${i + 1}`)).toStrictEqual(data)
    }
    expect(await again.load()).toStrictEqual(states[0])
    expect(await again.createSnapshot()).toBe('v6')
  })

  it('are read without restoring, by a view that may be awaited or not', async () => {
    const state = await openNew<Record<string, unknown>>(name)
    await state.save({ a: 1, b: { c: 2 } })
    const version = await state.createSnapshot()
    await state.save({ a: 'later', d: 1 })
    for (const view of [state.at(version), await state.at(version)]) {
      expect(await view.get('a')).toBe(1)
      expect(await view.get('d', 'fallback')).toBe('fallback')
      expect(await view.getMany(['b', 'd'])).toStrictEqual([{ c: 2 }, undefined])
      expect([await view.has('a'), await view.has('d')]).toStrictEqual([true, false])
      expect(await toArray(view.keys())).toStrictEqual(['a', 'b'])
      expect(await toArray(view.values())).toStrictEqual([1, { c: 2 }])
      expect(await toArray(view.entries({ gt: 'a' }))).toStrictEqual([['b', { c: 2 }]])
      expect(await view.size()).toBe(2)
      expect(await view.load()).toStrictEqual({ a: 1, b: { c: 2 } })
      expect(view).not.toHaveProperty('set')
    }
    expect(await state.getSnapshotData(version)).toStrictEqual({ a: 1, b: { c: 2 } })
    expect(await state.load()).toStrictEqual({ a: 'later', d: 1 })
  })

  it('are listed with what is known of them', async () => {
    const state = await openNew(name)
    const before = Date.now()
    await state.setMany({ a: 1, b: 2 })
    await state.createSnapshot()
    await state.set('a', 2)
    await state.createSnapshot({
      tag: 'one',
      tags: ['two', 'one'],
      description: 'with everything',
      userInfo: { by: 'Ada', at: new Date(0), list: new Set([1]) },
    })
    await state.createSnapshot()
    const [first, second, third] = await state.listSnapshots()
    expect(first).toMatchObject({
      version: 'v1',
      tags: [],
      description: '',
      userInfo: undefined,
      kind: 'full',
      changes: 2,
    })
    expect(first?.bytes).toBeGreaterThan(0)
    expect(first?.createdAt).toBeInstanceOf(Date)
    expect(first?.createdAt.getTime()).toBeGreaterThanOrEqual(before)
    expect(first?.createdAt.getTime()).toBeLessThanOrEqual(Date.now())
    expect(first).not.toHaveProperty('baseVersion')
    expect(second).toMatchObject({
      version: 'v2',
      tags: ['one', 'two'],
      description: 'with everything',
      userInfo: { by: 'Ada', at: new Date(0), list: new Set([1]) },
      changes: 1,
    })
    expect(third).toMatchObject({ version: 'v3', changes: 0, bytes: 0 })
  })

  it('are tagged and untagged', async () => {
    const state = await openNew(name)
    await state.createSnapshot({ tag: 'a' })
    await state.createSnapshot()
    await state.tagSnapshot('v1', ['b', '__proto__', 'a'])
    await state.tagSnapshot('v2', 'b')
    const counts = await state.listTags()
    expect(Object.entries(counts)).toStrictEqual([
      ['__proto__', 1],
      ['a', 1],
      ['b', 2],
    ])
    await state.untagSnapshot('v1', ['a', 'none'])
    await state.untagSnapshot('v2', 'b')
    expect((await state.listSnapshots()).map(({ tags }) => tags)).toStrictEqual([['b', '__proto__'], []])
  })

  it('are deleted, and their numbers not used again', async () => {
    const state = await openNew(name)
    for (let n = 1; n <= 3; n++) {
      await state.set('n', n)
      await state.createSnapshot()
    }
    await state.deleteSnapshot('v2')
    await state.deleteSnapshot('v3')
    expect((await state.listSnapshots()).map(({ version }) => version)).toStrictEqual(['v1'])
    await expect(state.getSnapshotData('v3')).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
    expect(await state.createSnapshot()).toBe('v4')
    expect(await state.getSnapshotData('v1')).toStrictEqual({ n: 1 })
  })

  it('are pruned by a policy given once, after asking what it would remove', async () => {
    const state = await openNew(name)
    for (let n = 1; n <= 6; n++) {
      await state.set('n', n)
      await state.createSnapshot(n === 2 ? { tag: 'kept' } : {})
    }
    const expected = { kept: ['v2', 'v5', 'v6'], removed: ['v1', 'v3', 'v4'] }
    expect(await state.pruneSnapshots({ keepLast: 2 }, { dryRun: true })).toStrictEqual(expected)
    expect(await state.listSnapshots()).toHaveLength(6)
    expect(await state.pruneSnapshots({ keepLast: 2 })).toStrictEqual(expected)
    expect((await state.listSnapshots()).map(({ version }) => version)).toStrictEqual(expected.kept)
    for (const n of [2, 5, 6]) expect(await state.getSnapshotData(`v${n}`)).toStrictEqual({ n })
  })

  it('tell the history of a key', async () => {
    const state = await openNew(name)
    await state.createSnapshot()
    for (const value of [{ n: 1 }, { n: 1 }, { n: 2 }, undefined, undefined, { n: 3 }]) {
      if (value === undefined) await state.delete('k')
      else await state.set('k', value)
      await state.createSnapshot()
    }
    await state.set('k', 'not in any snapshot yet')
    expect(await toArray(state.history('k'))).toStrictEqual([
      { version: 'v7', value: { n: 3 } },
      { version: 'v5', deleted: true },
      { version: 'v4', value: { n: 2 } },
      { version: 'v2', value: { n: 1 } },
    ])
    expect(await toArray(state.history('never there'))).toStrictEqual([])
  })
})
