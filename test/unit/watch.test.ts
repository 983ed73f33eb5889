import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Change } from '../../src/index.ts'
import { startProcess, startWorker } from '../support/peers.ts'
import { ENGINES, newPlace, openNew, take, temporaryFolder, toArray } from '../support/stores.ts'

/** Commits that the log keeps at least; as many again, and it is trimmed. */
const KEPT_COMMITS = 1024

const brief = ({ key, type, value }: Change): unknown[] =>
  value === undefined ? [key, type] : [key, type, value]

/** The same, of several: those of one commit in the order of their keys. */
const briefs = (changes: readonly Change[]): unknown[][] =>
  changes.toSorted((a, b) => a.sequence - b.sequence || (a.key < b.key ? -1 : 1)).map(brief)

describe.each(ENGINES)('watching, on %s', name => {
  it('tells of each change of a key, in the order of the commits', async () => {
    const state = await openNew(name)
    await state.set('before', 1)
    const changes = state.watch()
    await state.set('a', 1)
    expect(await take(changes, 1).then(found => found.map(brief))).toEqual([['a', 'added', 1]])
    await state.set('a', { n: 2 })
    expect(await take(changes, 1).then(found => found.map(brief))).toEqual([['a', 'changed', { n: 2 }]])
    await state.delete('a')
    expect(await take(changes, 1).then(found => found.map(brief))).toEqual([['a', 'removed']])
  })

  it('begins with the call, not with the first change that is asked for', async () => {
    const state = await openNew(name)
    const committed = state.set('a', 1)
    await committed
    const changes = state.watch()
    const writing = state.set('b', 1)
    await writing
    await delay(5)
    expect(brief((await take(changes, 1))[0] as Change)).toEqual(['b', 'added', 1])
  })

  it('tells of everything that changes the state, and of nothing else', async () => {
    const state = await openNew(name)
    const file = join(await temporaryFolder(), 'state.json')
    await writeFile(file, '{"data":{"imported":1,"b":2}}')
    const changes = state.watch()
    await state.save({ a: 1, b: 1 })
    await state.createSnapshot()
    await state.set('a', 1)
    await state.save({ a: 1, b: 2 })
    await state.update('a', value => (value as number) + 1)
    await state.transaction(async t => {
      t.set('c', await t.get('a'))
      await t.delete('a')
    })
    await state.setMany({ c: 5, d: 3 })
    await state.delete('none')
    await state.restoreSnapshot('v1')
    await state.tagSnapshot('v1', 'tag')
    await state.importData(file)
    await state.clear()
    const found = await take(changes, 15)
    // The value is that of the moment in which the change is delivered: by now all keys are gone.
    expect(briefs(found)).toEqual([
      ['a', 'added'],
      ['b', 'added'],
      ['b', 'changed'],
      ['a', 'changed'],
      ['a', 'removed'],
      ['c', 'added'],
      ['c', 'changed'],
      ['d', 'added'],
      ['a', 'added'],
      ['b', 'changed'],
      ['c', 'removed'],
      ['d', 'removed'],
      ['a', 'removed'],
      ['b', 'changed'],
      ['imported', 'added'],
    ])
    expect(briefs(await take(changes, 2))).toEqual([
      ['b', 'removed'],
      ['imported', 'removed'],
    ])
  })

  it('gives the changes of one commit one number, and later commits greater ones', async () => {
    const state = await openNew(name)
    const changes = state.watch()
    await state.setMany({ a: 1, b: 1 })
    await state.setMany({ a: 2, c: 2 })
    const [first, second, third, fourth] = (await take(changes, 4)).map(({ sequence }) => sequence)
    expect(second).toBe(first)
    expect(third).toBeGreaterThan(second as number)
    expect(fourth).toBe(third)
  })

  it('is enough to keep a copy of the state, whatever happens at once', async () => {
    const place = await newPlace(name)
    const [state, another] = [await place.open(), await place.open()]
    await state.set('key 0', 'from before')
    const changes = state.watch()
    // After the call: what this does not show is told.
    const copy = new Map(Object.entries(await state.load()))
    const done = 'done'
    const following = (async () => {
      for await (const { key, value } of changes) {
        if (key === done) return
        if (value === undefined) copy.delete(key)
        else copy.set(key, value)
      }
    })()
    const write = async (store: typeof state, seed: number): Promise<void> => {
      for (let i = 0; i < 60; i++) {
        const key = `key ${(i * seed) % 7}`
        if (i % 5 === 0) await store.delete(key)
        else if (i % 7 === 0) await store.save({ [key]: [seed, i] })
        else if (i % 11 === 0) await store.createSnapshot()
        else await store.set(key, [seed, i])
      }
    }
    await Promise.all([write(state, 2), write(another, 3), write(state, 5)])
    const expected = await state.load()
    await another.set(done, true)
    await following
    expect(Object.fromEntries(copy)).toEqual(expected)
  })

  it('tells of what this process does at once, without looking every now and then', async () => {
    const state = await openNew(name)
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const changes = state.watch()
    for (let i = 0; i < 3; i++) {
      const waiting = changes.next()
      await nextTurn()
      await state.set('a', i)
      expect((await waiting).value).toMatchObject({ key: 'a', value: i })
    }
  })

  it('looks at a range only, and ends at its limit', async () => {
    const state = await openNew(name)
    const [prefixed, between, limited, none] = [
      state.watch({ prefix: 'k/' }),
      state.watch({ gt: 'a', lte: 'k/1' }),
      state.watch({ limit: 2 }),
      state.watch({ limit: 0 }),
    ]
    await state.setMany({ a: 1, b: 1, 'k/1': 1, 'k/2': 1, z: 1 })
    await state.set('__proto__', 1)
    await state.set('k/3', 1)
    expect((await take(prefixed, 3)).map(({ key }) => key)).toEqual(['k/1', 'k/2', 'k/3'])
    expect((await take(between, 2)).map(({ key }) => key)).toEqual(['b', 'k/1'])
    expect((await toArray(limited)).map(({ key }) => key)).toEqual(['a', 'b'])
    expect(await limited.next()).toEqual({ done: true, value: undefined })
    expect(await toArray(none)).toEqual([])
  })

  it('answers calls that overlap in their order', async () => {
    const state = await openNew(name)
    const changes = state.watch()
    const waiting = [changes.next(), changes.next(), changes.next()]
    for (const key of ['a', 'b', 'c']) await state.set(key, 1)
    const found = await Promise.all(waiting)
    expect(found.map(({ value }) => value?.key)).toEqual(['a', 'b', 'c'])
  })

  it('ends when it is left, returned from, or the store is closed', async () => {
    const state = await openNew(name)
    const left = state.watch()
    const returned = state.watch()
    const closed = state.watch()
    const waitingReturned = returned.next()
    await delay(1)
    expect(await returned.return?.()).toEqual({ done: true, value: undefined })
    expect(await waitingReturned).toEqual({ done: true, value: undefined })
    await state.set('a', 1)
    for await (const { key } of left) {
      expect(key).toBe('a')
      break
    }
    expect(await left.next()).toEqual({ done: true, value: undefined })
    await take(closed, 1)
    const waiting = [closed.next(), closed.next()]
    await delay(1)
    await state.close()
    expect(await Promise.all(waiting)).toEqual([
      { done: true, value: undefined },
      { done: true, value: undefined },
    ])
    expect(await closed.next()).toEqual({ done: true, value: undefined })
  })

  it('catches up, key by key, after the log was trimmed', async () => {
    const state = await openNew(name)
    await state.setMany({ gone: 1, kept: 1 })
    const changes = state.watch()
    await state.delete('gone')
    await state.set('early', 1)
    await state.createSnapshot()
    await setManyTimes(state, 'often', 2 * KEPT_COMMITS + 10)
    await state.createSnapshot()
    await state.set('then', 1)
    await state.compact()
    const found = new Map<string, Change>()
    while (!found.has('then')) {
      const [change] = await take(changes, 1)
      if (change !== undefined) found.set(change.key, change)
    }
    // 'kept' may be told of as well: it was written in the same epoch.
    found.delete('kept')
    expect([...found.keys()].sort()).toEqual(['early', 'gone', 'often', 'then'])
    expect(brief(found.get('gone') as Change)).toEqual(['gone', 'removed'])
    expect(brief(found.get('often') as Change)).toEqual(['often', 'changed', 2 * KEPT_COMMITS + 9])
    await state.set('next', 1)
    expect((await take(changes, 1)).map(brief)).toEqual([['next', 'added', 1]])
  })

  it('says so when what it missed is not kept any more', async () => {
    const state = await openNew(name, { maxSnapshots: 1 })
    const changes = state.watch()
    await state.set('early', 1)
    await state.createSnapshot()
    await setManyTimes(state, 'often', 2 * KEPT_COMMITS + 10)
    await state.createSnapshot()
    await state.compact()
    await expect(changes.next()).rejects.toMatchObject({
      code: 'WATCH_BEHIND',
      message: expect.stringMatching(/Read the state again, and watch anew/),
    })
    expect(await changes.next()).toEqual({ done: true, value: undefined })
  })
})

/** Sets a key so often, each time in a commit of its own. */
async function setManyTimes(
  state: { set(key: string, value: unknown): Promise<void> },
  key: string,
  times: number,
): Promise<void> {
  for (let i = 0; i < times; i++) await state.set(key, i)
}

describe.each([
  ['another process', startProcess],
  ['a worker thread', startWorker],
] as const)('watching what %s does', (_, start) => {
  it('tells of its changes as of those of this one', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    const peer = await start(place.path)
    const changes = state.watch({ prefix: 'k' })
    await peer.call('setMany', { k1: 1, k2: [2], other: 3 })
    expect((await take(changes, 2)).map(brief)).toEqual([
      ['k1', 'added', 1],
      ['k2', 'added', [2]],
    ])
    const waiting = take(changes, 3)
    await delay(5)
    await peer.call('set', 'k1', 2)
    await state.set('k3', 3)
    await peer.call('delete', 'k2')
    await peer.call('createSnapshot')
    const found = await waiting
    expect(found.map(({ key, type }) => [key, type])).toEqual([
      ['k1', 'changed'],
      ['k3', 'added'],
      ['k2', 'removed'],
    ])
    await peer.call('save', { k3: 4 })
    expect(briefs(await take(changes, 2))).toEqual([
      ['k1', 'removed'],
      ['k3', 'changed', 4],
    ])
    expect(await peer.end()).toBe(0)
  })
})
