import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { encodeKey } from '../../src/core/key.ts'
import { decodeHead, encodeHead, HEAD_KEY } from '../../src/history/head.ts'
import type { History } from '../../src/history/history.ts'
import { readVersions } from '../../src/history/reader.ts'
import { TOMBSTONE } from '../../src/history/record.ts'
import { dropSnapshots, listSnapshotRows } from '../../src/history/snapshot-table.ts'
import type { Engine, Persistence, ReadableState } from '../../src/index.ts'
import { SnapshotNotFoundError } from '../../src/index.ts'
import { dyingEngine, interceptCommits } from '../support/intercepted-engine.ts'
import { openWithLimits } from '../support/open.ts'
import { EMBEDDED, type EngineName, newPlace, temporaryFolder, toArray } from '../support/stores.ts'

/** A store whose background work is done when the test asks for it. */
interface Store {
  readonly state: Persistence
  readonly history: History
  /** The births of all versions of a key, the current one included, oldest first; a tombstone has a minus. */
  births(key: string): Promise<number[]>
  /** The number of rows in a table. */
  rows(table: 'history' | 'changes'): Promise<number>
}

async function openStore(engine: Engine, limits: Parameters<typeof openWithLimits>[1] = {}): Promise<Store> {
  const { persistence: state, history } = await openWithLimits(engine, limits)
  onTestFinished(() => state.close())
  return {
    state,
    history,
    async births(key) {
      const versions = await history.view(view => readVersions(view, encodeKey(key)))
      return versions.map(({ birth, codec }) => (codec === TOMBSTONE ? -birth : birth))
    },
    rows: async table => (await state.getMetrics()).storage.tables[table]?.entries ?? 0,
  }
}

async function newStore(name: EngineName): Promise<Store> {
  return openStore((await newPlace(name)).engine())
}

const NOT_FOUND = { name: 'SnapshotNotFoundError', code: 'SNAPSHOT_NOT_FOUND' }

describe.each(EMBEDDED)('what a write preserves, on %s', name => {
  it('keeps a version that a snapshot sees when it is overwritten', async () => {
    const { state, births } = await newStore(name)
    await state.set('k', 'old')
    await state.createSnapshot()
    await state.set('k', 'new')
    expect(await births('k')).toEqual([1, 2])
    expect(await state.at('v1').get('k')).toBe('old')
    expect(await state.get('k')).toBe('new')
  })

  it('keeps it when it is deleted, and the deletion from its epoch on', async () => {
    const { state, births } = await newStore(name)
    await state.set('k', 'old')
    await state.createSnapshot()
    await state.delete('k')
    await state.createSnapshot()
    expect(await births('k')).toEqual([1, -2])
    expect(await state.at('v1').get('k')).toBe('old')
    expect(await state.at('v2').has('k')).toBe(false)
    expect(await state.has('k')).toBe(false)
    expect(await toArray(state.at('v2').keys())).toEqual([])
  })

  it('preserves nothing for further writes in the same epoch', async () => {
    const { state, births } = await newStore(name)
    await state.set('k', 0)
    await state.createSnapshot()
    for (let i = 1; i < 5; i++) await state.set('k', i)
    expect(await births('k')).toEqual([1, 2])
    expect(await state.at('v1').get('k')).toBe(0)
  })

  it('preserves nothing that no snapshot sees', async () => {
    const { state, births } = await newStore(name)
    await state.createSnapshot()
    await state.set('k', 1)
    await state.createSnapshot()
    await state.deleteSnapshot('v2')
    await state.set('k', 2)
    expect(await births('k')).toEqual([3])
  })

  it('goes by the newest snapshot that remains', async () => {
    const { state, births } = await newStore(name)
    await state.set('k', 1)
    await state.createSnapshot()
    await state.createSnapshot()
    await state.deleteSnapshot('v2')
    await state.set('k', 2)
    expect(await births('k')).toEqual([1, 3])
    expect(await state.at('v1').get('k')).toBe(1)
  })

  it('remembers a deletion in the epoch of the last write, where an older version exists', async () => {
    const { state, births } = await newStore(name)
    await state.set('k', 1)
    await state.createSnapshot()
    await state.set('k', 2)
    await state.delete('k')
    expect(await state.has('k')).toBe(false)
    await state.createSnapshot()
    expect(await births('k')).toEqual([1, -2])
    expect(await state.at('v2').has('k')).toBe(false)
    expect(await toArray(state.keys())).toEqual([])
  })

  it('leaves no tombstone where no older version exists, nor a second one after another', async () => {
    const { state, births } = await newStore(name)
    await state.createSnapshot()
    await state.set('k', 1)
    await state.delete('k')
    expect(await births('k')).toEqual([])
    await state.set('k', 1)
    await state.createSnapshot()
    await state.delete('k')
    await state.createSnapshot()
    await state.set('k', 3)
    await state.delete('k')
    expect(await births('k')).toEqual([2, -3])
  })

  it('lets the live record win over a tombstone of its epoch', async () => {
    const { state, history } = await newStore(name)
    await state.set('k', 'old')
    await state.createSnapshot()
    await state.delete('k')
    await state.set('k', 'again')
    await state.createSnapshot()
    const check = async (): Promise<void> => {
      const second = state.at('v2')
      expect(await second.get('k')).toBe('again')
      expect(await second.getMany(['k'])).toEqual(['again'])
      expect(await toArray(second.entries())).toEqual([['k', 'again']])
      expect(await toArray(second.entries({ reverse: true }))).toEqual([['k', 'again']])
      expect(await state.at('v1').get('k')).toBe('old')
      expect(await toArray(state.history('k'))).toEqual([
        { version: 'v2', value: 'again' },
        { version: 'v1', value: 'old' },
      ])
    }
    await check()
    expect(await state.load()).toEqual({ k: 'again' })
    await state.compact()
    await check()
    await state.delete('k')
    await check()
    await state.compact()
    await check()
    await state.deleteSnapshot('v1')
    await history.maintain()
    expect(await state.at('v2').get('k')).toBe('again')
  })
})

describe.each(EMBEDDED)('what freeing leaves, on %s', name => {
  it('is what a remaining snapshot, or the open epoch, sees', async () => {
    const { state, history, births } = await newStore(name)
    for (let n = 1; n <= 5; n++) {
      await state.set('changed', n)
      if (n === 2) await state.set('constant', 'from v2 on')
      await state.createSnapshot()
    }
    expect(await births('changed')).toEqual([1, 2, 3, 4, 5])
    const steps: [dropped: string, left: number[]][] = [
      ['v3', [1, 2, 4, 5]],
      ['v1', [2, 4, 5]],
      // The current value stays: the open epoch counts as a snapshot.
      ['v5', [2, 4, 5]],
      ['v2', [4, 5]],
      ['v4', [5]],
    ]
    for (const [dropped, left] of steps) {
      await state.deleteSnapshot(dropped)
      await history.maintain()
      expect(await births('changed'), `after ${dropped}`).toEqual(left)
      expect(await births('constant')).toEqual([2])
      for (const { version } of await state.listSnapshots()) {
        expect(await state.at(version).get('changed')).toBe(Number(version.slice(1)))
      }
    }
    expect(await state.load()).toEqual({ changed: 5, constant: 'from v2 on' })
    expect(await state.verify()).toMatchObject({ ok: true })
  })

  it('holds a version between two snapshots that only the dropped one between them saw no longer', async () => {
    const { state, history, births } = await newStore(name)
    await state.set('k', 'a')
    await state.createSnapshot()
    await state.set('k', 'b')
    await state.createSnapshot()
    await state.createSnapshot()
    await state.set('k', 'c')
    await state.deleteSnapshot('v2')
    await history.maintain()
    // v3 sees it as well.
    expect(await births('k')).toEqual([1, 2, 4])
    await state.deleteSnapshot('v3')
    await history.maintain()
    expect(await births('k')).toEqual([1, 4])
  })

  it('includes a trailing tombstone while an older version stays', async () => {
    const { state, history, births } = await newStore(name)
    await state.set('k', 'old')
    await state.createSnapshot()
    await state.createSnapshot()
    await state.delete('k')
    await state.deleteSnapshot('v2')
    await history.maintain()
    // No snapshot sees the tombstone; without it the current state would show the old value again.
    expect(await births('k')).toEqual([1, -3])
    expect(await state.get('k')).toBeUndefined()
    expect(await state.load()).toEqual({})
    expect(await toArray(state.keys())).toEqual([])
    expect(await state.at('v1').get('k')).toBe('old')
  })

  it('does not include a trailing tombstone once no older version is left', async () => {
    const { state, history, births } = await newStore(name)
    await state.set('k', 'old')
    await state.createSnapshot()
    await state.delete('k')
    await state.createSnapshot()
    await state.deleteSnapshot('v1')
    await history.maintain()
    expect(await births('k')).toEqual([])
    expect(await state.at('v2').has('k')).toBe(false)
  })

  it('does not include a leading tombstone: it goes with the version before it', async () => {
    const { state, history, births } = await newStore(name)
    await state.set('k', 'old')
    await state.createSnapshot()
    await state.delete('k')
    await state.createSnapshot()
    await state.set('k', 'new')
    await state.createSnapshot()
    await state.delete('k')
    expect(await births('k')).toEqual([1, -2, 3, -4])
    await state.deleteSnapshot('v1')
    await history.maintain()
    expect(await births('k')).toEqual([3, -4])
    expect(await state.at('v2').has('k')).toBe(false)
    expect(await state.at('v3').get('k')).toBe('new')
  })

  it('is the same for many keys, looked through a few at a time', async () => {
    const { state, history, rows } = await openStore((await newPlace(name)).engine(), { freeKeys: 3 })
    const keys = Array.from({ length: 50 }, (_, i) => `key ${i}`)
    for (let n = 1; n <= 3; n++) {
      await state.setMany(keys.map(key => [key, n] as const))
      await state.createSnapshot()
    }
    expect(await rows('history')).toBe(100)
    await state.deleteSnapshot('v1')
    await state.deleteSnapshot('v2')
    await history.maintain()
    expect(await rows('history')).toBe(0)
    expect(await state.at('v3').getMany(keys)).toEqual(keys.map(() => 3))
  })

  it('is nothing of the past without snapshots, also after large commits', async () => {
    const limits = { patchKeys: 2, stageRows: 2 }
    const { state, history, rows } = await openStore((await newPlace(name)).engine(), limits)
    await state.save({ a: 1, b: 1, c: 1, d: 1, e: 1 })
    await state.save({ a: 2, b: 2, c: 2, d: 2, f: 2 })
    await state.clear()
    await history.maintain()
    expect(await rows('history')).toBe(0)
    expect(await rows('changes')).toBe(0)
    expect(await state.load()).toEqual({})
  })
})

/** All orders of a list. */
function* permutations<T>(items: readonly T[]): Generator<T[]> {
  if (items.length === 0) yield []
  for (const [i, item] of items.entries()) {
    for (const rest of permutations(items.toSpliced(i, 1))) yield [item, ...rest]
  }
}

describe.each(EMBEDDED)('restoring back and forth, on %s', name => {
  const STATES = [{ a: 1, b: 1 }, { a: 2, c: 1 }, { b: 1, c: 2, d: [1] }, {}]
  const VERSIONS = STATES.map((_, i) => `v${i + 1}`)

  it.each([...permutations(VERSIONS)])('then deleting %s, %s, %s, %s', async (...order) => {
    const { state, history, rows } = await newStore(name)
    for (const data of STATES) {
      await state.save(data)
      await state.createSnapshot()
    }
    // Back to each, and to the newest in between, with snapshots of what was restored.
    for (const version of ['v1', 'v4', 'v3', 'v1', 'v2']) {
      await state.restoreSnapshot(version)
      await state.createSnapshot()
    }
    const remaining = new Map<string, object>([
      ...STATES.map((data, i) => [`v${i + 1}`, data] as const),
      ...[0, 3, 2, 0, 1].map((i, n) => [`v${n + 5}`, STATES[i] as object] as const),
    ])
    for (const [i, version] of [...order, 'v6', 'v9', 'v5', 'v8', 'v7'].entries()) {
      await state.deleteSnapshot(version)
      remaining.delete(version)
      // Sometimes freed after each, sometimes several together.
      if (i % 3 !== 1) await history.maintain()
      for (const [left, data] of remaining) expect(await state.getSnapshotData(left)).toEqual(data)
      expect(await state.load()).toEqual(STATES[1])
    }
    await history.maintain()
    expect(await rows('history')).toBe(0)
    expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
  })
})

describe.each(EMBEDDED)('change lists, on %s', name => {
  it('of a dropped snapshot count for the next one', async () => {
    const place = await newPlace(name)
    const { state, history } = await openStore(place.engine())
    await state.set('k', 0)
    await state.createSnapshot()
    await state.set('a', 1)
    await state.createSnapshot()
    await state.set('b', 1)
    await state.createSnapshot()
    await state.set('c', 1)
    await state.deleteSnapshot('v2')
    await history.maintain()
    const check = async (current: Persistence): Promise<void> => {
      expect((await current.compareSnapshots('v1', 'v3')).added).toEqual(['a', 'b'])
      expect((await current.compareSnapshots('v1', 'head')).added).toEqual(['a', 'b', 'c'])
      expect((await current.listSnapshots()).map(({ changes }) => changes)).toEqual([1, 2])
    }
    await check(state)
    await state.deleteSnapshot('v3')
    await history.maintain()
    expect((await state.compareSnapshots('v1', 'head')).added).toEqual(['a', 'b', 'c'])
    await state.restoreSnapshot('v1')
    expect(await state.load()).toEqual({ k: 0 })
  })

  it('up to the new oldest snapshot go with the oldest, and its own stays', async () => {
    const place = await newPlace(name)
    const { state, history, rows } = await openStore(place.engine())
    for (let n = 1; n <= 4; n++) {
      await state.setMany({ [`a${n}`]: 1, [`b${n}`]: 1, all: n })
      await state.createSnapshot()
    }
    await history.maintain()
    expect(await rows('changes')).toBe(4)
    await state.deleteSnapshot('v1')
    await history.maintain()
    expect(await rows('changes')).toBe(3)
    await state.deleteSnapshot('v3')
    await history.maintain()
    expect(await rows('changes')).toBe(3)
    await state.deleteSnapshot('v2')
    await history.maintain()
    expect(await rows('changes')).toBe(1)
    await state.close()
    // Asked anew, as costs once counted are remembered.
    const again = await openStore(place.engine())
    expect((await again.state.listSnapshots()).map(({ version, changes }) => [version, changes])).toEqual([
      ['v4', 3],
    ])
  })

  it('stay as long as freeing needs them, where more is dropped while it is under way', async () => {
    const engine = (await newPlace(name)).engine()
    let onCommit = async (): Promise<void> => undefined
    const intercepted = interceptCommits(engine, { before: () => onCommit() })
    const { state, history, births } = await openStore(intercepted)
    for (let n = 1; n <= 4; n++) {
      await state.set(`only in ${n}`, n)
      await state.set(`until ${n}`, n)
      for (let m = 1; m < n; m++) await state.delete(`until ${m}`)
      await state.createSnapshot()
    }
    await history.maintain()
    let commits = 0
    onCommit = async () => {
      // The first commit drops v1, the second frees, the third ends that.
      if (++commits !== 3) return
      await engine.commit(async (view, batch) => {
        const head = decodeHead(await view.get('meta', HEAD_KEY))
        const all = await listSnapshotRows(view)
        const dropped = await dropSnapshots(view, batch, head, all, new Set([2, 3]))
        batch.put('meta', HEAD_KEY, encodeHead(dropped))
      })
    }
    await state.deleteSnapshot('v1')
    await history.maintain()
    expect(commits).toBeGreaterThan(3)
    for (const n of [1, 2, 3]) expect(await births(`until ${n}`), `until ${n}`).toEqual([])
    expect(await state.getSnapshotData('v4')).toEqual({
      'only in 1': 1,
      'only in 2': 2,
      'only in 3': 3,
      'only in 4': 4,
      'until 4': 4,
    })
  })
})

describe.each(EMBEDDED)('a dropped snapshot, on %s', name => {
  /** Everything that reads a snapshot, by a view that was made before. */
  const READS: Record<string, (view: ReadableState, state: Persistence) => Promise<unknown>> = {
    get: view => view.get('k'),
    getMany: view => view.getMany(['k']),
    has: view => view.has('k'),
    keys: view => toArray(view.keys()),
    values: view => toArray(view.values()),
    entries: view => toArray(view.entries({ reverse: true })),
    size: view => view.size(),
    load: view => view.load(),
    getSnapshotData: (_, state) => state.getSnapshotData('v2'),
    restoreSnapshot: (_, state) => state.restoreSnapshot('v2'),
    restoreSnapshotByTag: (_, state) => state.restoreSnapshotByTag('second'),
    createDeltaSnapshot: (_, state) => state.createDeltaSnapshot({ baseVersion: 'v2' }),
    compareSnapshots: (_, state) => state.compareSnapshots('v1', 'v2'),
    compareWithHead: (_, state) => state.compareSnapshots('v2', 'head'),
    diff: (_, state) => toArray(state.diff('v2', 'v3')),
    tagSnapshot: (_, state) => state.tagSnapshot('v2', 'a'),
    untagSnapshot: (_, state) => state.untagSnapshot('v2', 'second'),
    deleteSnapshot: (_, state) => state.deleteSnapshot('v2'),
  }

  it('never answers with an older value: not right after the drop, nor when it is freed', async () => {
    // Commits of the background work wait until the test lets them go.
    let release = (): void => undefined
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    let holding = false
    const engine = interceptCommits((await newPlace(name)).engine(), {
      before: () => (holding ? held : undefined),
    })
    const { state, history, births } = await openStore(engine)
    for (let n = 1; n <= 3; n++) {
      await state.set('k', n)
      await state.createSnapshot(n === 2 ? { tag: 'second' } : {})
    }
    await history.maintain()
    const view = state.at('v2')
    expect(await view.get('k')).toBe(2)
    await state.deleteSnapshot('v2')
    holding = true
    expect((await state.listSnapshots()).map(({ version }) => version)).toEqual(['v1', 'v3'])
    expect(await state.listTags()).toEqual({})
    for (const [call, read] of Object.entries(READS)) {
      if (!['tagSnapshot', 'untagSnapshot', 'deleteSnapshot'].includes(call))
        await expect(read(view, state), call).rejects.toMatchObject(NOT_FOUND)
    }
    holding = false
    release()
    await history.maintain()
    expect(await births('k')).toEqual([1, 3])
    for (const [call, read] of Object.entries(READS)) {
      await expect(read(view, state), call).rejects.toMatchObject(NOT_FOUND)
    }
    expect(await state.load()).toEqual({ k: 3 })
    expect(await toArray(state.history('k'))).toEqual([
      { version: 'v3', value: 3 },
      { version: 'v1', value: 1 },
    ])
  })

  /** Two snapshots, of so much that reading either takes several pages, and something else since. */
  async function largeStore(): Promise<Store & { readonly second: Map<string, Buffer> }> {
    const store = await newStore(name)
    const keys = Array.from({ length: 40 }, (_, i) => `key ${String(i).padStart(2, '0')}`)
    const fill = (): Map<string, Buffer> => new Map(keys.map(key => [key, randomBytes(100_000)]))
    const second = fill()
    for (const data of [fill(), second]) {
      await store.state.setMany(data)
      await store.state.createSnapshot()
    }
    await store.state.setMany(fill())
    return { ...store, second }
  }

  /** Reads entries that must all be those of `expected`, and says how many there were before the error, if any. */
  async function readEntries(
    entries: AsyncIterable<readonly [string, unknown]>,
    expected: ReadonlyMap<string, Buffer>,
  ): Promise<{ readonly count: number; readonly error?: unknown }> {
    let count = 0
    try {
      for await (const [key, value] of entries) {
        expect(expected.get(key)?.equals(value as Buffer), key).toBe(true)
        count++
      }
    } catch (error) {
      return { count, error }
    }
    return { count }
  }

  it.each([false, true])('ends an iteration with an error (reverse: %s)', async reverse => {
    const { state, history, second } = await largeStore()
    const before = state.at('v2').entries({ reverse })
    const freed = state.at('v2').entries({ reverse })
    for (const entries of [before, freed]) expect((await entries.next()).done).toBe(false)
    await state.deleteSnapshot('v2')
    const first = await readEntries(before, second)
    await history.maintain()
    const last = await readEntries(freed, second)
    for (const { count, error } of [first, last]) {
      // What had been read by then may still be handed out.
      expect(count).toBeLessThan(39)
      expect(error).toBeInstanceOf(SnapshotNotFoundError)
    }
  })

  it.each([false, true])(
    'is looked for anew by an iteration that takes long (reverse: %s)',
    async reverse => {
      const { state, history, second } = await largeStore()
      const now = performance.now.bind(performance)
      let pages = 0
      const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + 10_000 * pages++)
      onTestFinished(() => clock.mockRestore())
      expect(await readEntries(state.at('v2').entries({ reverse }), second)).toEqual({ count: 40 })
      const entries = state.at('v2').entries({ reverse })
      await entries.next()
      await state.deleteSnapshot('v2')
      await history.maintain()
      const { count, error } = await readEntries(entries, second)
      expect(count).toBeLessThan(39)
      expect(error).toBeInstanceOf(SnapshotNotFoundError)
    },
  )

  it('is loaded, compared and exported whole or not at all while it is dropped', async () => {
    const { state, history, second } = await largeStore()
    const whole = (data: Record<string, unknown>): 'whole' => {
      expect(Object.keys(data)).toEqual([...second.keys()])
      for (const [key, value] of second) expect(value.equals(data[key] as Buffer), key).toBe(true)
      return 'whole'
    }
    const file = join(await temporaryFolder(), 'snapshot')
    const reads = (): Promise<string>[] =>
      [
        state.getSnapshotData('v2').then(whole),
        toArray(state.diff('v2', 'head')).then(found =>
          whole(Object.fromEntries(found.map(({ key, before }) => [key, before]))),
        ),
        state.exportSnapshot('v2', file).then(() => 'whole'),
      ].map(read =>
        read.catch(error => {
          expect(error).toBeInstanceOf(SnapshotNotFoundError)
          return 'gone'
        }),
      )
    const before = reads()
    const dropped = state.deleteSnapshot('v2')
    const during = reads()
    await dropped
    const maintained = history.maintain()
    expect(await Promise.all(reads())).toEqual(['gone', 'gone', 'gone'])
    await maintained
    const [, , exported] = await Promise.all([...before, ...during])
    // Whatever was exported is that snapshot.
    if (exported === 'whole' && (await readdir(dirname(file))).length > 0) {
      const other = await (await newPlace(name)).open()
      whole(await other.getSnapshotData(await other.importSnapshot(file)))
    }
  })

  it('is gone or whole wherever the process dies, and freeing goes on from there', async () => {
    let died = true
    for (let commits = 1; died; commits++) {
      const place = await newPlace(name)
      const { state, history } = await openStore(place.engine(), { freeKeys: 2 })
      const states: Record<string, unknown>[] = []
      for (let n = 1; n <= 4; n++) {
        const data = { a: n, b: n % 2, [`only ${n}`]: n, c: 1, d: [n] }
        await state.save(data)
        await state.createSnapshot()
        states.push(data)
      }
      await history.maintain()
      await state.close()

      const dying = await openStore(dyingEngine(place.engine(), commits - 1), { freeKeys: 2 })
      died = await Promise.resolve()
        .then(() => dying.state.deleteSnapshot('v2'))
        .then(() => dying.state.pruneSnapshots({ keepLast: 1 }))
        .then(() => dying.history.maintain())
        .then(
          () => false,
          () => true,
        )
      await dying.state.close()

      const again = await openStore(place.engine())
      const versions = (await again.state.listSnapshots()).map(({ version }) => version)
      expect(versions).toContain('v4')
      for (const version of versions) {
        const expected = states[Number(version.slice(1)) - 1]
        expect(await again.state.getSnapshotData(version), `${version}, ${commits} commits`).toEqual(expected)
      }
      expect(await again.state.load()).toEqual(states[3])
      await again.history.maintain()
      expect(await again.state.verify()).toMatchObject({ ok: true })
      // Whatever was dropped is freed in the end.
      for (const version of versions.filter(left => left !== 'v4')) {
        await again.state.deleteSnapshot(version)
      }
      await again.history.maintain()
      expect(await again.rows('history'), `${commits} commits`).toBe(0)
      expect(commits).toBeLessThan(50)
    }
  })
})

describe.each(EMBEDDED)('the retention policy, on %s', name => {
  const versions = async (state: Persistence): Promise<string[]> =>
    (await state.listSnapshots()).map(({ version }) => version)

  async function snapshots(state: Persistence, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      await state.update('n', (n = 0) => (n as number) + 1)
      await state.createSnapshot()
    }
  }

  it('lives in the store: given by one open, it applies to another that gives none', async () => {
    const place = await newPlace(name)
    const first = await place.open({ maxSnapshots: 2 })
    await snapshots(first, 4)
    expect(await versions(first)).toEqual(['v3', 'v4'])
    await first.close()
    const second = await place.open()
    await snapshots(second, 1)
    expect(await versions(second)).toEqual(['v4', 'v5'])
    await second.close()
    const third = await place.open({ retention: { keepLast: 3, keepTags: ['kept'] } })
    await third.tagSnapshot('v4', 'kept')
    await snapshots(third, 4)
    expect(await versions(third)).toEqual(['v4', 'v7', 'v8', 'v9'])
    await third.close()
    const fourth = await place.open()
    await snapshots(fourth, 1)
    expect(await versions(fourth)).toEqual(['v4', 'v8', 'v9', 'v10'])
  })

  it('is not replaced by an open that leaves the option out, only by one that lifts it', async () => {
    const place = await newPlace(name)
    const keeping = await place.open({ maxSnapshots: 1 })
    const another = await place.open()
    await snapshots(another, 3)
    expect(await versions(keeping)).toEqual(['v3'])
    const lifting = await place.open({ maxSnapshots: 0 })
    await snapshots(keeping, 3)
    expect(await versions(lifting)).toEqual(['v3', 'v4', 'v5', 'v6'])
  })

  it('keeps every snapshot of a store that was never given one', async () => {
    const state = await (await newPlace(name)).open()
    await snapshots(state, 30)
    expect(await versions(state)).toHaveLength(30)
  })

  it('counts untagged snapshots, and removes tagged ones only when told to', async () => {
    const place = await newPlace(name)
    const state = await place.open({ maxSnapshots: 1 })
    await state.createSnapshot({ tag: 'release' })
    await snapshots(state, 3)
    expect(await versions(state)).toEqual(['v1', 'v4'])
    const pruning = await place.open({ retention: { keepLast: 2, pruneTagged: true } })
    await snapshots(pruning, 1)
    expect(await versions(pruning)).toEqual(['v4', 'v5'])
  })

  it('is applied with each snapshot, by whoever takes them at once', async () => {
    const place = await newPlace(name)
    const opened = [await place.open({ maxSnapshots: 3 }), await place.open(), await place.open()]
    await Promise.all(opened.map(state => snapshots(state, 8)))
    for (const state of opened) expect(await versions(state)).toEqual(['v22', 'v23', 'v24'])
  })

  it('frees what it removes', async () => {
    const place = await newPlace(name)
    const { state, history, births } = await openStore(place.engine())
    await place.open({ maxSnapshots: 2 })
    for (let n = 1; n <= 6; n++) {
      await state.set('k', n)
      await state.createSnapshot()
    }
    await history.maintain()
    expect(await births('k')).toEqual([5, 6])
  })
})
