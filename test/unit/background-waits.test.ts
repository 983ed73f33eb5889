import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Engine } from '../../src/index.ts'
import { openWithLimits } from '../support/open.ts'
import { EMBEDDED, type EngineName, newPlace } from '../support/stores.ts'

/** The engine, and what is called of it from now on. */
function told(engine: Engine): { engine: Engine; calls: string[] } {
  const calls: string[] = []
  return {
    calls,
    engine: {
      ...engine,
      get(...asked) {
        calls.push('get')
        return engine.get(...asked)
      },
      read() {
        calls.push('read')
        return engine.read()
      },
      async commit(build, options) {
        const value = await engine.commit(build, options)
        calls.push('committed')
        return value
      },
    },
  }
}

it.each(EMBEDDED)('a caller is answered before the background begins, on %s', async name => {
  const { engine, calls } = told((await newPlace(name)).engine())
  const { persistence: state, history } = await openWithLimits(engine, {})
  onTestFinished(() => state.close())
  await state.set('a', 1)
  await state.createSnapshot()
  await history.maintain()
  await state.set('a', 2)
  calls.length = 0
  await state.createSnapshot()
  expect(calls).toEqual(['committed'])
  await history.maintain()
  expect(calls).toContain('read')
})

it.each(EMBEDDED)('a store is open before the background goes on with what is left, on %s', async name => {
  const place = await newPlace(name)
  const before = await openWithLimits(place.engine(), {})
  await before.persistence.set('a', 1)
  await before.persistence.createSnapshot()
  // The background has not begun yet.
  await before.persistence.close()
  const { engine, calls } = told(place.engine())
  const { persistence: state, history } = await openWithLimits(engine, {})
  onTestFinished(() => state.close())
  // The format and the head are looked at.
  expect(calls).toEqual(['get', 'read'])
  await history.maintain()
  expect(calls).toContain('committed')
})

/** With these, there is something to do after every other snapshot. */
const LOW_LIMITS = {
  unfoldedEntries: 16,
  keptLogEntries: 8,
  trimRows: 5,
  packListEpochs: 2,
  packEpochs: 1,
  runKeys: 2,
}
/** More commits than the work there is takes. */
const MANY = 500

/** A store with some work for the background, in which every commit from now on is followed by a snapshot, up to so many. */
async function openBusy(name: EngineName) {
  const engine = (await newPlace(name)).engine()
  let snapshots = 0
  let most = 0
  const another = async (): Promise<void> => {
    await state.set('a', snapshots)
    await state.createSnapshot()
    isWriting = false
  }
  let isWriting = false
  const busy: Engine = {
    ...engine,
    async commit(build, options) {
      const value = await engine.commit(build, options)
      if (snapshots < most && !isWriting) {
        isWriting = true
        snapshots++
        written = another()
      }
      return value
    },
  }
  let written = Promise.resolve()
  const { persistence: state, history } = await openWithLimits(busy, LOW_LIMITS)
  onTestFinished(() => state.close())
  for (let i = 0; i < 10; i++) {
    await state.set('a', -i)
    await state.createSnapshot()
  }
  return {
    history,
    writeOn(snapshots: number) {
      most = snapshots
    },
    async stop() {
      most = 0
      await written
      return snapshots
    },
  }
}

it.each(EMBEDDED)('all background work comes to an end while others go on to write, on %s', async name => {
  const store = await openBusy(name)
  store.writeOn(MANY)
  await store.history.maintain()
  expect(await store.stop()).toBeLessThan(MANY / 2)
})

it.each(EMBEDDED)(
  'what was written while work was brought to an end is seen to after it, on %s',
  async name => {
    const { history, writeOn, stop } = await openBusy(name)
    writeOn(5)
    await history.maintain()
    expect(await stop()).toBe(5)
    await vi.waitFor(async () => {
      const { folded, sequence } = await history.head()
      expect(folded).toBe(sequence)
    })
  },
)

/** An engine that tells which tables each commit writes to, and keeps the next one waiting when it is told to. */
function slowEngine(engine: Engine) {
  const written: string[][] = []
  let waiting: (() => void) | undefined
  let isHeld = false
  const slow: Engine = {
    ...engine,
    async commit(build, options) {
      if (isHeld) {
        isHeld = false
        await new Promise<void>(resolve => {
          waiting = resolve
        })
      }
      const tables = new Set<string>()
      const value = await engine.commit(
        (view, batch) =>
          build(view, {
            put(table, key, value) {
              tables.add(table)
              batch.put(table, key, value)
            },
            delete: batch.delete,
          }),
        options,
      )
      written.push([...tables].sort())
      return value
    },
  }
  return {
    engine: slow,
    written,
    holdNext() {
      isHeld = true
    },
    untilWaiting: () => vi.waitFor(() => expect(waiting).toBeDefined()),
    goOn: () => waiting?.(),
  }
}

describe.each(EMBEDDED)('work of the background that waits for the write lock, on %s', name => {
  async function openWaiting() {
    const { engine, ...slow } = slowEngine((await newPlace(name)).engine())
    const { persistence: state, history } = await openWithLimits(engine, {})
    onTestFinished(() => state.close())
    await state.set('a', 1)
    await state.createSnapshot()
    slow.holdNext()
    await slow.untilWaiting()
    slow.written.length = 0
    return { state, history, ...slow }
  }

  it('lets what callers have asked for meanwhile go first', async () => {
    const { state, history, written, goOn } = await openWaiting()
    const set = Promise.all([state.set('b', 2), state.update('a', () => 3)])
    goOn()
    await set
    await history.maintain()
    expect(written[0]).toEqual(['live', 'history', 'log', 'meta'].sort())
    expect(written[1]).toContain('changes')
    expect(await state.load()).toEqual({ a: 3, b: 2 })
  })

  it('does so once, however many of them there are', async () => {
    const { state, history, written, goOn } = await openWaiting()
    let sets = 0
    const loop = async (): Promise<void> => {
      while (sets < MANY && !written.some(tables => tables.includes('changes'))) await state.set('b', sets++)
    }
    const loops = [loop(), loop()]
    goOn()
    await Promise.all(loops)
    expect(sets).toBeLessThan(MANY / 10)
    await history.maintain()
  })

  it('rejects what of it cannot be made, and nothing else', async () => {
    const { state, history, written, goOn } = await openWaiting()
    const [bad, good] = [
      state.update('a', () => {
        throw new Error('not today')
      }),
      state.set('b', 2),
    ]
    goOn()
    await expect(bad).rejects.toThrow('not today')
    await good
    await history.maintain()
    expect(written.some(tables => tables.includes('changes'))).toBe(true)
    expect(await state.load()).toEqual({ a: 1, b: 2 })
  })
})
