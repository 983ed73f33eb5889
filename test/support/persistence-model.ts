import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import type { Engine, Row, Table, View } from '../../src/engine/engine.ts'
import { firstListedEpoch, readChangedKeys } from '../../src/history/change-list.ts'
import { summarizeChanges } from '../../src/history/change-summary.ts'
import type { History } from '../../src/history/history.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import { parseRecord, TOMBSTONE } from '../../src/history/record.ts'
import { listSnapshotRows } from '../../src/history/snapshot-table.ts'
import { versionsOf } from '../../src/history/version-row.ts'
import { createPersistence } from '../../src/index.ts'
import type { Persistence } from '../../src/persistence/persistence.ts'
import { differences, Model, type ModelState, sortedKeys, toObject } from './model.ts'
import { openWithLimits } from './open.ts'
import { withSmallPages } from './small-pages.ts'

const KEYS = [
  'a',
  'b',
  'b\0',
  'c',
  '__proto__',
  '\u{1f600}',
  '\uffff',
  'k/1',
  'k/2',
  'k/3',
  'k/10',
  'constructor',
]
const key = fc.constantFrom(...KEYS)
const value = fc.oneof(
  // Long enough that a patch, or a delta, is shorter than the value.
  {
    weight: 2,
    arbitrary: fc.record(
      { n: fc.nat(3), note: fc.constantFrom('y'.repeat(150), 'z'.repeat(150)) },
      { noNullPrototype: true },
    ),
  },
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 3 }) },
  {
    weight: 2,
    arbitrary: fc.record({ n: fc.nat(3), s: fc.constantFrom('x', 'y') }, { noNullPrototype: true }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(null, [], {}, new Date(5), new Map([['a', 1]]), -0, 10n, 'x'.repeat(2000)),
  },
)
const entries = fc.dictionary(key, value, { maxKeys: 8, noNullPrototype: true })
/** Picks a snapshot by its place in the list. */
const pick = fc.nat(100)

/** States that files for import hold: most keys, some of them, none. */
const FILES: readonly Record<string, unknown>[] = [
  Object.fromEntries(KEYS.map((name, i) => [name, i % 4])),
  { b: 1, 'k/1': { n: 1, s: 'x' }, 'k/2': 'y'.repeat(150) },
  {},
]

/** A call that replaces or extends the state, as one of several at once. */
type Large =
  | readonly ['save', Record<string, unknown>]
  | readonly ['clear']
  | readonly ['restore', number]
  | readonly ['importData', number]
  | readonly ['importSnapshot', number]
  | readonly ['setMany', Record<string, unknown>]
  | readonly ['snapshot']
  | readonly ['watch']

/** Which of the two open stores makes a call, and how long after the one before: so many small reads take place. */
interface Overlapping {
  readonly call: Large
  readonly store: 0 | 1
  readonly turns: number
}

type Command =
  | readonly ['set', string, unknown]
  | readonly ['delete', string]
  | readonly ['setMany', Record<string, unknown>]
  | readonly ['update', string, unknown]
  | readonly ['asyncUpdate', string, unknown]
  | readonly ['transaction', readonly (readonly [string, unknown])[]]
  | readonly ['save', Record<string, unknown>]
  | readonly ['clear']
  | readonly ['snapshot', string | undefined]
  | readonly ['deltaSnapshot']
  | readonly ['restore', number]
  | readonly ['restoreByTag', string]
  | readonly ['deleteSnapshot', number]
  | readonly ['prune', number]
  | readonly ['tag', number, string]
  | readonly ['untag', number, string]
  | readonly ['reopen']
  | readonly ['maintain']
  | readonly ['compact']
  | readonly ['concurrent', readonly (readonly [string, unknown])[]]
  | readonly ['overlapping', readonly Overlapping[]]
  | readonly ['importData', number]
  | readonly ['importSnapshot', number]
  | readonly ['otherStore']
  | readonly ['watch']
  | readonly ['compare', number, number]

const large: fc.Arbitrary<Large> = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(fc.constant('save' as const), entries) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('clear' as const)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('restore' as const), pick) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('importData' as const), fc.nat(FILES.length - 1)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('importSnapshot' as const), fc.nat(FILES.length - 1)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('setMany' as const), entries) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('snapshot' as const)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('watch' as const)) },
)
const overlapping: fc.Arbitrary<Overlapping> = fc.record({
  call: large,
  store: fc.constantFrom(0, 1),
  turns: fc.oneof(fc.nat(6), fc.nat(60)),
})

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 12, arbitrary: fc.tuple(fc.constant('set' as const), key, value) },
  { weight: 6, arbitrary: fc.tuple(fc.constant('delete' as const), key) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('setMany' as const), entries) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('update' as const), key, value) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('asyncUpdate' as const), key, value) },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.constant('transaction' as const),
      fc.array(fc.tuple(key, fc.option(value)), { maxLength: 5 }),
    ),
  },
  { weight: 2, arbitrary: fc.tuple(fc.constant('save' as const), entries) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('clear' as const)) },
  {
    weight: 10,
    arbitrary: fc.tuple(fc.constant('snapshot' as const), fc.constantFrom(undefined, 'red', 'blue')),
  },
  { weight: 2, arbitrary: fc.tuple(fc.constant('deltaSnapshot' as const)) },
  { weight: 4, arbitrary: fc.tuple(fc.constant('restore' as const), pick) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('restoreByTag' as const), fc.constantFrom('red', 'blue')) },
  { weight: 6, arbitrary: fc.tuple(fc.constant('deleteSnapshot' as const), pick) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('prune' as const), fc.integer({ min: 1, max: 3 })) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('tag' as const), pick, fc.constantFrom('red', 'blue')) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('untag' as const), pick, fc.constantFrom('red', 'blue')) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('reopen' as const)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('maintain' as const)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('compact' as const)) },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.constant('concurrent' as const),
      fc.array(fc.tuple(key, fc.option(value)), { maxLength: 8 }),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.constant('overlapping' as const),
      fc.array(overlapping, { minLength: 2, maxLength: 4 }),
    ),
  },
  { weight: 1, arbitrary: fc.tuple(fc.constant('importData' as const), fc.nat(FILES.length - 1)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('importSnapshot' as const), fc.nat(FILES.length - 1)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('otherStore' as const)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('watch' as const)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('compare' as const), pick, pick) },
)

/** A file to import, and a file of a snapshot, with the same state in them. */
interface ImportFiles {
  readonly data: string
  readonly snapshot: string
  readonly state: ModelState
}

interface OpenStore {
  readonly persistence: Persistence
  readonly history: History
}

/** What follows the changes of a store, from a state on. */
interface Follower {
  readonly persistence: Persistence
  readonly state: ModelState
  /** Resolves once it is told of the last change. */
  readonly reached: Promise<void>
  /** Resolves once it is told of the last change again. Rejects where the watcher has missed too much. */
  readonly ended: Promise<void>
  stop(): Promise<void>
}

/**
 * Made after all others. A watcher that has fallen behind is told of keys in the order in which they are stored, and of
 * encrypted ones in any: so it is made again once a watcher has been told of it.
 */
const LAST_CHANGE = '\u{10ffff} last change'

/** One place, opened once or twice at a time, and the model of it, driven side by side. */
class Pair {
  readonly model = new Model()
  readonly #openStore: () => Promise<OpenStore>
  readonly #files: readonly ImportFiles[]
  /** The stores that are open; commands go to the first. */
  #stores: OpenStore[] = []
  #follower: Follower | undefined

  constructor(openStore: () => Promise<OpenStore>, files: readonly ImportFiles[]) {
    this.#openStore = openStore
    this.#files = files
  }

  get persistence(): Persistence {
    return (this.#stores[0] as OpenStore).persistence
  }

  get history(): History {
    return (this.#stores[0] as OpenStore).history
  }

  async open(): Promise<void> {
    this.#stores.unshift(await this.#openStore())
  }

  async close(): Promise<void> {
    await this.#follower?.stop()
    for (const { persistence } of this.#stores) await persistence.close()
  }

  #pick(place: number): string | undefined {
    const { snapshots } = this.model
    return snapshots.length === 0 ? undefined : snapshots[place % snapshots.length]?.version
  }

  async run(command: Command): Promise<void> {
    const { model, persistence } = this
    switch (command[0]) {
      case 'set':
        await persistence.set(command[1], command[2])
        model.state.set(command[1], command[2])
        break
      case 'delete':
        assert.equal(await persistence.delete(command[1]), model.state.delete(command[1]))
        break
      case 'setMany':
        await persistence.setMany(Object.entries(command[1]))
        for (const [k, v] of Object.entries(command[1])) model.state.set(k, v)
        break
      case 'update':
      case 'asyncUpdate': {
        const next = (old: unknown): unknown => [old ?? null, command[2]].slice(0, 2)
        const change = command[0] === 'update' ? next : async (old: unknown): Promise<unknown> => next(old)
        const expected = next(structuredClone(model.state.get(command[1])))
        // Bounded: values would otherwise nest deeper with every update.
        if (JSON.stringify(command[2], (_k, v) => (typeof v === 'bigint' ? '' : v)).length > 500) break
        assert.deepEqual(await persistence.update(command[1], change), expected)
        model.state.set(command[1], expected)
        break
      }
      case 'transaction':
        await persistence.transaction(async transaction => {
          for (const [k, v] of command[1]) {
            assert.deepEqual(await transaction.get(k), model.state.get(k))
            if (v === null) {
              assert.equal(await transaction.delete(k), model.state.delete(k))
            } else {
              transaction.set(k, v)
              model.state.set(k, v)
            }
            assert.equal(await transaction.has(k), model.state.has(k))
          }
        })
        break
      case 'save': {
        const before = model.copy()
        const after: ModelState = new Map(Object.entries(command[1]))
        const summary = await persistence.save(command[1])
        const changed = differences(before, after)
        const deleted = changed.filter(({ type }) => type === 'removed').length
        assert.deepEqual(
          { set: summary.set, deleted: summary.deleted, unchanged: summary.unchanged },
          { set: changed.length - deleted, deleted, unchanged: after.size - (changed.length - deleted) },
        )
        model.state = structuredClone(after)
        break
      }
      case 'clear':
        assert.equal((await persistence.clear()).deleted, model.state.size)
        model.state = new Map()
        break
      case 'snapshot': {
        const tag = command[1]
        const version = await persistence.createSnapshot(tag === undefined ? {} : { tag })
        model.snapshots.push({ version, state: model.copy(), tags: new Set(tag === undefined ? [] : [tag]) })
        break
      }
      case 'deltaSnapshot': {
        const version = await persistence.createDeltaSnapshot()
        model.snapshots.push({ version, state: model.copy(), tags: new Set() })
        break
      }
      case 'restore': {
        const version = this.#pick(command[1])
        if (version === undefined) break
        await persistence.restoreSnapshot(version)
        model.state = structuredClone(model.find(version).state)
        break
      }
      case 'restoreByTag': {
        const found = model.snapshots.filter(snapshot => snapshot.tags.has(command[1])).at(-1)
        if (found === undefined) {
          await assert.rejects(persistence.restoreSnapshotByTag(command[1]), { code: 'SNAPSHOT_NOT_FOUND' })
          break
        }
        await persistence.restoreSnapshotByTag(command[1])
        model.state = structuredClone(found.state)
        break
      }
      case 'deleteSnapshot': {
        const version = this.#pick(command[1])
        if (version === undefined) break
        await persistence.deleteSnapshot(version)
        model.snapshots = model.snapshots.filter(snapshot => snapshot.version !== version)
        await assert.rejects(persistence.getSnapshotData(version), { code: 'SNAPSHOT_NOT_FOUND' })
        break
      }
      case 'prune': {
        // By age, and those of files are as old as their files.
        const byAge = (await persistence.listSnapshots()).sort((a, b) => +a.createdAt - +b.createdAt)
        await persistence.pruneSnapshots({ keepLast: command[1] })
        const untagged = byAge
          .map(({ version }) => model.find(version))
          .filter(snapshot => snapshot.tags.size === 0)
        const gone = new Set(untagged.slice(0, Math.max(0, untagged.length - command[1])))
        model.snapshots = model.snapshots.filter(snapshot => !gone.has(snapshot))
        break
      }
      case 'tag':
      case 'untag': {
        const version = this.#pick(command[1])
        if (version === undefined) break
        if (command[0] === 'tag') {
          await persistence.tagSnapshot(version, command[2])
          model.find(version).tags.add(command[2])
        } else {
          await persistence.untagSnapshot(version, command[2])
          model.find(version).tags.delete(command[2])
        }
        break
      }
      case 'reopen':
        await this.checkFollower()
        await persistence.close()
        this.#stores.shift()
        await this.open()
        break
      case 'otherStore':
        if (this.#stores.length === 1) await this.open()
        else this.#stores.reverse()
        break
      case 'importData': {
        const { data, state } = this.#files[command[1]] as ImportFiles
        await persistence.importData(data)
        model.state = structuredClone(state)
        break
      }
      case 'importSnapshot': {
        const { snapshot, state } = this.#files[command[1]] as ImportFiles
        const version = await persistence.importSnapshot(snapshot)
        // One that is here already is not added again.
        if (model.snapshots.some(known => known.version === version)) break
        model.snapshots.push({ version, state: structuredClone(state), tags: new Set() })
        break
      }
      case 'watch':
        await this.#follower?.stop()
        this.#follower = follow(persistence)
        break
      case 'overlapping':
        await this.#overlap(command[1])
        break
      case 'compare': {
        const [one, other] = [this.#pick(command[1]), this.#pick(command[2])]
        if (one === undefined || other === undefined) break
        const expected = differences(model.find(one).state, model.find(other).state)
        assert.deepStrictEqual(await collect(persistence.diff(one, other)), expected)
        break
      }
      case 'compact':
        await this.history.pack()
        break
      case 'maintain':
        await this.history.maintain()
        break
      case 'concurrent': {
        // Asked for in one tick, they are committed in the order in which they were asked for.
        const results = command[1].map(([k, v]) =>
          v === null ? persistence.delete(k) : persistence.set(k, v),
        )
        const expected = command[1].map(([k, v]) =>
          v === null ? model.state.delete(k) : void model.state.set(k, v),
        )
        assert.deepEqual(await Promise.all(results), expected)
        break
      }
    }
  }

  /** Begins calls without waiting for those before: they must end as if made one after the other, in some order. */
  async #overlap(calls: readonly Overlapping[]): Promise<void> {
    const { model } = this
    if (this.#stores.length === 1 && calls.some(({ store }) => store === 1)) await this.open()
    // The calls of one kind that add snapshots are alike but for their versions, which are given in the order made.
    const before = new Set(model.snapshots.map(({ version }) => version))
    const effects: ((state: ModelState) => { state?: ModelState; snapshot?: ModelState })[] = []
    const running: Promise<unknown>[] = []
    for (const { call, store, turns } of calls) {
      const { persistence } = this.#stores[store % this.#stores.length] as OpenStore
      for (let turn = 0; turn < turns; turn++) await persistence.size()
      switch (call[0]) {
        case 'save': {
          const after = new Map(Object.entries(call[1]))
          running.push(persistence.save(call[1]))
          effects.push(() => ({ state: after }))
          break
        }
        case 'clear':
          running.push(persistence.clear())
          effects.push(() => ({ state: new Map() }))
          break
        case 'restore': {
          const version = this.#pick(call[1])
          if (version === undefined) break
          const after = model.find(version).state
          running.push(persistence.restoreSnapshot(version))
          effects.push(() => ({ state: after }))
          break
        }
        case 'importData': {
          const { data, state } = this.#files[call[1]] as ImportFiles
          running.push(persistence.importData(data))
          effects.push(() => ({ state }))
          break
        }
        case 'importSnapshot': {
          const { snapshot, state } = this.#files[call[1]] as ImportFiles
          running.push(persistence.importSnapshot(snapshot))
          effects.push(() => ({ snapshot: state }))
          break
        }
        case 'setMany':
          running.push(persistence.setMany(Object.entries(call[1])))
          effects.push(state => ({ state: new Map([...state, ...Object.entries(call[1])]) }))
          break
        case 'watch':
          await this.#follower?.stop()
          this.#follower = follow(persistence)
          break
        case 'snapshot':
          running.push(persistence.createSnapshot())
          effects.push(state => ({ snapshot: state }))
          break
      }
    }
    await Promise.all(running)
    const { persistence } = this
    const state = new Map(Object.entries(await persistence.load()))
    const added: { version: string; state: ModelState }[] = []
    for (const { version } of await persistence.listSnapshots()) {
      if (before.has(version)) continue
      added.push({ version, state: new Map(Object.entries(await persistence.getSnapshotData(version))) })
    }
    const explained = permutations(effects).some(order => {
      let expected = model.state
      const snapshots: ModelState[] = []
      for (const effect of order) {
        const done = effect(expected)
        expected = done.state ?? expected
        // Of a file that is imported twice, one snapshot is made.
        if (done.snapshot !== undefined) snapshots.push(done.snapshot)
      }
      return (
        isSameState(expected, state) &&
        added.every(({ state: found }, i) => {
          const at = snapshots.findIndex((snapshot, j) => j >= i && isSameState(snapshot, found))
          if (at === -1) return false
          snapshots.splice(i, at - i)
          return true
        })
      )
    })
    assert.ok(explained, 'the calls did not end as if made one after the other')
    model.state = state
    for (const snapshot of added) model.snapshots.push({ ...snapshot, tags: new Set() })
  }

  /** Who applied all changes in turn has the current state. */
  async checkFollower(): Promise<void> {
    const follower = this.#follower
    if (follower === undefined) return
    // Its own store tells it at once.
    await follower.persistence.set(LAST_CHANGE, 'once')
    await Promise.race([follower.reached, follower.ended.catch(() => undefined)])
    await follower.persistence.set(LAST_CHANGE, 'again')
    const behind = await follower.ended.then(
      () => false,
      error => {
        assert.equal(error.code, 'WATCH_BEHIND')
        return true
      },
    )
    await this.persistence.delete(LAST_CHANGE)
    this.#follower = undefined
    if (!behind) assert.deepStrictEqual(sorted(follower.state), sorted(this.model.state))
  }

  /** The state and every snapshot are what the model says, and the store is sound. */
  async checkStates(): Promise<void> {
    const { model, persistence } = this
    assert.deepStrictEqual(await persistence.load(), toObject(model.state))
    assert.equal(await persistence.size(), model.state.size)
    for (const { version, state } of model.snapshots) {
      assert.deepStrictEqual(await persistence.getSnapshotData(version), toObject(state))
    }
    const { ok, problems } = await persistence.verify()
    assert.deepEqual({ ok, problems }, { ok: true, problems: [] })
  }

  /** Everything that can be read is what the model says. */
  async check(): Promise<void> {
    const { model, persistence } = this
    await this.checkStates()
    assert.deepEqual(await collect(persistence.keys()), sortedKeys(model.state))
    assert.deepEqual(await collect(persistence.keys({ reverse: true })), sortedKeys(model.state).reverse())
    for (const k of KEYS) assert.deepStrictEqual(await persistence.get(k), model.state.get(k))
    const infos = await persistence.listSnapshots()
    assert.deepEqual(
      infos.map(({ version, tags }) => [version, [...tags].sort()]),
      model.snapshots.map(({ version, tags }) => [version, [...tags].sort()]),
    )
    for (const { version, state } of model.snapshots) {
      const view = persistence.at(version)
      assert.deepStrictEqual(
        await view.getMany(KEYS),
        KEYS.map(k => state.get(k)),
      )
      assert.deepEqual(
        await collect(view.keys({ reverse: true, gt: 'a', lte: 'k/3' })),
        [...sortedKeys(state).filter(k => order(k, 'a') > 0 && order(k, 'k/3') <= 0)].reverse(),
      )
      assert.equal(await view.size(), state.size)
    }
    for (const [i, { version, state }] of model.snapshots.entries()) {
      assert.deepStrictEqual(
        await collect(persistence.diff(version, 'head')),
        differences(state, model.state),
      )
      const other = model.snapshots[(i + 1) % model.snapshots.length] as {
        version: string
        state: ModelState
      }
      assert.deepStrictEqual(
        await collect(persistence.diff(version, other.version)),
        differences(state, other.state),
      )
    }
    for (const k of KEYS.slice(0, 4))
      assert.deepEqual(await collect(persistence.history(k)), this.#historyOf(k))
    await this.#checkBytes()
  }

  /** What the store says of the bytes and changes between snapshots, against a look at every record and list. */
  async #checkBytes(): Promise<void> {
    await this.history.view(async (view, head) => {
      if (head.pending !== 0) return
      const sealed = (await listSnapshotRows(view)).map(({ epoch }) => epoch)
      const counted = [...sealed, head.epoch].map(() => 0)
      const count = (birth: number, bytes: number): void => {
        const index = sealed.findIndex(epoch => birth <= epoch)
        const at = index < 0 ? sealed.length : index
        counted[at] = (counted[at] ?? 0) + bytes
      }
      for await (const row of rowsOf(view, 'live')) {
        count(parseRecord(row.key, row.value).birth, row.value.byteLength)
      }
      for await (const row of rowsOf(view, 'history')) {
        const births = versionsOf(row).filter(({ codec }) => codec !== TOMBSTONE)
        let left = row.value.byteLength
        for (const [i, { birth }] of births.entries()) {
          const share = i === births.length - 1 ? left : Math.floor(row.value.byteLength / births.length)
          count(birth, share)
          left -= share
        }
      }
      const ends = [...sealed, head.epoch]
      const ranges = ends.map((through, i) => ({ after: ends[i - 1] ?? 0, through }))
      const { limits } = this.history
      const told = await summarizeChanges(view, ranges, limits)
      assert.deepEqual(
        told.map(({ bytes }) => bytes),
        counted,
      )
      const from = await firstListedEpoch(view)
      for (const [i, { after, through }] of ranges.entries()) {
        const listed = { after: Math.max(after, from - 1), through }
        const { keys } = await readChangedKeys(view, listed, { ...limits, pageKeys: 1_000_000 })
        assert.equal(told[i]?.changes, keys.length)
      }
    })
  }

  #historyOf(k: string): unknown[] {
    const found: unknown[] = []
    let before: ModelState = new Map()
    for (const { version, state } of this.model.snapshots) {
      const [change] = differences(
        new Map([...before].filter(([n]) => n === k)),
        new Map([...state].filter(([n]) => n === k)),
      )
      if (change?.type === 'removed') found.unshift({ version, deleted: true })
      else if (change !== undefined) found.unshift({ version, value: change.after })
      before = state
    }
    return found
  }
}

/** Applies every change from now on to a copy of the state. */
function follow(persistence: Persistence): Follower {
  const state: ModelState = new Map()
  const watcher = persistence.watch()
  let reach = (): void => undefined
  const reached = new Promise<void>(resolve => {
    reach = resolve
  })
  const ended = (async () => {
    // What is committed in between is told as well: also the last change, if it comes that soon.
    for (const [name, value] of Object.entries(await persistence.load())) {
      if (name !== LAST_CHANGE) state.set(name, value)
    }
    for await (const { key, type, value } of watcher) {
      if (key === LAST_CHANGE) {
        reach()
        if (value === 'again') return
        continue
      }
      if (type === 'removed' || value === undefined) state.delete(key)
      else state.set(key, value)
    }
  })()
  ended.catch(() => undefined)
  return {
    persistence,
    state,
    reached,
    ended,
    async stop() {
      await watcher.return?.()
      await ended.catch(() => undefined)
    },
  }
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((item, i) =>
    permutations(items.filter((_, j) => j !== i)).map(rest => [item, ...rest]),
  )
}

function isSameState(a: ModelState, b: ModelState): boolean {
  return a.size === b.size && differences(a, b).length === 0
}

function sorted(state: ModelState): [string, unknown][] {
  return sortedKeys(state).map(name => [name, state.get(name)])
}

async function* rowsOf(view: View, table: Table): AsyncGenerator<Row> {
  let gt: Uint8Array | undefined
  for (let more = true; more; ) {
    const page = await view.scan(table, { gt })
    yield* page.rows
    gt = page.rows.at(-1)?.key ?? gt
    more = page.more
  }
}

function order(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

/** Small numbers, so that a few keys reach what otherwise takes many; each sequence leaves some limits as they are. */
const few = fc.constantFrom(1, 2, 3, 5)
const lowLimits: fc.Arbitrary<Partial<HistoryLimits>> = fc.record(
  {
    groupKeys: few,
    groupBytes: fc.constantFrom(50, 400),
    fewGroupKeys: few,
    sliceKeys: few,
    logPartKeys: few,
    patchKeys: few,
    patchBytes: fc.constantFrom(50, 400),
    stageRows: few,
    stageBytes: fc.constantFrom(50, 400),
    catchUpKeys: few,
    runKeys: few,
    chunkKeys: few,
    pageKeys: few,
    sortKeys: few,
    packListEpochs: few,
    packedLists: few,
    packedKeys: few,
    listKeys: few,
    epochRows: few,
    packRows: few,
    unfoldedEntries: fc.constantFrom(1, 4, 16),
    keptLogEntries: fc.constantFrom(1, 4, 16),
    trimRows: few,
    freeKeys: few,
    packEpochs: few,
    packVersions: few,
    packFanOut: few,
    deadKeys: few,
    viewAge: fc.constantFrom(0, 5_000, 5_000),
  },
  { requiredKeys: [], noNullPrototype: true },
)
const packing = fc.record({
  strategy: fc.constantFrom(
    'binary' as const,
    'binary' as const,
    'dict' as const,
    'compress' as const,
    'none' as const,
  ),
  maxChainLength: fc.constantFrom(2, 5, 256),
})

async function runSequence(
  openStore: () => Promise<OpenStore>,
  files: readonly ImportFiles[],
  commands: readonly Command[],
): Promise<void> {
  const pair = new Pair(openStore, files)
  await pair.open()
  try {
    for (const command of commands) await pair.run(command)
    await pair.checkFollower()
    await pair.checkStates()
    await pair.history.pack()
    await pair.check()
    // With every snapshot gone, nothing of the past is kept.
    if (pair.model.snapshots.length <= 2) {
      for (const { version } of pair.model.snapshots) await pair.persistence.deleteSnapshot(version)
      pair.model.snapshots = []
      await pair.history.maintain()
      await pair.checkStates()
      const { history } = (await pair.persistence.getMetrics()).storage.tables
      assert.equal(history?.entries ?? 0, 0)
    }
  } finally {
    await pair.close()
  }
}

async function writeFiles(folder: string): Promise<ImportFiles[]> {
  const files: ImportFiles[] = []
  for (const [i, state] of FILES.entries()) {
    const data = join(folder, `${i}.jsonl`)
    const snapshot = join(folder, `${i}.snapshot`)
    await using source = await createPersistence()
    await source.save(state)
    await source.exportData(data)
    await source.exportSnapshot(await source.createSnapshot(), snapshot)
    files.push({ data, snapshot, state: new Map(Object.entries(state)) })
  }
  return files
}

/** A sequence that takes longer than this hangs. In milliseconds. */
const SEQUENCE_TIMEOUT = 30_000

/** How a random test of an engine is made. */
export interface SequenceOptions {
  readonly sequences: number
  readonly maxLength: number
  /** In so many of a hundred sequences, limits are low. */
  readonly lowLimits: number
  /** In so many of a hundred, scans of the engine end after a few rows. */
  readonly smallPages: number
}

/**
 * Drives stores through random sequences of calls, beside a model that is a list of deep copies. `newPlace` gives what
 * opens the engine of a place that is empty, as often as it is called.
 */
export async function checkSequences(
  newPlace: () => () => Engine,
  { sequences, maxLength, ...percent }: SequenceOptions,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'varve-model-'))
  try {
    const files = await writeFiles(folder)
    const property = fc.asyncProperty(
      fc.array(command, { maxLength, size: 'max' }),
      fc.oneof(
        { weight: percent.lowLimits, arbitrary: lowLimits },
        { weight: 100 - percent.lowLimits, arbitrary: fc.constant({}) },
      ),
      fc.oneof(
        { weight: percent.smallPages, arbitrary: fc.constantFrom(1, 2, 5) },
        { weight: 100 - percent.smallPages, arbitrary: fc.constant(undefined) },
      ),
      packing,
      async (commands, limits, pageRows, chosen) => {
        const open = newPlace()
        const openStore = (): Promise<OpenStore> => {
          const engine = open()
          const paged = pageRows === undefined ? engine : withSmallPages(engine, pageRows)
          return openWithLimits(paged, limits, chosen)
        }
        await runSequence(openStore, files, commands)
      },
    )
    // fast-check prints the seed and the shrunk sequence of a failure.
    await fc.assert(property, { numRuns: sequences, timeout: SEQUENCE_TIMEOUT })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
