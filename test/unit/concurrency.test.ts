import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import {
  exited,
  type Peer,
  runTask,
  startProcess,
  startTask,
  startWorker,
  startWorkerTask,
} from '../support/peers.ts'
import { newPlace } from '../support/stores.ts'

describe.each([
  ['two processes', startProcess],
  ['two threads', startWorker],
] as const)('a store that %s have open', (_, start) => {
  async function openTwice() {
    const place = await newPlace('lmdb')
    const state = await place.open()
    const peer: Peer = await start(place.path)
    return { state, peer, place }
  }

  it('shows each the commits of the other as soon as they are made', async () => {
    const { state, peer } = await openTwice()
    for (let i = 0; i < 30; i++) {
      await state.set('a', { i })
      expect(await peer.call('get', 'a')).toEqual({ i })
      await peer.call('set', 'b', [i])
      expect(await state.get('b')).toEqual([i])
      expect(await peer.call('delete', 'a')).toBe(true)
      expect(await state.has('a')).toBe(false)
    }
    await peer.call('save', { only: 'this' })
    expect(await state.load()).toEqual({ only: 'this' })
    await state.clear()
    expect(await peer.call('size')).toBe(0)
    expect(await peer.end()).toBe(0)
  })

  it('shows in one and the same tick what another process does to snapshots', async () => {
    const { state, place } = await openTwice()
    await state.set('n', 1)
    let version: string = await state.createSnapshot()
    await state.get('n')
    for (let value = 2; value <= 6; value += 2) {
      expect(await state.at(version).get('n')).toBe(value - 1)
      // Waits without a turn of the event loop, in which whatever is held might be let go.
      const next = String(runTask('moveOn', [place.path, version, String(value)]))
      await expect(state.at(version).get('n')).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
      expect(await state.at(next).get('n')).toBe(value)
      await state.set('n', value + 1)
      version = await state.createSnapshot()
    }
  })

  it('shows each the snapshots of the other, and what it does to them', async () => {
    const { state, peer } = await openTwice()
    await state.save({ n: 1 })
    expect(await peer.call('createSnapshot', { tag: 'theirs' })).toBe('v1')
    expect(await state.listSnapshots()).toMatchObject([{ version: 'v1', tags: ['theirs'] }])
    await peer.call('set', 'n', 2)
    expect(await state.createSnapshot()).toBe('v2')
    expect(await peer.call('getSnapshotData', 'v2')).toEqual({ n: 2 })
    expect(await peer.call('compareSnapshots', 'v1', 'v2')).toMatchObject({ changed: [{ key: 'n' }] })
    await state.set('n', 3)
    // What the other process supersedes is preserved for the snapshots of this one.
    await peer.call('set', 'n', 4)
    expect(await state.getSnapshotData('v2')).toEqual({ n: 2 })
    const view = state.at('v1')
    expect(await view.get('n')).toBe(1)
    await peer.call('deleteSnapshot', 'v1')
    await expect(view.get('n')).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
    await peer.call('compact')
    await expect(view.get('n')).rejects.toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
    await peer.call('restoreSnapshot', 'v2')
    expect(await state.load()).toEqual({ n: 2 })
    await expect(peer.call('restoreSnapshot', 'v1')).rejects.toMatchObject({
      message: expect.stringContaining('There is no snapshot v1'),
    })
    expect(await peer.end()).toBe(0)
  })

  it('takes a policy of one as that of both', async () => {
    const { state, peer, place } = await openTwice()
    await (await place.open({ maxSnapshots: 2 })).close()
    for (const store of [1, 2, 3]) {
      await state.set('n', store)
      await state.createSnapshot()
      await peer.call('createSnapshot')
    }
    expect(await peer.call('listSnapshots')).toMatchObject([{ version: 'v5' }, { version: 'v6' }])
    expect(await peer.end()).toBe(0)
  })

  it('keeps what one wrote before it closed', async () => {
    const { state, peer } = await openTwice()
    await peer.call('setMany', { a: 1, b: 2 })
    expect(await peer.end()).toBe(0)
    expect(await state.load()).toEqual({ a: 1, b: 2 })
    await state.set('c', 3)
    expect(await state.size()).toBe(3)
  })
})

describe('a store that several write to at once', () => {
  it('loses no commit and no snapshot', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    const times = 60
    const processes = ['first', 'second'].map(name => startTask('write', place.path, name, String(times)))
    const worker = startWorkerTask('write', place.path, 'worker', String(times))
    const ends = [...processes.map(exited), exited(worker)]
    for (let i = 0; i < times; i++) {
      await state.set(`here/${i}`, i)
      if (i % 10 === 9) await state.createSnapshot({ tag: 'here', description: String(i) })
    }
    expect(await Promise.all(ends)).toEqual([0, 0, 0])

    const names = ['first', 'second', 'worker', 'here']
    const all = names.flatMap(name => Array.from({ length: times }, (_, i) => [`${name}/${i}`, i] as const))
    expect(await state.load()).toEqual(Object.fromEntries(all))
    expect(await state.listTags()).toEqual(Object.fromEntries(names.map(name => [name, times / 10])))
    const infos = await state.listSnapshots()
    expect(infos.map(({ version }) => version)).toEqual(infos.map((_, i) => `v${i + 1}`))
    let before = new Set<string>()
    for (const { version, tags, description } of infos) {
      const data = await state.getSnapshotData(version)
      // Of its own writer it has exactly what was written by then; of the others, no less than the one before.
      const own = Object.keys(data).filter(key => key.startsWith(`${tags[0]}/`))
      expect(own).toHaveLength(Number(description) + 1)
      const keys = new Set(Object.keys(data))
      expect([...before].filter(key => !keys.has(key))).toEqual([])
      before = keys
    }
    expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
  })

  it('is created by all of them together', async () => {
    const place = await newPlace('lmdb')
    const children = Array.from({ length: 3 }, () => startTask('increment', place.path, '20', 'all'))
    const state = await place.open()
    await state.set('here', true)
    expect(await Promise.all(children.map(exited))).toEqual([0, 0, 0])
    expect(await state.load()).toEqual({ here: true, counter: 60 })
  })

  it('goes on for the others when one is killed', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    for (let round = 0; round < 2; round++) {
      const child = startTask('setForever', place.path)
      await once(child, 'message')
      const writing = Array.from({ length: 50 }, (_, i) => state.set(`here/${round}/${i}`, i))
      child.kill('SIGKILL')
      await Promise.all(writing)
      await exited(child)
      const { counter, copy } = await state.load()
      expect(counter).toBe(copy)
      await state.createSnapshot()
    }
    expect(await state.size()).toBe(102)
    expect(await state.verify()).toMatchObject({ ok: true })
  })
})
