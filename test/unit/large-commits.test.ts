import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { History } from '../../src/history/history.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { Change, Engine, Persistence } from '../../src/index.ts'
import { rejection } from '../support/byte-streams.ts'
import { dyingEngine, interceptCommits } from '../support/intercepted-engine.ts'
import { openWithLimits } from '../support/open.ts'
import {
  ENGINES,
  type EngineName,
  newPlace,
  type Place,
  take,
  temporaryFolder,
  toArray,
} from '../support/stores.ts'

/** So low that a patch of a few keys is staged, and rolled forward over several commits. */
const LOW: Partial<HistoryLimits> = { patchKeys: 3, stageRows: 2, freeKeys: 2 }

type State = Record<string, unknown>

const OLD: State = { a: 1, b: { n: 1 }, c: 1, d: 'same', e: 1, f: [1], g: 1 }
const NEW: State = { a: 2, b: { n: 2 }, d: 'same', e: 2, h: 1, i: 1, j: { new: true } }

async function open(engine: Engine): Promise<{ state: Persistence; history: History }> {
  const { persistence: state, history } = await openWithLimits(engine, LOW)
  onTestFinished(() => state.close())
  return { state, history }
}

/** A store that has held NEW, then something else, and now OLD; its snapshots, in order, with what they hold. */
async function prepare(name: EngineName): Promise<{ place: Place; snapshots: [string, State][] }> {
  const place = await newPlace(name)
  const { state, history } = await open(place.engine())
  const states: State[] = [NEW, { a: 0, z: 1 }, OLD]
  const snapshots: [string, State][] = []
  for (const data of states) {
    await state.save(data)
    snapshots.push([await state.createSnapshot(), data])
  }
  await history.maintain()
  await state.close()
  return { place, snapshots }
}

interface LargeCommit {
  readonly run: (state: Persistence, file: string) => Promise<unknown>
  readonly result: State
}

/** The large commits there are, from OLD to what each leaves. */
const LARGE: Record<string, LargeCommit> = {
  save: { run: state => state.save(NEW), result: NEW },
  clear: { run: state => state.clear(), result: {} },
  restoreSnapshot: { run: state => state.restoreSnapshot('v1'), result: NEW },
  importData: { run: (state, file) => state.importData(file), result: NEW },
  importSnapshot: { run: (state, file) => state.importSnapshot(`${file}.snapshot`), result: OLD },
}

/** Files to import: one of NEW, and a snapshot of it from another store. */
async function writeFiles(): Promise<string> {
  const file = join(await temporaryFolder(), 'new.json')
  await writeFile(file, JSON.stringify({ data: NEW }))
  const other = await (await newPlace('memory')).open()
  await other.save(NEW)
  await other.exportSnapshot(await other.createSnapshot(), `${file}.snapshot`)
  return file
}

/** That everything readable says that the state is `expected`. */
async function expectState(state: Persistence, expected: State): Promise<void> {
  const keys = [...new Set([...Object.keys(OLD), ...Object.keys(NEW), 'z'])].sort()
  expect(await state.load()).toEqual(expected)
  expect(await state.size()).toBe(Object.keys(expected).length)
  expect(await state.getMany(keys)).toEqual(keys.map(key => expected[key]))
  for (const key of keys) {
    expect(await state.get(key), key).toEqual(expected[key])
    expect(await state.has(key), key).toBe(key in expected)
  }
  const present = Object.keys(expected).sort()
  expect(await toArray(state.keys())).toEqual(present)
  expect(await toArray(state.keys({ reverse: true }))).toEqual(present.reverse())
  expect(await toArray(state.values({ gte: 'b', lt: 'f' }))).toEqual(
    keys.filter(key => key >= 'b' && key < 'f' && key in expected).map(key => expected[key]),
  )
}

/** Does something when rows that nobody touched for long count as left behind. */
async function muchLater(work: () => Promise<void>): Promise<void> {
  const now = Date.now.bind(Date)
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now() + 24 * 60 * 60 * 1000)
  try {
    await work()
  } finally {
    clock.mockRestore()
  }
}

async function expectSnapshots(state: Persistence, snapshots: readonly [string, State][]): Promise<void> {
  expect((await state.listSnapshots()).map(({ version }) => version)).toEqual(snapshots.map(([v]) => v))
  for (const [version, data] of snapshots) {
    expect(await state.getSnapshotData(version), version).toEqual(data)
    for (const key of Object.keys(OLD)) expect(await state.at(version).get(key)).toEqual(data[key])
  }
}

describe.each(ENGINES)('a large commit, on %s', name => {
  /** Every point at which a process may die on one engine is enough; on the other, some of them. */
  const step = name === 'memory' ? 1 : 5

  describe.each(Object.entries(LARGE))('%s', (call, { run, result }) => {
    it('is wholly made, or wholly not, wherever the process dies', async () => {
      const file = await writeFiles()
      const outcomes = { old: 0, new: 0, acknowledged: 0 }
      for (let commits = 1; outcomes.acknowledged === 0; commits += step) {
        expect(commits).toBeLessThan(60)
        const { place, snapshots } = await prepare(name)
        const dying = await open(dyingEngine(place.engine(), commits - 1))
        const acknowledged = await run(dying.state, file).then(
          () => true,
          () => false,
        )
        await dying.state.close()

        // Whoever opens it next finishes what had been decided.
        const { state, history } = await open(place.engine())
        const imported = call === 'importSnapshot' && (await state.listSnapshots()).length === 4
        const made = call === 'importSnapshot' ? imported : (await state.get('a')) !== OLD['a']
        const expected: [string, State][] = imported ? [...snapshots, ['v4', NEW]] : snapshots
        await expectState(state, made ? result : OLD)
        await expectSnapshots(state, expected)
        expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
        outcomes[made ? 'new' : 'old']++
        if (acknowledged) {
          expect(made).toBe(true)
          outcomes.acknowledged++
        }

        // It is as good a store as any: it can be changed, snapshotted, compared and cleaned up.
        await state.set('after', commits)
        const version = await state.createSnapshot()
        await muchLater(() => history.maintain())
        expect((await state.getMetrics()).storage.tables.staged?.entries ?? 0).toBe(0)
        await expectSnapshots(state, [...expected, [version, { ...(made ? result : OLD), after: commits }]])
        expect((await toArray(state.diff('v3', 'head'))).map(({ key }) => key)).toContain('after')
        for (const { version: dropped } of await state.listSnapshots()) await state.deleteSnapshot(dropped)
        await history.maintain()
        expect((await state.getMetrics()).storage.tables.history?.entries ?? 0).toBe(0)
        expect(await state.load()).toEqual({ ...(made ? result : OLD), after: commits })
        await state.close()
      }
      // There were points before and after the decision.
      expect(outcomes.old).toBeGreaterThan(0)
      expect(outcomes.new).toBeGreaterThan(1)
    })

    it('is finished by another open of the store that commits next, if its own process is gone', async () => {
      const file = await writeFiles()
      for (let commits = 4; ; commits += step) {
        const { place, snapshots } = await prepare(name)
        const witness = await open(place.engine())
        const dying = await open(dyingEngine(place.engine(), commits))
        const acknowledged = await run(dying.state, file).then(
          () => true,
          () => false,
        )
        await dying.state.close()
        const before = await witness.state.load()
        expect([OLD, result]).toContainEqual(before)
        await witness.state.set('next', commits)
        const { next, ...rest } = await witness.state.load()
        expect(next).toBe(commits)
        expect([OLD, result]).toContainEqual(rest)
        const imported = (await witness.state.listSnapshots()).length === 4
        await expectSnapshots(witness.state, imported ? [...snapshots, ['v4', NEW]] : snapshots)
        expect(await witness.state.verify()).toMatchObject({ ok: true, problems: [] })
        if (acknowledged) break
      }
    })

    it('shows readers and watchers the old state until it is published, then all of it at once', async () => {
      const file = await writeFiles()
      const { place, snapshots } = await prepare(name)
      const witness = await open(place.engine())
      const iterator = witness.state.entries()
      const first = await iterator.next()
      const seen = { old: 0, new: 0 }
      let looking = false
      const look = async (): Promise<void> => {
        if (!looking) return
        const published =
          call === 'importSnapshot'
            ? (await witness.state.listSnapshots()).length > snapshots.length
            : (await witness.state.get('a')) !== OLD['a']
        // Watchers have had the time to look, too.
        await nextTurn()
        if (!published) expect(told).toEqual([])
        await expectState(witness.state, published ? result : OLD)
        if (!published) await expectSnapshots(witness.state, snapshots)
        seen[published ? 'new' : 'old']++
      }
      const engine = interceptCommits(place.engine(), { before: look, after: look })
      const { state } = await open(engine)
      const told: Change[] = []
      // Of the store that makes the commit, since it hears of each step at once.
      const changes = state.watch()
      const following = (async () => {
        for await (const change of changes) told.push(change)
      })()
      looking = true
      await run(state, file)
      expect(seen.old).toBeGreaterThan(8)
      expect(seen.new).toBeGreaterThan(0)
      looking = false
      await expectState(witness.state, result)
      if (first.done !== true) {
        const entries = [first.value, ...(await toArray(iterator))]
        expect(Object.fromEntries(entries)).toEqual(OLD)
      }
      // Then everything is told, with one commit after another.
      await state.set('last', true)
      const keys = new Set(Object.keys({ ...OLD, ...result }))
      const differing = [...keys].filter(key => JSON.stringify(OLD[key]) !== JSON.stringify(result[key]))
      while (!told.some(({ key }) => key === 'last')) await nextTurn()
      await changes.return?.()
      await following
      expect(told.map(({ key }) => key).sort()).toEqual([...differing, 'last'].sort())
    })
  })

  it('takes up what others write while it is prepared', async () => {
    const { place } = await prepare(name)
    const witness = await open(place.engine())
    let commits = 0
    const engine = interceptCommits(place.engine(), {
      async before() {
        commits++
        // Saved data counts for every key, whenever another was faster.
        if (commits === 2) await witness.state.setMany({ a: 'overtaken', added: 'overtaken', d: 'overtaken' })
      },
    })
    const { state } = await open(engine)
    await state.save(NEW)
    expect(await witness.state.load()).toEqual(NEW)
    expect(await witness.state.verify()).toMatchObject({ ok: true })
  })

  it('keeps others from committing only while it is rolled forward, and loses none of theirs', async () => {
    const { place } = await prepare(name)
    const witness = await open(place.engine())
    const writes: Promise<unknown>[] = []
    const engine = interceptCommits(place.engine(), {
      before: commit => void writes.push(witness.state.set(`written ${commit}`, commit)),
    })
    const { state } = await open(engine)
    await state.restoreSnapshot('v1')
    await Promise.all(writes)
    const data = await state.load()
    // Each was made before the restored state, which then has it no longer, or after it.
    const written = Object.keys(data).filter(key => key.startsWith('written'))
    expect(written.length).toBeGreaterThan(0)
    for (const key of written) delete data[key]
    expect(data).toEqual(NEW)
    expect(await state.verify()).toMatchObject({ ok: true })
  })

  it('is one of several at once, whichever comes last', async () => {
    const { place } = await prepare(name)
    const stores = [await open(place.engine()), await open(place.engine())]
    const many = (n: number): State =>
      Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`k${(i * n) % 17}`, n]))
    const candidates = [1, 2, 3, 4].map(many)
    const summaries = await Promise.all(
      candidates.map((data, i) => (stores[i % 2] as (typeof stores)[number]).state.save(data)),
    )
    expect(candidates).toContainEqual(await stores[0]?.state.load())
    for (const { set, unchanged } of summaries) expect(set + unchanged).toBe(12)
    expect(await stores[1]?.state.verify()).toMatchObject({ ok: true })
  })

  it('counts what it did, as a small one does', async () => {
    const { place } = await prepare(name)
    const { state } = await open(place.engine())
    expect(await state.save(NEW)).toMatchObject({ set: 6, deleted: 3, unchanged: 1 })
    expect(await state.save(NEW)).toMatchObject({ set: 0, deleted: 0, unchanged: 7 })
    expect(await state.restoreSnapshot('v3')).toMatchObject({ set: 6, deleted: 3, unchanged: 1 })
    expect(await state.clear()).toMatchObject({ set: 0, deleted: 7, unchanged: 0 })
  })

  it('leaves the state as it was when an import is cancelled, however far it has come', async () => {
    const file = join(await temporaryFolder(), 'large.jsonl')
    const lines = Array.from({ length: 4000 }, (_, i) =>
      JSON.stringify({ key: `key ${i}`, value: 'x'.repeat(500) }),
    )
    await writeFile(file, `${lines.join('\n')}\n`)
    for (const after of [500, 1000, 2500, 4000]) {
      const { place, snapshots } = await prepare(name)
      const { state, history } = await openWithLimits(place.engine(), { ...LOW, stageRows: 500 }).then(
        ({ persistence, history }) => ({ state: persistence, history }),
      )
      onTestFinished(() => state.close())
      const controller = new AbortController()
      const reason = new Error('enough')
      const importing = state.importData(file, {
        signal: controller.signal,
        onProgress: ({ entries }) => {
          if (entries >= after) controller.abort(reason)
        },
      })
      expect(await rejection(importing)).toBe(reason)
      await expectState(state, OLD)
      await expectSnapshots(state, snapshots)
      await history.maintain()
      expect((await state.getMetrics()).storage.tables.staged?.entries ?? 0).toBe(0)
      expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
    }
  })

  it('leaves the state as it was when a file turns out to be damaged near its end', async () => {
    const { place, snapshots } = await prepare(name)
    const { state, history } = await open(place.engine())
    const file = join(await temporaryFolder(), 'damaged.json')
    const entries = Array.from({ length: 50 }, (_, i) => `"key ${i}":${i}`)
    for (const end of ['', ',"key 7":0}}', '}', ',"last":oops}}', ',"":1}}']) {
      await writeFile(file, `{"data":{${entries.join(',\n')}${end}`)
      await expect(state.importData(file)).rejects.toMatchObject({ code: 'IMPORT' })
      await expectState(state, OLD)
    }
    await history.maintain()
    await expectSnapshots(state, snapshots)
    expect((await state.getMetrics()).storage.tables.staged?.entries ?? 0).toBe(0)
  })

  it('goes through when a commit fails once and the next ones do not', async () => {
    for (let failing = 1; failing < 14; failing += step) {
      const { place, snapshots } = await prepare(name)
      let isFull = true
      const engine = interceptCommits(place.engine(), {
        before(commit) {
          if (isFull && commit === failing) throw new Error('the disk was full for a moment')
        },
      })
      const { state } = await open(engine)
      await state.save(NEW).catch(error => expect(error.message).toBe('the disk was full for a moment'))
      isFull = false
      const made = (await state.get('a')) === NEW['a']
      await expectState(state, made ? NEW : OLD)
      await expectSnapshots(state, snapshots)
      await state.save(NEW)
      await expectState(state, NEW)
      expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
    }
  })

  it('may end without its acknowledgement', async () => {
    for (let lost = 1; lost < 14; lost += step) {
      const { place, snapshots } = await prepare(name)
      const engine = interceptCommits(place.engine(), {
        after(commit) {
          if (commit === lost) throw new Error('the connection is gone')
        },
      })
      const { state } = await open(engine)
      await state.save(NEW).catch(error => expect(error.message).toBe('the connection is gone'))
      const { state: again } = await open(place.engine())
      const made = (await again.get('a')) === NEW['a']
      await expectState(again, made ? NEW : OLD)
      await expectSnapshots(again, snapshots)
      expect(await take(again.entries(), 3)).toHaveLength(3)
    }
  })
})

describe.each(ENGINES)('a restore of a few keys, on %s', name => {
  it('preserves what others have written and sealed since it looked', async () => {
    const place = await newPlace(name)
    const { persistence: witness } = await openWithLimits(place.engine(), {})
    await witness.save({ a: 1, b: 1, c: 1, d: 1 })
    const first = await witness.createSnapshot()
    await witness.save({ a: 2, b: 2, c: 2 })
    const second = await witness.createSnapshot()
    let third = ''
    const engine = interceptCommits(place.engine(), {
      async before() {
        if (third !== '') return
        await witness.setMany({ a: 3, d: 3, e: 3 })
        await witness.delete('b')
        third = await witness.createSnapshot()
      },
    })
    const { persistence: state } = await openWithLimits(engine, {})
    expect(await state.restoreSnapshot(first)).toMatchObject({ set: 4, deleted: 1, unchanged: 0 })
    expect(await state.load()).toEqual({ a: 1, b: 1, c: 1, d: 1 })
    expect(await state.getSnapshotData(second)).toEqual({ a: 2, b: 2, c: 2 })
    expect(await state.getSnapshotData(third)).toEqual({ a: 3, c: 2, d: 3, e: 3 })
    expect(await state.verify()).toMatchObject({ ok: true })
    await state.close()
    await witness.close()
  })
})
