import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { ConflictError } from '../../src/index.ts'
import { exited, startTask } from '../support/peers.ts'
import { ENGINES, newPlace, openNew } from '../support/stores.ts'

describe.each(ENGINES)('transactions, on %s', name => {
  it('read and write as one commit, and see what they did so far', async () => {
    const state = await openNew(name)
    await state.save({ a: 1, b: { n: 2 } })
    const changes = state.watch()
    const result = await state.transaction(async t => {
      expect(await t.get('a')).toBe(1)
      expect(await t.get('none', 'fallback')).toBe('fallback')
      expect([await t.has('b'), await t.has('none')]).toEqual([true, false])
      t.set('a', 10)
      t.set('new', 'value')
      expect(await t.get('a')).toBe(10)
      expect(await t.has('new')).toBe(true)
      expect(await t.delete('b')).toBe(true)
      expect(await t.delete('b')).toBe(false)
      expect(await t.delete('none')).toBe(false)
      expect(await t.get('b', 'gone')).toBe('gone')
      expect(await state.load()).toEqual({ a: 1, b: { n: 2 } })
      return 'result'
    })
    expect(result).toBe('result')
    expect(await state.load()).toEqual({ a: 10, new: 'value' })
    const sequences = new Set<number>()
    for (let i = 0; i < 3; i++) sequences.add((await changes.next()).value?.sequence ?? 0)
    expect(sequences.size).toBe(1)
  })

  it('may be synchronous, and may do nothing', async () => {
    const state = await openNew(name)
    expect(await state.transaction(t => t.set('a', 1))).toBeUndefined()
    expect(await state.transaction(() => 5)).toBe(5)
    expect(await state.load()).toEqual({ a: 1 })
  })

  it('roll back when their function fails', async () => {
    const state = await openNew(name)
    await state.set('a', 1)
    const failure = new RangeError('no')
    const run = state.transaction(async t => {
      t.set('a', 2)
      t.set('b', 2)
      await t.delete('a')
      throw failure
    })
    await expect(run).rejects.toBe(failure)
    await expect(
      state.transaction(t => {
        t.set('b', 2)
        throw failure
      }),
    ).rejects.toBe(failure)
    expect(await state.load()).toEqual({ a: 1 })
    expect((await state.getMetrics()).operations['transaction']).toMatchObject({ count: 2, errors: 2 })
  })

  it('read one moment, and run again after another writer changed what they had read', async () => {
    const place = await newPlace(name)
    const [state, another] = [await place.open(), await place.open()]
    await state.save({ from: 10, to: 0 })
    let runs = 0
    await state.transaction(async t => {
      const from = (await t.get('from')) as number
      if (++runs === 1) {
        await another.setMany({ from: 5, to: 5 })
        // Still of the moment in which this run began.
        expect(await t.get('to')).toBe(0)
      }
      t.set('from', from - 1)
      t.set('to', ((await t.get('to')) as number) + 1)
    })
    expect(runs).toBe(2)
    expect(await state.load()).toEqual({ from: 4, to: 6 })
  })

  it.each<
    [
      string,
      (set: (value: unknown) => Promise<void>, remove: () => Promise<boolean>) => Promise<unknown>,
      number,
    ]
  >([
    ['is set to something else', set => set('other'), 2],
    ['is deleted', (_, remove) => remove(), 2],
    ['is deleted and set again', async (set, remove) => [await remove(), await set('same')], 1],
    ['is set to the same', set => set('same'), 1],
  ])('look again at a key they read that %s meanwhile', async (_, change, expected) => {
    const place = await newPlace(name)
    const [state, another] = [await place.open(), await place.open()]
    await state.set('read', 'same')
    let runs = 0
    await state.transaction(async t => {
      await t.get('read')
      if (++runs === 1) {
        await change(
          value => another.set('read', value),
          () => another.delete('read'),
        )
      }
      t.set('written', runs)
    })
    expect(runs).toBe(expected)
  })

  it('notice a key that was absent when they read it', async () => {
    const state = await openNew(name)
    let runs = 0
    const created = await state.transaction(async t => {
      if (await t.has('lock')) return false
      if (++runs === 1) await state.set('lock', 'of another')
      t.set('lock', 'mine')
      return true
    })
    expect([created, runs]).toEqual([false, 1])
    expect(await state.get('lock')).toBe('of another')
  })

  it('do not run again for keys they only write, nor for those of others', async () => {
    const state = await openNew(name)
    await state.setMany({ a: 1, b: 1 })
    let runs = 0
    await state.transaction(async t => {
      runs++
      await t.get('a')
      t.set('b', 'last')
      await state.set('b', 'first')
      await state.set('c', 1)
    })
    expect(runs).toBe(1)
    expect(await state.load()).toEqual({ a: 1, b: 'last', c: 1 })
  })

  it('are serializable: of two that each read what the other writes, one runs again', async () => {
    const state = await openNew(name)
    await state.save({ onCall: ['ada', 'grace'], ada: true, grace: true })
    const leave = (who: string, other: string) =>
      state.transaction(async t => {
        const both = (await t.get(who)) === true && (await t.get(other)) === true
        await nextTurn()
        if (both) t.set(who, false)
      })
    await Promise.all([leave('ada', 'grace'), leave('grace', 'ada')])
    const { ada, grace } = await state.load()
    expect([ada, grace].filter(Boolean)).toHaveLength(1)
  })

  it('count reads and deletes that were not waited for', async () => {
    const state = await openNew(name)
    await state.save({ a: 1, b: 2 })
    await state.transaction(t => {
      void t.delete('a')
      void t.get('b')
      t.set('c', 3)
    })
    expect(await state.load()).toEqual({ b: 2, c: 3 })
    await state.transaction(t => {
      void t.delete('c')
      t.set('c', 'set after all')
    })
    expect(await state.get('c')).toBe('set after all')
  })

  it('may be nested: the inner one is a commit of its own', async () => {
    const state = await openNew(name)
    await state.set('n', 1)
    const outer = state.transaction(async t => {
      t.set('outer', await t.get('n'))
      await state.transaction(async inner => inner.set('inner', await inner.get('n')))
      await state.set('between', true)
      throw new Error('the outer one fails')
    })
    await expect(outer).rejects.toThrow('the outer one fails')
    expect(await state.load()).toEqual({ n: 1, inner: 1, between: true })
    const nested = Array.from({ length: 10 }, (_, i) =>
      state.transaction(async t => {
        t.set(`outer ${i}`, i)
        await state.transaction(async inner => inner.set('n', ((await inner.get('n')) as number) + 1))
      }),
    )
    await Promise.all(nested)
    expect(await state.get('n')).toBe(11)
    expect(await state.size()).toBe(13)
  })

  it('do not wait for themselves where nested ones meet conflicts too', async () => {
    const state = await openNew(name)
    /** A transaction whose first run meets a conflict. */
    const add = (key: string, within?: () => Promise<unknown>): Promise<void> => {
      let runs = 0
      return state.transaction(async t => {
        const n = (await t.get(key, 0)) as number
        await within?.()
        if (++runs === 1) await state.set(key, n + 100)
        t.set(key, n + 1)
      })
    }
    await add('outer', () => add('inner'))
    // The inner one has happened in each run of the outer one, the first included.
    expect(await state.load()).toEqual({ outer: 101, inner: 202 })
  })

  it('give up after many runs that all met a conflict', async () => {
    const random = vi.spyOn(Math, 'random').mockReturnValue(0)
    onTestFinished(() => random.mockRestore())
    const state = await openNew(name)
    let runs = 0
    const run = state.transaction(async t => {
      await t.get('contended')
      await state.set('contended', ++runs)
      t.set('never', true)
    })
    await expect(run).rejects.toThrow(ConflictError)
    await expect(run).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringMatching(/ran 100 times.*Read fewer keys, or make it shorter/),
    })
    expect(runs).toBe(100)
    expect(await state.has('never')).toBe(false)
  })
})

describe.each(ENGINES)('concurrent increments, on %s', name => {
  it('of one key add up: 200 by update, 200 by transaction, 200 by an asynchronous update', async () => {
    const place = await newPlace(name)
    const stores = [await place.open(), await place.open()]
    const add = (i: number): Promise<unknown>[] => {
      const state = stores[i % 2] as (typeof stores)[number]
      return [
        state.update('update', (n = 0) => (n as number) + 1),
        state.transaction(async t => t.set('transaction', ((await t.get('transaction', 0)) as number) + 1)),
        state.update('asyncUpdate', async (n = 0) => (n as number) + 1),
      ]
    }
    await Promise.all(Array.from({ length: 200 }, (_, i) => add(i)).flat())
    expect(await stores[0]?.load()).toEqual({ update: 200, transaction: 200, asyncUpdate: 200 })
  })

  it('by slow transactions and slow updates of one key add up', async () => {
    const state = await openNew(name)
    const add = (i: number): Promise<unknown> =>
      i % 2 === 0
        ? state.update('n', async (n = 0) => delay(1, (n as number) + 1))
        : state.transaction(async t => {
            const n = (await t.get('n', 0)) as number
            await delay(1)
            t.set('n', n + 1)
          })
    await Promise.all(Array.from({ length: 30 }, (_, i) => add(i)))
    expect(await state.get('n')).toBe(30)
  })

  it('never show half a transfer', async () => {
    const state = await openNew(name)
    await state.save({ a: 100, b: 0 })
    let moving = true
    const audit = async (): Promise<number> => {
      let audits = 0
      while (moving) {
        const [a, b] = (await state.getMany(['a', 'b'])) as [number, number]
        expect(a + b).toBe(100)
        audits++
        await nextTurn()
      }
      return audits
    }
    const audits = audit()
    const move = () =>
      state.transaction(async t => {
        t.set('a', ((await t.get('a')) as number) - 1)
        t.set('b', ((await t.get('b')) as number) + 1)
      })
    for (let i = 0; i < 20; i++) {
      await Promise.all([move(), move(), move()])
      await nextTurn()
    }
    moving = false
    expect(await audits).toBeGreaterThan(5)
    expect(await state.load()).toEqual({ a: 40, b: 60 })
  })
})

describe('increments of two processes', () => {
  it.each(['update', 'transaction', 'asyncUpdate'])('add up, by %s', async how => {
    const place = await newPlace('lmdb')
    const state = await place.open()
    const children = [1, 2].map(() => startTask('increment', place.path, '200', how))
    const ends = children.map(exited)
    for (let i = 0; i < 50; i++) await state.update('counter', (n = 0) => (n as number) + 1)
    expect(await Promise.all(ends)).toEqual([0, 0])
    expect(await state.get('counter')).toBe(450)
  })
})
