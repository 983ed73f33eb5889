import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { memory, type Persistence } from '../../src/index.ts'
import { interceptCommits } from '../support/intercepted-engine.ts'
import { lateViews } from '../support/late-views.ts'
import { openWithLimits } from '../support/open.ts'
import { take } from '../support/stores.ts'

/** Runs `call`; what it asks first, or as the `nth`, waits until it is released. */
type Hold = <T>(call: () => T, nth?: number) => { readonly result: T; release(): void }

interface FarStore {
  /** A store on a server that takes its time. */
  readonly state: Persistence
  /** The same store on another host. */
  readonly other: Persistence
  /** Holds the first view that is opened before it reaches the server. */
  readonly holdRequest: Hold
  /** Holds the answers that the first view has been given. */
  readonly holdAnswer: Hold
  /** Holds the answer to a commit of this host, by default the first, which is made. */
  readonly holdCommit: Hold
  /** The same, of the other one. */
  readonly holdOther: Hold
}

function gate(): { readonly passed: Promise<void>; open(): void } {
  let open = (): void => undefined
  const passed = new Promise<void>(resolve => {
    open = resolve
  })
  return { passed, open: () => open() }
}

const LIMITS = { patchKeys: 3, stageRows: 5 }

/** What is asked one after the other, of which something may be held. */
class Line {
  #left = 0
  #held: Promise<void> | undefined

  readonly hold: Hold = (call, nth = 1) => {
    const { passed, open } = gate()
    this.#left = nth
    this.#held = passed
    return { result: call(), release: open }
  }

  async pass(): Promise<void> {
    if (--this.#left === 0) await this.#held
  }
}

async function farStore(): Promise<FarStore> {
  const kept = memory()
  const [requests, answers] = [new Line(), new Line()]
  const hosts = await Promise.all(
    ['here', 'there'].map(async () => {
      const commits = new Line()
      const engine = interceptCommits(kept, { after: () => commits.pass() })
      const far = lateViews(engine, () => ({ there: requests.pass(), back: answers.pass() }))
      const { persistence } = await openWithLimits(far, LIMITS)
      onTestFinished(() => persistence.close())
      return { persistence, hold: commits.hold }
    }),
  )
  const [here, there] = hosts as [(typeof hosts)[0], (typeof hosts)[0]]
  return {
    state: here.persistence,
    other: there.persistence,
    holdRequest: requests.hold,
    holdAnswer: answers.hold,
    holdCommit: here.hold,
    holdOther: there.hold,
  }
}

/** Lets everything happen that waits for nothing but its turn. */
async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await nextTurn()
}

const COUNT = 30
const stateOf = (value: string): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: COUNT }, (_, i) => [`key ${i}`, value]))

describe('a watcher, before a server has told it where the log ends', () => {
  it('does not miss what is committed here meanwhile', async () => {
    const { state, holdRequest } = await farStore()
    await state.set('before', 1)
    const { result: changes, release } = holdRequest(() => state.watch())
    await state.setMany({ a: 1, b: 1 })
    await state.set('c', 1)
    release()
    expect((await take(changes, 3)).map(({ key }) => key)).toEqual(['a', 'b', 'c'])
  })

  it('does not miss a commit that is answered after the call, though it was made before', async () => {
    const { state, holdCommit } = await farStore()
    const { result: setting, release } = holdCommit(() => state.set('a', 1))
    await settle()
    const changes = state.watch()
    await settle()
    release()
    await setting
    expect((await take(changes, 1)).map(({ key }) => key)).toEqual(['a'])
  })

  it('does not miss a large commit that was under way at the call', async () => {
    for (let steps = 1; ; steps++) {
      const { state, holdCommit, holdRequest } = await farStore()
      await state.setMany(stateOf('old'))
      let saved = false
      const save = holdCommit(() => state.save(stateOf('new')).then(() => (saved = true)), steps)
      await settle()
      if (saved) {
        save.release()
        break
      }
      const { result: changes, release } = holdRequest(() => state.watch())
      save.release()
      await save.result
      release()
      await settle()
      await state.set('last', true)
      const told = (await take(changes, COUNT + 1)).map(({ key }) => key)
      expect(new Set(told), `after ${steps} commits`).toEqual(new Set([...Object.keys(stateOf('')), 'last']))
    }
  })

  describe.each(['get', 'has', 'getMany', 'load', 'size'] as const)(
    'when %s() was asked after the call',
    call => {
      const read = (state: Persistence): Promise<unknown> => {
        const reads = {
          get: () => state.get('a'),
          has: () => state.has('a'),
          getMany: () => state.getMany(['a']),
          load: () => state.load(),
          size: () => state.size(),
        }
        return reads[call]()
      }

      it('does not miss what that did not show', async () => {
        const { state, other, holdRequest } = await farStore()
        await state.set('a', 'old')
        const { result: changes, release } = holdRequest(() => state.watch())
        await read(state)
        await other.set('a', 'new')
        release()
        await settle()
        await state.set('last', true)
        expect((await take(changes, 2)).map(({ key, value }) => [key, value])).toEqual([
          ['a', 'new'],
          ['last', true],
        ])
      })

      it('does not miss that if it is answered later, either', async () => {
        const { state, other, holdRequest, holdAnswer } = await farStore()
        await state.set('a', 'old')
        const { result: changes, release } = holdRequest(() => state.watch())
        const late = holdAnswer(() => read(state))
        await settle()
        await other.set('a', 'new')
        release()
        await settle()
        late.release()
        await late.result
        await state.set('last', true)
        expect((await take(changes, 2)).map(({ key }) => key)).toEqual(['a', 'last'])
      })
    },
  )

  it('does not miss a large commit of another host that a read did not show', async () => {
    for (let steps = 1; ; steps++) {
      const { state, other, holdOther, holdRequest } = await farStore()
      await state.setMany(stateOf('old'))
      const save = holdOther(() => other.save(stateOf('new')), steps)
      await settle()
      const { result: changes, release } = holdRequest(() => state.watch())
      const [shown] = Object.values(await state.load())
      save.release()
      await save.result
      if (shown === 'new') break
      release()
      await settle()
      await state.set('last', true)
      const told = (await take(changes, COUNT + 1)).map(({ key }) => key)
      expect(new Set(told), `after ${steps} commits`).toEqual(new Set([...Object.keys(stateOf('')), 'last']))
    }
  })

  it('tells of nothing that was answered before the call, whatever is answered late', async () => {
    const { state, other, holdAnswer, holdRequest } = await farStore()
    await other.set('by another host', 1)
    const size = holdAnswer(() => state.size())
    await settle()
    await state.set('before', 1)
    const changes = holdRequest(() => state.watch())
    size.release()
    await size.result
    changes.release()
    await state.set('a', 1)
    expect((await take(changes.result, 1)).map(({ key }) => key)).toEqual(['a'])
  })

  it('ends with the store, though the server is still asked', async () => {
    const { state, other, holdRequest } = await farStore()
    await other.close()
    const { result: changes, release } = holdRequest(() => state.watch())
    const waiting = changes.next()
    await state.close()
    release()
    expect(await waiting).toEqual({ done: true, value: undefined })
  })
})
