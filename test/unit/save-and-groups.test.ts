import { setImmediate as nextTurn } from 'node:timers/promises'
import * as fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { Persistence } from '../../src/index.ts'
import { openWithLimits } from '../support/open.ts'
import { ENGINES, type EngineName, newPlace } from '../support/stores.ts'

async function open(name: EngineName, limits: Partial<HistoryLimits> = {}): Promise<Persistence> {
  const place = await newPlace(name)
  const { persistence } = await openWithLimits(place.engine(), limits)
  onTestFinished(() => persistence.close())
  return persistence
}

describe.each(ENGINES)('save() on %s', name => {
  it('meets keys in the order of their bytes, which is not that of their UTF-16 units', async () => {
    const state = await open(name)
    const order = ['a', 'a\0', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}']
    const all: Record<string, unknown> = Object.fromEntries(order.map((key, i) => [key, i]))
    // The astral keys are given first, though they come last.
    const given = Object.fromEntries(Object.entries(all).reverse())
    expect(await state.save(given)).toMatchObject({ set: 7, deleted: 0, unchanged: 0 })
    expect(Object.keys(await state.load())).toEqual(order)
    expect(await state.save(all)).toMatchObject({ set: 0, deleted: 0, unchanged: 7 })
    delete given['\uffff']
    given['\u{10000}'] = 'changed'
    given['\u{10001}'] = 'new'
    expect(await state.save(given)).toMatchObject({ set: 2, deleted: 1, unchanged: 5 })
    expect(await state.load()).toEqual(given)
  })

  it('tells values apart whatever they are encoded as, and however large they are', async () => {
    const state = await open(name)
    const before = {
      clone: new Map([[1, new Date(0)]]),
      deflated: { text: 'abc'.repeat(1000) },
      empty: '',
      larger: 'é'.repeat(800_000),
      order: { a: 1, b: 2 },
      small: 1,
    }
    expect(await state.save(before)).toMatchObject({ set: 6 })
    expect(await state.save({ ...before, order: { b: 2, a: 1 } })).toMatchObject({ set: 0, unchanged: 6 })
    const after = {
      ...before,
      clone: new Map([[1, new Date(1)]]),
      deflated: { text: 'abd'.repeat(1000) },
      larger: `${'é'.repeat(799_999)}a`,
    }
    expect(await state.save(after)).toMatchObject({ set: 3, unchanged: 3 })
    expect(await state.load()).toEqual(after)
  })
})

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', 'é', '\u{1f600}', '\ue000']

describe.each(ENGINES)('calls in flight on %s', name => {
  it('make of any order of keys, given once or several times, what one after the other would', async () => {
    const writes = fc.array(fc.tuple(fc.constantFrom(...KEYS), fc.option(fc.nat(3), { nil: undefined })), {
      maxLength: 30,
    })
    await fc.assert(
      fc.asyncProperty(writes, fc.constantFrom(1, 2, 7, 100), async (writes, sliceKeys) => {
        const place = await newPlace(name)
        const { persistence: state } = await openWithLimits(place.engine(), { sliceKeys })
        const expected = new Map<string, unknown>()
        const answers = writes.map(([key, value]) => {
          const existed = expected.delete(key)
          if (value !== undefined) expected.set(key, value)
          return value === undefined ? existed : undefined
        })
        const made = writes.map(([key, value]) =>
          value === undefined ? state.delete(key) : state.set(key, value),
        )
        expect(await Promise.all(made)).toEqual(answers)
        expect(await state.load()).toEqual(Object.fromEntries(expected))
        expect(await state.size()).toBe(expected.size)
        await state.close()
      }),
      { numRuns: 30 },
    )
  })

  it('that only set keys leave the last value of each, and preserve what a snapshot shows', async () => {
    const key = fc.string({
      unit: fc.constantFrom('a', 'b', '\0', 'é', '\u{10ffff}'),
      minLength: 1,
      maxLength: 12,
    })
    const writes = fc.array(fc.tuple(key, fc.nat(3)), { maxLength: 100, size: 'max' })
    await fc.assert(
      fc.asyncProperty(writes, writes, fc.constantFrom(1, 7, 100), async (first, second, sliceKeys) => {
        const place = await newPlace(name)
        const { persistence: state } = await openWithLimits(place.engine(), { sliceKeys })
        const setAll = async (writes: readonly (readonly [string, unknown])[]) =>
          Promise.all(writes.map(([key, value]) => state.set(key, value)))
        await setAll(first)
        const before = Object.fromEntries(first)
        const version = await state.createSnapshot()
        await setAll(second)
        const after = { ...before, ...Object.fromEntries(second) }
        expect(await state.load()).toEqual(after)
        expect(await state.size()).toBe(Object.keys(after).length)
        expect(await state.getSnapshotData(version)).toEqual(before)
        const given = Object.fromEntries(first)
        const differing = Object.keys(given).filter(key => given[key] !== after[key]).length
        expect(await state.setMany(given)).toMatchObject({
          set: differing,
          unchanged: Object.keys(given).length - differing,
        })
        expect(await state.load()).toEqual({ ...after, ...given })
        expect((await state.verify()).problems).toEqual([])
        await state.close()
      }),
      { numRuns: 30 },
    )
  })

  it('let the event loop turn while many of them are committed', async () => {
    const state = await open(name, { sliceKeys: 10 })
    let turns = 0
    let done = false
    const made = Promise.all(Array.from({ length: 1000 }, (_, i) => state.set(`k${i}`, i))).then(() => {
      done = true
    })
    while (!done) {
      await nextTurn()
      turns++
    }
    await made
    expect(turns).toBeGreaterThanOrEqual(99)
    expect(await state.size()).toBe(1000)
  })
})
