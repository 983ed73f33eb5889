import { once } from 'node:events'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { exited, startTask } from '../support/peers.ts'
import { ENGINES, newPlace } from '../support/stores.ts'

/** One of everything that can be stored. */
function everything(): Record<string, unknown> {
  const shared = { shared: true }
  const cycle: Record<string, unknown> = { name: 'cycle' }
  cycle['self'] = cycle
  return {
    string: 'Grüße, \u{1f30d}',
    empty: '',
    long: 'x'.repeat(100_000),
    number: -12.5e-7,
    negativeZero: -0,
    notANumber: Number.NaN,
    infinity: Number.NEGATIVE_INFINITY,
    bigint: 2n ** 80n,
    yes: true,
    nothing: null,
    list: [1, [2, [3, []]], { four: 4 }],
    object: { nested: { deeply: { value: 1 } } },
    missing: { undefined: undefined },
    date: new Date('2024-02-29T12:00:00.123Z'),
    map: new Map<unknown, unknown>([[{ key: 1 }, new Set(['a', 'b'])]]),
    regExp: /va?rve/giu,
    error: new RangeError('too far', { cause: new Error('a cause') }),
    bytes: new Uint8Array([0, 1, 255]),
    floats: new Float64Array([0.1, Number.NaN]),
    buffer: new ArrayBuffer(3),
    twice: [shared, shared],
    cycle,
    ['__proto__']: { polluted: true },
  }
}

describe.each(ENGINES)('basic persistence, on %s', name => {
  it('gives back what was saved, also after the store was closed and opened', async () => {
    const place = await newPlace(name)
    const state = await place.open()
    const saved = await state.save(everything())
    expect(saved).toMatchObject({ set: Object.keys(everything()).length, deleted: 0, unchanged: 0 })
    expect(await state.load()).toStrictEqual(everything())
    await state.close()
    expect(await (await place.open()).load()).toStrictEqual(everything())
  })

  it('writes only what differs, and deletes what is no longer there', async () => {
    const state = await (await newPlace(name)).open()
    await state.save({ a: 1, b: { x: 1, y: 2 }, c: [1], d: 'old' })
    // The order of properties is no difference.
    const summary = await state.save({ d: 'new', c: [1], b: { y: 2, x: 1 }, e: 5 })
    expect(summary).toMatchObject({ set: 2, deleted: 1, unchanged: 2 })
    expect(await state.load()).toStrictEqual({ b: { x: 1, y: 2 }, c: [1], d: 'new', e: 5 })
    expect(await state.save({ b: { x: 1, y: 2 }, c: [1], d: 'new', e: 5 })).toMatchObject({
      set: 0,
      deleted: 0,
      unchanged: 4,
    })
  })

  it('gives each commit an operation id of its own', async () => {
    const state = await (await newPlace(name)).open()
    const ids = [
      (await state.save({ a: 1 })).operationId,
      (await state.setMany({ b: 2 })).operationId,
      (await state.clear()).operationId,
    ]
    expect(new Set(ids).size).toBe(3)
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{16}-\d+$/)
  })

  it('empties the state, and keeps the snapshots', async () => {
    const state = await (await newPlace(name)).open()
    await state.save({ a: 1, b: 2 })
    const version = await state.createSnapshot()
    expect(await state.clear()).toMatchObject({ set: 0, deleted: 2, unchanged: 0 })
    expect(await state.load()).toStrictEqual({})
    expect(await state.size()).toBe(0)
    expect(await state.getSnapshotData(version)).toStrictEqual({ a: 1, b: 2 })
    expect(await state.clear()).toMatchObject({ set: 0, deleted: 0, unchanged: 0 })
    expect(await state.save({})).toMatchObject({ set: 0, deleted: 0, unchanged: 0 })
  })

  it('shows a save whole or not at all, to whoever reads meanwhile', async () => {
    const state = await (await newPlace(name)).open()
    const round = (i: number) => Object.fromEntries(Array.from({ length: 50 }, (_, k) => [`key ${k}`, i]))
    await state.save(round(0))
    const seen = new Set<number>()
    let saving = true
    const reader = async (): Promise<void> => {
      while (saving) {
        const values = new Set(Object.values(await state.load()))
        expect(values.size).toBe(1)
        seen.add([...values][0] as number)
        await nextTurn()
      }
    }
    const readers = [reader(), reader()]
    for (let i = 1; i <= 30; i++) {
      await state.save(round(i))
      if (i % 3 === 0) await nextTurn()
    }
    saving = false
    await Promise.all(readers)
    expect(seen.size).toBeGreaterThan(1)
  })

  it('makes concurrent saves one after another, whichever comes last', async () => {
    const state = await (await newPlace(name)).open()
    const versions = Array.from({ length: 10 }, (_, i) => ({ [`only ${i}`]: i, all: i }))
    await Promise.all(versions.map(data => state.save(data)))
    expect(versions).toContainEqual(await state.load())
  })
})

describe('what has been acknowledged', () => {
  it('survives the death of the process at any moment', async () => {
    const place = await newPlace('lmdb')
    for (let round = 0; round < 2; round++) {
      const child = startTask('setForever', place.path)
      let acknowledged = 0
      child.on('message', number => {
        acknowledged = number as number
        if (acknowledged === 20 + 60 * round) child.kill('SIGKILL')
      })
      await exited(child)
      const state = await place.open()
      const { counter, copy } = await state.load()
      expect(counter).toBeGreaterThanOrEqual(acknowledged)
      expect(copy).toBe(counter)
      expect(await state.verify()).toMatchObject({ ok: true })
      await state.close()
    }
  })

  it('may be asked to survive a loss of power too', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open({ durability: 'power' })
    await Promise.all([state.set('a', 1), state.save({ a: 1, b: 2 }), state.createSnapshot()])
    await state.close()
    expect(await (await place.open()).load()).toStrictEqual({ a: 1, b: 2 })
  })

  it('of a save so large that it is staged, is all or nothing where the process dies in the middle', async () => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    await state.save({ 'old/1': 1, 'old/2': 2 })
    const keys = 60_000
    for (const after of [150, 400]) {
      const child = startTask('saveLarge', place.path, String(keys))
      await once(child, 'message')
      await delay(after)
      child.kill('SIGKILL')
      await exited(child)
      // Whoever commits next finishes what was decided.
      await state.set('last', after)
      const size = await state.size()
      expect([3, keys + 1]).toContain(size)
      expect(Object.keys(await state.load())).toHaveLength(size)
      expect(await state.has('old/1')).toBe(size === 3)
      expect(await state.verify()).toMatchObject({ ok: true })
      if (size > 3) await state.save({ 'old/1': 1, 'old/2': 2, last: 0 })
    }
  })
})
