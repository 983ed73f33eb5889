import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, test, vi } from 'vitest'
import { ImportError, SnapshotNotFoundError } from '../../src/core/errors.ts'
import type { Engine } from '../../src/engine/engine.ts'
import { lmdb } from '../../src/engine/lmdb.ts'
import { memory } from '../../src/engine/memory.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import { createPersistence } from '../../src/persistence/create-persistence.ts'
import type { Persistence } from '../../src/persistence/persistence.ts'
import { rejection } from '../support/byte-streams.ts'
import { toObject } from '../support/model.ts'
import { openWithLimits } from '../support/open.ts'

let folder: string
let files = 0
const newPath = (): string => join(folder, `${files++}`)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'varve-snapshots-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const ENGINES: readonly [string, () => Engine][] = [
  ['memory()', () => memory()],
  ['lmdb()', () => lmdb(newPath())],
]

/** So low that an import is staged and rolled forward in several commits. */
const LOW: Partial<HistoryLimits> = { patchKeys: 3, stageRows: 2 }

type State = Record<string, unknown>

/** Takes a snapshot of each state in turn; returns their versions. */
async function layers(store: Persistence, states: readonly State[]): Promise<string[]> {
  const versions: string[] = []
  for (const state of states) {
    await store.save(state)
    versions.push(await store.createSnapshot())
  }
  return versions
}

/** Everything an import has to leave alone. */
async function contents(store: Persistence): Promise<unknown> {
  const snapshots = []
  for (const info of await store.listSnapshots())
    snapshots.push([info, await store.getSnapshotData(info.version)])
  return [await store.load(), await store.size(), snapshots]
}

async function assertSound(store: Persistence): Promise<void> {
  assert.deepEqual((await store.verify()).problems, [])
}

describe.each(ENGINES)('snapshot files on %s', (_, makeEngine) => {
  const opened: Persistence[] = []
  async function open(limits: Partial<HistoryLimits> = LOW): Promise<Persistence> {
    const { persistence } = await openWithLimits(makeEngine(), limits)
    opened.push(persistence)
    return persistence
  }
  afterAll(async () => {
    for (const store of opened) await store.close()
  })

  test('a whole snapshot comes back elsewhere, with all that is known of it', async () => {
    const [here, there] = [await open(), await open()]
    const state = toObject(
      new Map<string, unknown>([
        ['__proto__', { polluted: true }],
        ['map', new Map<unknown, unknown>([[new Date(1), new Set([1n])]])],
        ['date', new Date(5)],
        ['bytes', new Uint8Array([1, 2, 3])],
        ['-0', -0],
        ['large', 'x'.repeat(5_000_000)],
        ['\uffff', null],
        ['\u{1f600}', [undefined]],
        ['b\0', ''],
      ]),
    )
    await here.save(state)
    const userInfo = { by: new Map([['ada', new Date(7)]]) }
    await here.createSnapshot({ tags: ['x', 'y'], description: 'first', userInfo })
    await here.clear()
    await there.save({ own: 1, date: 'other' })
    await there.createSnapshot({ tag: 'mine' })
    await there.set('own', 2)
    const before = await contents(there)

    const path = newPath()
    const { entries } = await here.exportSnapshot('v1', path)
    assert.equal(entries, 9)
    const version = await there.importSnapshot(path)

    assert.equal(version, 'v2')
    assert.deepEqual(await there.getSnapshotData(version), state)
    const [original] = await here.listSnapshots()
    const imported = (await there.listSnapshots()).at(-1)
    for (const name of ['id', 'createdAt', 'tags', 'description', 'userInfo'] as const) {
      assert.deepEqual(imported?.[name], original?.[name], name)
    }
    await there.deleteSnapshot(version)
    assert.deepEqual(await contents(there), before)
    await assertSound(there)
  })

  test('one whole file and many differences rebuild every snapshot', async () => {
    const [here, there] = [await open(), await open()]
    const text = 'a paragraph that stays mostly as it is. '.repeat(40)
    const states = Array.from({ length: 12 }, (_, i): State => {
      const state: State = { text: `${text}${i}`, [`k${i % 7}`]: i, list: [i, i + 1] }
      for (let j = i; j < i + 8; j++) state[`item/${j}`] = { j }
      return state
    })
    const versions = await layers(here, states)
    const paths: string[] = []
    let bytes = 0
    for (const [i, version] of versions.entries()) {
      const path = newPath()
      const options = i === 0 ? {} : { base: versions[i - 1] as string }
      bytes = (await here.exportSnapshot(version, path, options)).bytes
      paths.push(path)
    }
    assert(bytes < 700, `the last difference takes ${bytes} bytes`)

    await there.save({ text: 'another', own: 1 })
    await there.createSnapshot()
    const found: string[] = []
    for (const path of paths) {
      found.push(await there.importSnapshot(path))
      await there.set('own', found.length)
    }
    for (const [i, version] of found.entries()) {
      assert.deepEqual(await there.getSnapshotData(version), states[i], version)
    }
    assert.deepEqual(await there.load(), { text: 'another', own: 12 })
    // Each stands alone, once it is there.
    for (const version of found.slice(0, -1)) await there.deleteSnapshot(version)
    await there.compact()
    assert.deepEqual(await there.getSnapshotData(found.at(-1) as string), states.at(-1))
    assert.deepEqual(await there.load(), { text: 'another', own: 12 })
    await assertSound(there)
  })

  test('a snapshot that is there already is not added again, by calls at once either', async () => {
    const [here, there] = [await open(), await open()]
    await layers(here, [{ a: 1 }, { a: 2, b: 1 }])
    const [whole, difference] = [newPath(), newPath()]
    await here.exportSnapshot('v1', whole)
    await here.exportSnapshot('v2', difference, { base: 'v1' })

    assert.equal(await here.importSnapshot(whole), 'v1')
    assert.deepEqual(
      await Promise.all([
        there.importSnapshot(whole),
        there.importSnapshot(whole),
        there.importSnapshot(whole),
      ]),
      ['v1', 'v1', 'v1'],
    )
    assert.equal(await there.importSnapshot(difference), 'v2')
    assert.equal(await there.importSnapshot(difference), 'v2')
    assert.equal((await there.listSnapshots()).length, 2)
    // Once deleted, it can be had again.
    await there.deleteSnapshot('v2')
    assert.equal(await there.importSnapshot(difference), 'v3')
    assert.deepEqual(await there.getSnapshotData('v3'), { a: 2, b: 1 })
  })

  test('a difference fits also where the base met equal values in another order of properties', async () => {
    const [here, there] = [await open(), await open()]
    const record = (extra: object) => ({ first: 'one', second: 'two', third: 'three', ...extra })
    await layers(here, [
      { a: record({}), b: record({}) },
      { a: record({}), b: record({ n: 1 }) },
      { a: record({ n: 1 }), b: record({ n: 1 }) },
    ])
    const turned = { third: 'three', second: 'two', first: 'one' }
    await there.save({ a: turned, b: turned })
    const paths = [newPath(), newPath(), newPath()]
    for (const [i, path] of paths.entries()) {
      await here.exportSnapshot(`v${i + 1}`, path, i === 0 ? {} : { base: `v${i}` })
      await there.importSnapshot(path)
      await there.set('a', i % 2 === 0 ? record({}) : turned)
    }
    assert.deepEqual(await there.getSnapshotData('v3'), { a: record({ n: 1 }), b: record({ n: 1 }) })
    assert.deepEqual(Object.keys((await there.at('v3').get('a')) as object).at(0), 'first')
  })

  test('what others write during an import stays, and is not in the snapshot', async () => {
    const [here, there] = [await open(), await open()]
    const states = [0, 1].map(round =>
      Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`k${i}`, i % 3 === 0 ? i : i + round])),
    )
    await layers(here, states)
    const [whole, difference] = [newPath(), newPath()]
    await here.exportSnapshot('v1', whole)
    await here.exportSnapshot('v2', difference, { base: 'v1' })
    const own = Array.from({ length: 40 }, (_, i) => [`own/${i}`, i])
    await there.save({ ...states[0], k1: 'mine', ...Object.fromEntries(own) })
    for (const [i, path] of [whole, difference].entries()) {
      const importing = there.importSnapshot(path)
      let done = false
      void importing.finally(() => {
        done = true
      })
      let writes = 0
      const written: State = await there.load()
      while (!done) {
        const key = writes % 2 === 0 ? `k${(writes * 7) % 60}` : `new/${writes % 16}`
        if (writes % 3 === 2) {
          await there.delete(key)
          delete written[key]
        } else {
          await there.set(key, `written ${writes}`)
          written[key] = `written ${writes}`
        }
        writes++
        await nextTurn()
      }
      assert.deepEqual(await there.getSnapshotData(await importing), states[i])
      assert.deepEqual(await there.load(), written)
      assert(writes > 1)
    }
    await assertSound(there)
  })

  test.each(['v1', undefined])(
    'a snapshot deleted during its export leaves no file (base %s)',
    async base => {
      const store = await open({})
      const random = () =>
        Object.fromEntries(
          Array.from({ length: 400 }, (_, i) => [`k${i}`, new Uint8Array(randomBytes(10_000))]),
        )
      await layers(store, [random(), random()])
      const before = await readdir(folder)
      // Every view is old at once, so that each page is read in a view of its own.
      let now = 0
      const clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 60_000))
      let deleting: Promise<void> | undefined
      const exporting = store.exportSnapshot('v2', newPath(), {
        base,
        onProgress: () => {
          deleting ??= store.deleteSnapshot('v2')
        },
      })
      const error = await rejection(exporting).finally(() => clock.mockRestore())
      assert(error instanceof SnapshotNotFoundError, String(error))
      await deleting
      assert.deepEqual(await readdir(folder), before)
    },
  )

  test('a base deleted during an import leaves no snapshot', async () => {
    const [here, there] = [await open(), await open()]
    await layers(here, [{ a: 1 }, { a: 2 }])
    const [whole, difference] = [newPath(), newPath()]
    await here.exportSnapshot('v1', whole)
    await here.exportSnapshot('v2', difference, { base: 'v1' })
    await there.importSnapshot(whole)
    let deleting: Promise<void> | undefined
    const importing = there.importSnapshot(difference, {
      onProgress: () => {
        deleting ??= there.deleteSnapshot('v1')
      },
    })
    const error = await rejection(importing)
    assert(error instanceof ImportError, String(error))
    assert.match(error.message, /base was deleted meanwhile/)
    await deleting
    assert.deepEqual(await there.listSnapshots(), [])
    await assertSound(there)
  })

  test('a stored retention policy does not prune what was just imported', async () => {
    const here = await open()
    await layers(here, [{ a: 1 }, { a: 2 }])
    await using there = await createPersistence({ engine: makeEngine(), maxSnapshots: 1 })
    for (const version of ['v1', 'v2']) {
      const path = newPath()
      await here.exportSnapshot(version, path)
      await there.importSnapshot(path)
    }
    assert.equal((await there.listSnapshots()).length, 2)
    await there.createSnapshot()
    assert.deepEqual(
      (await there.listSnapshots()).map(info => info.version),
      ['v3'],
    )
  })

  test('an import that is cancelled leaves the store as it was', async () => {
    const [here, there] = [await open(), await open()]
    await layers(here, [Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, i]))])
    const path = newPath()
    await here.exportSnapshot('v1', path)
    await layers(there, [{ own: 1 }])
    const before = await contents(there)
    const controller = new AbortController()
    const importing = there.importSnapshot(path, {
      signal: controller.signal,
      onProgress: ({ entries, bytes, bytesTotal }) => {
        assert.equal(bytes, bytesTotal)
        if (entries === 100) controller.abort(new Error('enough'))
      },
    })
    assert.match(String(await rejection(importing)), /enough/)
    assert.deepEqual(await contents(there), before)
  })
})

test('an import whose writer dies at any commit is finished by the next one, or has never been', async () => {
  const [here, path] = [(await openWithLimits(memory(), {})).persistence, newPath()]
  await layers(here, [{ a: 1, b: 'new', c: 3, d: 4 }])
  await here.exportSnapshot('v1', path)
  await here.close()

  const outcomes: number[] = []
  let died = true
  for (let lives = 0; died; lives++) {
    const engine = memory()
    await engine.open()
    const first = (await openWithLimits(engine, LOW)).persistence
    const own = { b: 'old', c: 3, e: 5 }
    await layers(first, [own])
    await first.close()

    let left = lives
    const mortal: Engine = Object.assign(Object.create(engine) as Engine, {
      commit: <T>(...commit: Parameters<typeof engine.commit<T>>) =>
        left-- > 0 ? engine.commit(...commit) : Promise.reject(new Error('the writer died')),
    })
    const writer = (await openWithLimits(mortal, LOW)).persistence
    died = await writer.importSnapshot(path).then(
      () => false,
      () => true,
    )
    await writer.close()

    const next = (await openWithLimits(engine, LOW)).persistence
    const snapshots = await next.listSnapshots()
    outcomes.push(snapshots.length)
    assert.deepEqual(await next.load(), own)
    assert.deepEqual(await next.getSnapshotData('v1'), own)
    const version = await next.importSnapshot(path)
    assert.equal(version, 'v2')
    assert.deepEqual(await next.getSnapshotData(version), { a: 1, b: 'new', c: 3, d: 4 })
    await assertSound(next)
    await next.close()
    await engine.close()
  }
  const finished = outcomes.indexOf(2)
  assert(finished > 2 && outcomes.length > finished + 1, `${outcomes}`)
  assert(
    outcomes.slice(finished).every(count => count === 2),
    `${outcomes}`,
  )
})

const key = fc.constantFrom('a', 'b', 'b\0', 'c', '__proto__', '\u{1f600}', '\uffff', 'k/1', 'k/2')
const value = fc.oneof(
  fc.integer({ min: 0, max: 3 }),
  fc.record({ n: fc.nat(3), s: fc.constantFrom('x', 'y'.repeat(80)) }, { noNullPrototype: true }),
  fc.constantFrom(null, new Date(5), new Map([['a', 1]]), -0, 10n, 'x'.repeat(2000), `y${'x'.repeat(2000)}`),
)
const state = fc.dictionary(key, value, { noNullPrototype: true })

describe.each([
  ['memory()', () => memory(), 50],
  ['lmdb()', () => lmdb(newPath()), 10],
] as const)('random stores on %s', (_, makeEngine, numRuns) => {
  test('every snapshot gets elsewhere, by any way through the others', async () => {
    const scenario = fc.record({
      states: fc.array(state, { minLength: 1, maxLength: 5 }),
      /** For each snapshot but the first exported, a number that picks its base among those before. */
      order: fc.infiniteStream(fc.nat(99)),
      local: fc.array(state, { minLength: 1, maxLength: 8 }),
      limits: fc.constantFrom(LOW, {}),
    })
    await fc.assert(
      fc.asyncProperty(scenario, async ({ states, order, local, limits }) => {
        const here = (await openWithLimits(makeEngine(), limits)).persistence
        const there = (await openWithLimits(makeEngine(), limits)).persistence
        try {
          const rest = (await layers(here, states)).map((version, i) => ({
            version,
            state: states[i] as State,
          }))
          const expected = new Map<string, State>()
          const done: string[] = []
          let step = 0
          while (rest.length > 0) {
            const [next] = rest.splice((order.next().value as number) % rest.length, 1)
            if (next === undefined) break
            const base = done[(order.next().value as number) % (done.length + 1)]
            const path = newPath()
            await here.exportSnapshot(next.version, path, base === undefined ? {} : { base })
            const own = local[step++ % local.length] as State
            await there.save(own)
            if (step % 2 === 0) expected.set(await there.createSnapshot(), own)
            expected.set(await there.importSnapshot(path), next.state)
            done.push(next.version)
            assert.deepEqual(await there.load(), own)
            assert.equal(await there.size(), Object.keys(own).length)
            for (const [version, state] of expected) {
              assert.deepEqual(await there.getSnapshotData(version), state)
            }
          }
          assert.deepEqual(
            (await there.listSnapshots()).map(info => info.version),
            [...expected.keys()],
          )
          await assertSound(there)
        } finally {
          await here.close()
          await there.close()
        }
      }),
      { numRuns },
    )
  })
})
