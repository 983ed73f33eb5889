import { describe, expect, it } from 'vitest'
import type { Engine, Table, View } from '../../src/engine/engine.ts'
import { openWithLimits } from '../support/open.ts'
import { ENGINES, newPlace } from '../support/stores.ts'

/** Ten lists of four keys each are more than packing takes in. */
const LIMITS = { runKeys: 10, chunkKeys: 4, epochRows: 2, pageKeys: 3, packListEpochs: 2, listKeys: 4 }
const MANY = 40

/** The same engine; `read` is told of each row of the change lists that is handed out. */
function observed(engine: Engine, read: () => void): Engine {
  const watched = (view: View): View =>
    new Proxy(view, {
      get(target, name) {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function') return method
        return (...args: readonly unknown[]): unknown => {
          const [table] = args as [Table]
          if (table === 'changes' && name === 'scan') read()
          return method.apply(target, args)
        }
      },
    })
  return new Proxy(engine, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (name === 'read') return () => watched(target.read())
      return typeof member === 'function' ? member.bind(target) : member
    },
  })
}

const openObserved = (engine: Engine, read: () => void) => openWithLimits(observed(engine, read), LIMITS)

const entries = (from: number, count: number, value: unknown): [string, unknown][] =>
  Array.from({ length: count }, (_, i) => [`key ${from + i}`, value])

describe.each(ENGINES)('counts of changes, on %s', name => {
  it('know a key once that was written several times', async () => {
    const place = await newPlace(name)
    const { persistence: state, history } = await openWithLimits(place.engine(), {})
    for (let i = 0; i < 3; i++) {
      await state.set('twice', i)
      await state.set(`once ${i}`, i)
    }
    await state.createSnapshot()
    await history.maintain()
    expect((await state.listSnapshots()).map(({ changes }) => changes)).toEqual([4])
  })

  it('spare listSnapshots() the lists of snapshots that changed many keys', async () => {
    let scans = 0
    const place = await newPlace(name)
    const { persistence: state, history } = await openObserved(place.engine(), () => scans++)
    await state.setMany(entries(0, MANY, 'first'))
    await state.setMany(entries(MANY / 2, MANY, 'second'))
    await state.createSnapshot()
    const listed = async (): Promise<unknown> => {
      scans = 0
      const [snapshot] = await state.listSnapshots()
      return [snapshot?.changes, snapshot?.bytes]
    }
    const before = await listed()
    expect(before).toEqual([1.5 * MANY, expect.any(Number)])
    await history.maintain()
    expect(await listed()).toEqual(before)
    expect(scans).toBe(0)
    // Another process finds them as well.
    await state.close()
    const { persistence: again } = await openObserved(place.engine(), () => scans++)
    scans = 0
    expect((await again.listSnapshots()).map(({ changes }) => changes)).toEqual([1.5 * MANY])
    expect(scans).toBe(0)
    await again.close()
  })

  it('are made anew where a snapshot goes between two others', async () => {
    let scans = 0
    const place = await newPlace(name)
    const { persistence: state, history } = await openObserved(place.engine(), () => scans++)
    const changes = async (): Promise<unknown> => {
      scans = 0
      return (await state.listSnapshots()).map(snapshot => snapshot.changes)
    }
    for (let round = 0; round < 4; round++) {
      await state.setMany(entries(round * 10, MANY, round))
      await state.createSnapshot()
      await history.maintain()
    }
    expect(await changes()).toEqual([MANY, MANY, MANY, MANY])
    await state.deleteSnapshot('v2')
    expect(await changes()).toEqual([MANY, MANY + 10, MANY])
    await history.maintain()
    expect(await changes()).toEqual([MANY, MANY + 10, MANY])
    expect(scans).toBe(0)
    // Of the oldest, what its own epoch touched counts, and the lists before it are gone.
    await state.deleteSnapshot('v1')
    await history.maintain()
    await changes()
    // One looks for what is left of those.
    expect(scans).toBeLessThan(2)
    expect(await state.verify()).toMatchObject({ ok: true })
    await state.close()
  })
})
