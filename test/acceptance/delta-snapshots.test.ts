import { describe, expect, it } from 'vitest'
import { ENGINES, newPlace, openNew } from '../support/stores.ts'

describe.each(ENGINES)('delta snapshots, on %s', name => {
  it('hold the whole state, and record their base and what they cost against it', async () => {
    const state = await openNew(name)
    await state.save({ a: 1, b: { large: 'x'.repeat(500) }, c: 3 })
    const base = await state.createSnapshot()
    await state.set('a', 2)
    await state.createSnapshot()
    await state.delete('c')
    await state.set('d', 'new')
    const version = await state.createDeltaSnapshot({
      baseVersion: base,
      tag: 'delta',
      description: 'against the first',
      userInfo: [1],
    })
    expect(await state.getSnapshotData(version)).toStrictEqual({
      a: 2,
      b: { large: 'x'.repeat(500) },
      d: 'new',
    })
    const info = (await state.listSnapshots()).at(-1)
    expect(info).toMatchObject({
      version: 'v3',
      kind: 'delta',
      baseVersion: base,
      changes: 3,
      tags: ['delta'],
      description: 'against the first',
      userInfo: [1],
    })
    // What has not changed since the base costs nothing.
    expect(info?.bytes).toBeGreaterThan(0)
    expect(info?.bytes).toBeLessThan(100)
  })

  it('take the newest snapshot as their base where none is given', async () => {
    const state = await openNew(name)
    await state.set('a', 1)
    await state.createSnapshot()
    await state.set('b', 1)
    await state.createSnapshot()
    await state.set('c', 1)
    await state.createDeltaSnapshot()
    expect((await state.listSnapshots()).at(-1)).toMatchObject({ baseVersion: 'v2', changes: 1 })
  })

  it('are full ones where there is no snapshot yet', async () => {
    const state = await openNew(name)
    await state.set('a', 1)
    expect(await state.createDeltaSnapshot({ tag: 'first' })).toBe('v1')
    expect(await state.listSnapshots()).toMatchObject([{ kind: 'full', tags: ['first'], changes: 1 }])
  })

  it('stay readable when their base is deleted, and so does each of a chain of them', async () => {
    const place = await newPlace(name)
    const state = await place.open()
    const states: Record<string, unknown>[] = []
    for (let n = 0; n < 6; n++) {
      const data = { n, [`only ${n}`]: true, same: 'same', toggled: n % 2 }
      await state.save(data)
      states.push(data)
      await (n === 0 ? state.createSnapshot() : state.createDeltaSnapshot({ baseVersion: `v${n}` }))
    }
    for (const deleted of [1, 3, 5]) await state.deleteSnapshot(`v${deleted}`)
    await state.compact()
    await state.close()
    const again = await place.open()
    const infos = await again.listSnapshots()
    expect(infos.map(({ version, baseVersion }) => [version, baseVersion])).toStrictEqual([
      ['v2', 'v1'],
      ['v4', 'v3'],
      ['v6', 'v5'],
    ])
    for (const n of [1, 3, 5]) expect(await again.getSnapshotData(`v${n + 1}`)).toStrictEqual(states[n])
    await again.restoreSnapshot('v4')
    expect(await again.load()).toStrictEqual(states[3])
    expect(await again.verify()).toMatchObject({ ok: true })
  })

  it('refuse a base that is not there', async () => {
    const state = await openNew(name)
    await state.createSnapshot()
    await expect(state.createDeltaSnapshot({ baseVersion: 'v9' })).rejects.toMatchObject({
      code: 'SNAPSHOT_NOT_FOUND',
    })
    expect(await state.listSnapshots()).toHaveLength(1)
  })
})
