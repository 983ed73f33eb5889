import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { HistoryLimits } from '../../src/history/limits.ts'
import { type Engine, type Persistence, UnserializableValueError } from '../../src/index.ts'
import { interceptCommits } from '../support/intercepted-engine.ts'
import { openWithLimits } from '../support/open.ts'
import { newPlace, openNew } from '../support/stores.ts'

type State = Record<string, unknown>

const KEYS = ['a', 'b', 'c', 'constructor', 'é', '\u{1f600}', '\ue000', 'k'.repeat(100), '10', '9']
const values = fc.oneof(
  fc.jsonValue(),
  fc.integer({ min: 0, max: 2 }),
  fc.constantFrom<unknown>(new Date(0), new Map([[1, 2]]), 'long '.repeat(500), [1, 2].map(String)),
)
const states = fc
  .array(fc.tuple(fc.constantFrom(...KEYS, '__proto__'), values), { maxLength: 12 })
  .map(entries => Object.fromEntries(entries) as State)

async function open(): Promise<Persistence> {
  const state = await openNew('lmdb')
  onTestFinished(() => state.close())
  return state
}

type Call = 'get' | 'commit'

/** A store beside another one, which does what it is given before the next call of the engine of the first. */
async function openBesideOthers(limits = {}): Promise<{
  state: Persistence
  other: Persistence
  before: (call: Call, meanwhile: () => Promise<void>) => void
  maintain: () => Promise<void>
}> {
  const place = await newPlace('lmdb')
  let next: (() => Promise<void>) | undefined
  let when: Call | undefined
  const runNext = async (call: Call): Promise<void> => {
    if (call !== when) return
    when = undefined
    await next?.()
  }
  const plain = place.engine()
  const engine = {
    ...interceptCommits(plain, { before: () => runNext('commit') }),
    get: (...asked: Parameters<Engine['get']>) =>
      when !== 'get' ? plain.get(...asked) : runNext('get').then(() => plain.get(...asked)),
  }
  const { persistence: state } = await openWithLimits(engine, limits)
  const { persistence: other, history } = await openWithLimits(place.engine(), limits)
  onTestFinished(async () => {
    await state.close()
    await other.close()
  })
  return {
    state,
    other,
    before: (call, meanwhile) => {
      when = call
      next = meanwhile
    },
    maintain: () => history.maintain(),
  }
}

describe('save() of a state that is mostly there', () => {
  it.each<[string, Partial<HistoryLimits>, boolean]>([
    ['with all rows at once', {}, true],
    ['with a row at a time', { comparedRows: 1 }, true],
    ['with a few rows at a time', { comparedRows: 3 }, true],
    ['of which nothing is compressed', { comparedRows: 5 }, false],
  ])('compares it %s, makes it the state, and counts what that took', async (_, limits, compression) => {
    const place = await newPlace('lmdb')
    const { persistence: store } = await openWithLimits(place.engine(), limits, {}, { compression })
    onTestFinished(() => store.close())
    let before: State = {}
    await fc.assert(
      fc.asyncProperty(states, fc.boolean(), async (given, isMixed) => {
        // Parts of what is there, in another order.
        const after: State = isMixed
          ? Object.fromEntries([...Object.entries(given), ...Object.entries(before).slice(1).reverse()])
          : given
        const names = Object.keys(after)
        const equal = names.filter(
          name => Object.hasOwn(before, name) && isDeepStrictEqual(before[name], after[name]),
        ).length
        const deleted = Object.keys(before).filter(name => !Object.hasOwn(after, name)).length
        const copy = structuredClone(Object.entries(after))
        expect(await store.save(after)).toMatchObject({
          set: names.length - equal,
          deleted,
          unchanged: equal,
        })
        before = Object.fromEntries(copy)
        expect(isDeepStrictEqual(await store.load(), before)).toBe(true)
        expect(await store.size()).toBe(names.length)
      }),
      { numRuns: 150 },
    )
  })

  it('compares many rows of all lengths, more than there is room for at a time', async () => {
    const place = await newPlace('lmdb')
    const { persistence: store } = await openWithLimits(
      place.engine(),
      { comparedRows: 700 },
      {},
      { compression: false },
    )
    onTestFinished(() => store.close())
    const nameOf = (i: number): string => 'key '.repeat((i * 7) % 200) + i
    const state: State = {}
    for (let i = 0; i < 3000; i++) state[nameOf(i)] = { i, text: 'é'.repeat((i * 31) % 2500) }
    await store.save(state)
    for (let i = 0; i < 3000; i += 100) state[nameOf(i)] = { i, text: 'changed' }
    for (let i = 50; i < 3000; i += 300) delete state[nameOf(i)]
    const after = { more: 1, ...state }
    expect(await store.save(after)).toMatchObject({ set: 31, deleted: 10, unchanged: 2960 })
    expect(isDeepStrictEqual(await store.load(), { ...after })).toBe(true)
    expect(await store.save(after)).toMatchObject({ set: 0, deleted: 0, unchanged: 2991 })
  })

  it.each<Call>(['get', 'commit'])(
    'is of the moment of the call, whatever becomes of the data and, before a %s, of the store',
    async call => {
      const { state, other, before } = await openBesideOthers()
      await state.save({ a: 1, b: { n: 1 }, c: 'stays', d: 4, long: 'long '.repeat(1000) })
      const data: { a: number; b: { n: number }; c?: string; e: number; long: string } = {
        a: 2,
        b: { n: 1 },
        c: 'stays',
        e: 5,
        long: 'long '.repeat(1000),
      }
      before(call, async () => {
        await other.setMany({ a: 3, c: 'theirs', d: 'theirs', f: 'theirs', long: 'theirs' })
        await other.delete('b')
      })
      const expected = structuredClone(data)
      const saved = state.save(data)
      data.b.n = 9
      data.a = 9
      delete data.c
      await expect(saved).resolves.toMatchObject({ set: 5, deleted: 2 })
      expect(await state.load()).toStrictEqual(expected)
    },
  )

  it('holds where the log does not tell any more what others wrote', async () => {
    const { state, other, before, maintain } = await openBesideOthers({ keptLogEntries: 1 })
    await state.save({ a: 1, b: 2, c: 3, d: 4 })
    before('commit', async () => {
      for (let i = 0; i < 5; i++) await other.set('c', i)
      await other.setMany({ b: 'theirs', x: 'theirs' })
      await other.delete('d')
      await other.createSnapshot()
      await other.set('y', 'theirs')
      await other.createSnapshot()
      await maintain()
    })
    const data: State = { a: 1, b: 2, d: 4, e: { n: 5 } }
    const saved = state.save(data)
    for (const name of Object.keys(data)) delete data[name]
    await expect(saved).resolves.toMatchObject({ set: 3, deleted: 3 })
    expect(await state.load()).toStrictEqual({ a: 1, b: 2, d: 4, e: { n: 5 } })
  })

  it('holds while a property that it reads saves another state', async () => {
    const [store, other] = [await open(), await open()]
    const stateOf = (edition: number): State =>
      Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`key ${i}`, { i, edition }]))
    await store.save(stateOf(0))
    await other.save(stateOf(1))
    const inner: Promise<unknown>[] = []
    // Were the rows those of the other store by then, these would seem to be there.
    const changed = { 'key 50': { i: 50, edition: 1 }, 'key 300': { i: 300, edition: 1 } }
    const state = {
      ...stateOf(0),
      ...changed,
      get 'key 7'() {
        inner.push(other.save({ ...stateOf(1), 'key 8': 'other' }))
        return { i: 7, edition: 0 }
      },
    }
    expect(await store.save({ ...stateOf(0), 'key 9': 'changed' })).toMatchObject({ set: 1, unchanged: 399 })
    expect(await store.save(state)).toMatchObject({ set: 3, unchanged: 397 })
    expect(await inner[0]).toMatchObject({ set: 1, unchanged: 399 })
    expect(await store.load()).toStrictEqual({ ...stateOf(0), ...changed })
    expect(await other.load()).toStrictEqual({ ...stateOf(1), 'key 8': 'other' })
  })

  it('says what is wrong with a value or a key, and changes nothing', async () => {
    const store = await open()
    const state = { a: 1, b: { n: 1 }, c: 3 }
    await store.save(state)
    const bad: unknown[] = [undefined, () => 1, { n: 1, [Symbol('s')]: 1 }, Symbol('s')]
    for (const value of bad) {
      await expect(store.save({ ...state, b: value })).rejects.toThrow(UnserializableValueError)
      await expect(store.save({ ...state, b: value })).rejects.toThrow('"b"')
    }
    await expect(store.save({ ...state, '': 1 })).rejects.toThrow('empty')
    await expect(store.save({ ...state, '\ud800': 1 })).rejects.toThrow('well-formed')
    expect(await store.load()).toStrictEqual(state)
  })

  it('stores -0 where 0 was, whatever the next key is', async () => {
    for (const next of ['e', '1234567890123456', '.']) {
      const store = await open()
      await store.save({ '.': 0, a: 0, '0': 0, [next]: 1, zero: 0 })
      const changed = { '.': -0, a: -0, '0': -0, [next]: 1, zero: -0 }
      await store.save(changed)
      expect(isDeepStrictEqual(await store.load(), changed)).toBe(true)
    }
  })

  it('takes no inherited property for one of the state', async () => {
    const store = await open()
    const own = Object.fromEntries([['__proto__', 1] as const, ['toString', 2] as const])
    await store.save(own)
    expect(await store.save({})).toMatchObject({ deleted: 2, unchanged: 0 })
    await store.save({ a: 1 })
    expect(await store.save(Object.create(null))).toMatchObject({ deleted: 1 })
    expect(await store.size()).toBe(0)
  })

  it('is given up for a signal that was aborted before', async () => {
    const store = await open()
    await store.save({ a: 1 })
    await expect(store.save({ a: 2 }, { signal: AbortSignal.abort() })).rejects.toThrow('aborted')
    expect(await store.get('a')).toBe(1)
  })
})
