import { describe, expect, it } from 'vitest'
import type { Persistence } from '../../src/index.ts'
import { EMBEDDED, newPlace, openNew, take, toArray } from '../support/stores.ts'

interface Value {
  n: number
  list: unknown[]
  map: Map<string, { deep: number }>
  bytes: Uint8Array
  at: Date
}

/** A value with something to change in every kind of container; `long` makes it one that is compressed. */
function newValue(long: boolean): Value {
  return {
    n: 1,
    list: [{ x: 1 }, ...(long ? ['x'.repeat(5000)] : [])],
    map: new Map([['k', { deep: 1 }]]),
    bytes: new Uint8Array([1, 2, 3]),
    at: new Date(0),
  }
}

/** Changes whatever can be changed in a value. */
function spoil(value: unknown): void {
  const spoiled = value as Value
  spoiled.n = 2
  ;(spoiled.list[0] as { x: number }).x = 2
  spoiled.list.push('more')
  const inMap = spoiled.map.get('k')
  if (inMap !== undefined) inMap.deep = 2
  spoiled.map.set('more', { deep: 2 })
  spoiled.bytes.fill(9)
  spoiled.at.setTime(1)
}

describe.each(EMBEDDED)('values passed in are the caller’s own, on %s', name => {
  it.each<[string, (state: Persistence, value: Value) => Promise<unknown>]>([
    ['set', (state, value) => state.set('k', value)],
    ['setMany', (state, value) => state.setMany({ k: value })],
    ['setMany of pairs', (state, value) => state.setMany([['k', value]])],
    ['save', (state, value) => state.save({ k: value })],
    ['update', (state, value) => state.update('k', () => value)],
  ])('%s', async (call, write) => {
    for (const long of [false, true]) {
      const state = await openNew(name)
      const value = newValue(long)
      const written = write(state, value)
      // What happens in this very tick, before anything is committed, counts no more. Only `update` asks later.
      if (call !== 'update') spoil(value)
      await written
      if (call === 'update') spoil(value)
      expect(await state.get('k')).toStrictEqual(newValue(long))
      await state.createSnapshot()
      expect(await state.at('v1').get('k')).toStrictEqual(newValue(long))
    }
  })

  it('a transaction, from the call on', async () => {
    const state = await openNew(name)
    await state.transaction(async t => {
      const value = newValue(false)
      t.set('k', value)
      spoil(value)
      expect(await t.get('k')).toStrictEqual(newValue(false))
      spoil(await t.get('k'))
      expect(await t.get('k')).toStrictEqual(newValue(false))
    })
    expect(await state.get('k')).toStrictEqual(newValue(false))
  })

  it('the object of a save, its keys included', async () => {
    const state = await openNew(name)
    const data: Record<string, unknown> = { a: 1, b: 2 }
    const saved = state.save(data)
    data['a'] = 'changed'
    data['c'] = 3
    delete data['b']
    await saved
    expect(await state.load()).toEqual({ a: 1, b: 2 })
  })

  it('bytes, also a part of a larger buffer', async () => {
    const state = await openNew(name)
    const buffer = Buffer.from('0123456789')
    await state.set('k', buffer.subarray(2, 5))
    await state.set('large', Buffer.alloc(100_000, 1))
    buffer.fill('x')
    expect(Buffer.from((await state.get('k')) as Uint8Array).toString()).toBe('234')
    expect(await state.get('k')).toHaveLength(3)
    const large = (await state.get('large')) as Buffer
    large.fill(2)
    expect(((await state.get('large')) as Buffer)[0]).toBe(1)
  })

  it('what is kept with a snapshot', async () => {
    const state = await openNew(name)
    const userInfo = newValue(false)
    const tags = ['a', 'b']
    const created = state.createSnapshot({ tags, userInfo })
    spoil(userInfo)
    tags.push('c')
    await created
    const more = ['d']
    const tagged = state.tagSnapshot('v1', more)
    more.push('e')
    await tagged
    for (const info of await state.listSnapshots()) {
      expect(info).toMatchObject({ tags: ['a', 'b', 'd'], userInfo: newValue(false) })
      spoil(info.userInfo)
      ;(info.tags as string[]).push('spoiled')
      info.createdAt.setTime(0)
    }
    const [again] = await state.listSnapshots()
    expect(again).toMatchObject({ tags: ['a', 'b', 'd'], userInfo: newValue(false) })
    expect(again?.createdAt.getTime()).toBeGreaterThan(0)
  })

  it('options', async () => {
    const place = await newPlace(name)
    const retention = { keepLast: 2, keepTags: ['kept'] }
    const opening = place.open({ retention })
    retention.keepLast = 1
    retention.keepTags.push('spoiled')
    const state = await opening
    for (let n = 0; n < 4; n++) {
      await state.set('n', n)
      await state.createSnapshot()
    }
    expect((await state.listSnapshots()).map(({ version }) => version)).toEqual(['v3', 'v4'])
  })
})

describe.each(EMBEDDED)('values that come out are the caller’s own, on %s', name => {
  const READS: Record<string, (state: Persistence) => Promise<unknown>> = {
    get: state => state.get('k'),
    getMany: async state => (await state.getMany(['k']))[0],
    'getMany, the same key twice': async state => {
      const [first, second] = await state.getMany(['k', 'k'])
      spoil(first)
      return second
    },
    load: async state => (await state.load())['k'],
    values: async state => (await toArray(state.values()))[0],
    entries: async state => (await toArray(state.entries()))[0]?.[1],
    'at().get': state => state.at('v1').get('k'),
    'at().getMany': async state => (await state.at('v1').getMany(['k']))[0],
    'at().load': async state => (await state.at('v1').load())['k'],
    'at().entries': async state => (await toArray(state.at('v1').entries()))[0]?.[1],
    'a superseded value': state => state.at('v1').get('old'),
    getSnapshotData: async state => (await state.getSnapshotData('v1'))['k'],
    diff: async state => (await toArray(state.diff('v1', 'head')))[0]?.before,
    history: async state => (await toArray(state.history('old')))[0]?.value,
    'the argument of update': async state => {
      await expect(
        state.update('k', value => {
          spoil(value)
          throw new Error('never mind')
        }),
      ).rejects.toThrow('never mind')
      return state.get('k')
    },
    't.get': state => state.transaction(t => t.get('k')),
  }

  it.each(Object.keys(READS))('%s', async call => {
    for (const long of [false, true]) {
      const state = await openNew(name)
      await state.setMany({ k: newValue(long), old: newValue(long) })
      await state.createSnapshot()
      await state.set('old', 'superseded')
      for (let round = 0; round < 3; round++) {
        const value = await READS[call]?.(state)
        expect(value).toStrictEqual(newValue(long))
        spoil(value)
        if (round === 1) await state.compact()
      }
      expect(await state.get('k')).toStrictEqual(newValue(long))
      expect(await state.at('v1').get('old')).toStrictEqual(newValue(long))
      expect(await state.verify()).toMatchObject({ ok: true })
    }
  })

  it('a fallback is given back as it is', async () => {
    const state = await openNew(name)
    const fallback = { n: 1 }
    expect(await state.get('none', fallback)).toBe(fallback)
  })

  it('each watcher has its own', async () => {
    const state = await openNew(name)
    const watchers = [state.watch(), state.watch()]
    await state.set('k', newValue(false))
    for (const watcher of watchers) {
      const [change] = await take(watcher, 1)
      expect(change?.value).toStrictEqual(newValue(false))
      spoil(change?.value)
    }
    expect(await state.get('k')).toStrictEqual(newValue(false))
  })

  it('keys that were given one object do not share it', async () => {
    const state = await openNew(name)
    const shared = newValue(false)
    await state.setMany({ a: shared, b: shared })
    const data = await state.load()
    spoil(data['a'])
    expect(data['b']).toStrictEqual(newValue(false))
  })
})
