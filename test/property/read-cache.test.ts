import { deepStrictEqual as same } from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect, isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, it } from 'vitest'
import type { Cache } from '../../src/cache/cache.ts'
import { MemoryCache } from '../../src/cache/memory-cache.ts'
import { PersistentCache } from '../../src/cache/persistent-cache.ts'
import { TieredCache } from '../../src/cache/tiered-cache.ts'
import { SILENT_LOGGER } from '../../src/core/logger.ts'
import type { Engine } from '../../src/engine/engine.ts'
import { copyStore } from '../../src/history/copy-store.ts'
import type { History } from '../../src/history/history.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import { memory, type Persistence, type VersionId } from '../../src/index.ts'
import type { CacheMode } from '../../src/persistence/cached-reads.ts'
import { ReadCache, type ReadCacheLimits } from '../../src/persistence/read-cache.ts'
import { FaultyCache } from '../support/faulty-cache.ts'
import { openWithLimits } from '../support/open.ts'
import { remoteEngine } from '../support/remote-engine.ts'
import { toArray } from '../support/stores.ts'

const HOSTS = 2
const KEYS = Array.from({ length: 12 }, (_, i) => `key ${i}`)

/** Each makes the caches of a store's hosts, which come and go. */
const CACHES: Readonly<Record<string, (folder: string, seed: number) => (host: number) => Cache>> = {
  memory: () => () => new MemoryCache({ maxEntries: 8 }),
  tiny: () => () => new MemoryCache({ maxBytes: 400, policy: 'tinylfu' }),
  persistent: folder => host => new PersistentCache({ path: join(folder, `${host}`) }),
  small: folder => host => new PersistentCache({ path: join(folder, `${host}`), maxBytes: 20_000 }),
  tiered: folder => host =>
    new TieredCache({ memory: { maxEntries: 4 }, disk: { path: join(folder, `${host}`) } }),
  faulty: (_folder, seed) => {
    const held = new Map<string, unknown[]>()
    let opened = seed
    return () => new FaultyCache(opened++, held)
  },
}

type State = ReadonlyMap<string, unknown>

const key = fc.constantFrom(...KEYS)
const keys = fc.array(key, { maxLength: 6 })
const host = fc.nat(HOSTS - 1)
const value = fc.oneof(fc.nat(5), fc.string({ maxLength: 5 }), fc.constant('long '.repeat(500)))
const entries = fc.uniqueArray(fc.tuple(key, value), { selector: ([name]) => name, maxLength: 9 })
const snapshot = fc.nat()

function call<const Name extends string, Rest extends object>(
  weight: number,
  name: Name,
  rest: { [K in keyof Rest]: fc.Arbitrary<Rest[K]> } = {} as never,
): { weight: number; arbitrary: fc.Arbitrary<{ readonly call: Name } & Rest> } {
  const arbitrary = fc.record({ call: fc.constant(name), ...rest }) as fc.Arbitrary<{ call: Name } & Rest>
  return { weight, arbitrary }
}

const read = fc.oneof(
  call(8, 'get', { key }),
  call(1, 'has', { key }),
  call(3, 'getMany', { keys }),
  // In one turn.
  call(3, 'gets', { keys }),
)
const change = fc.oneof(
  call(6, 'set', { key, value }),
  call(2, 'delete', { key }),
  call(2, 'update', { key, value }),
  call(2, 'setMany', { entries }),
  call(2, 'transaction', { keys, entries }),
  call(2, 'save', { entries }),
  call(1, 'importData', { entries }),
  call(1, 'clear'),
  call(1, 'restore', { snapshot }),
)
const PLAIN = ['load', 'entries', 'size', 'listSnapshots', 'compact', 'snapshot', 'prune', 'backup'] as const
const OF_SNAPSHOT = ['at', 'compare', 'getSnapshotData', 'transfer'] as const
const other = fc.oneof(
  { weight: 8, arbitrary: fc.record({ call: fc.constantFrom(...PLAIN) }) },
  { weight: 4, arbitrary: fc.record({ call: fc.constantFrom(...OF_SNAPSHOT), snapshot, key }) },
  call(2, 'reopen'),
  call(2, 'abandon'),
  call(1, 'rollback'),
)
type Read = typeof read extends fc.Arbitrary<infer T> ? T : never
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never
type Other = typeof other extends fc.Arbitrary<infer T> ? T : never

/** A call of a host; a change may have reads of any hosts beside it. */
const step = fc.oneof(
  { weight: 12, arbitrary: fc.record({ host, read }) },
  { weight: 6, arbitrary: fc.record({ host, change }) },
  {
    weight: 3,
    arbitrary: fc.record({ host, change, beside: fc.array(fc.tuple(host, read), { maxLength: 6 }) }),
  },
  { weight: 4, arbitrary: fc.record({ host, other }) },
)

const few = fc.constantFrom(1, 2, 3, 5)
const limits: fc.Arbitrary<Partial<HistoryLimits>> = fc.record(
  {
    groupKeys: few,
    logPartKeys: few,
    patchKeys: few,
    stageRows: few,
    catchUpKeys: few,
    unfoldedEntries: fc.constantFrom(1, 4, 16),
    keptLogEntries: fc.constantFrom(1, 4, 16),
    trimRows: few,
  },
  { requiredKeys: [], noNullPrototype: true },
)
const cacheLimits: fc.Arbitrary<Partial<ReadCacheLimits>> = fc.record(
  { journalInterval: few, knownKeys: fc.constantFrom(2, 6, 100) },
  { requiredKeys: [], noNullPrototype: true },
)

interface Backup {
  readonly engine: Engine
  readonly states: readonly State[]
  readonly snapshots: ReadonlyMap<VersionId, State>
}

/** Hosts that share a store, and what each of them may be shown of the states that it went through. */
class World {
  readonly #open: (engine: Engine, host: number) => Promise<Persistence>
  readonly #folder: string
  readonly #mode: CacheMode
  readonly #engines: Engine[] = []
  #hosts: Persistence[] = []
  readonly #abandoned: Persistence[] = []
  #states: State[] = [new Map()]
  /** The oldest state that a host may be shown. */
  #oldest: number[] = []
  #snapshots = new Map<VersionId, State>()
  #backup: Backup | undefined

  constructor(open: (engine: Engine, host: number) => Promise<Persistence>, folder: string, mode: CacheMode) {
    this.#open = open
    this.#folder = folder
    this.#mode = mode
  }

  async start(engine: Engine): Promise<void> {
    await engine.open()
    this.#engines.push(engine)
    this.#hosts = await Promise.all(Array.from({ length: HOSTS }, (_, i) => this.#open(engine, i)))
    this.#oldest = this.#hosts.map(() => this.#newest)
  }

  async end(): Promise<void> {
    for (const store of [...this.#hosts, ...this.#abandoned]) await store.close()
    for (const engine of this.#engines) await engine.close()
  }

  get #newest(): number {
    return this.#states.length - 1
  }

  get #state(): State {
    return this.#states[this.#newest] as State
  }

  /** The oldest state that a call of a host that begins now may be shown. */
  #from(host: number): number {
    return this.#mode === 'strong' ? this.#newest : (this.#oldest[host] as number)
  }

  /** The host has seen a state: what it calls from now on shows no older one. */
  #see(host: number, state = this.#newest): void {
    this.#oldest[host] = Math.max(this.#oldest[host] as number, state)
  }

  /** Checks that what a host was shown is of one state. */
  #check(host: number, from: number, found: readonly (readonly [string, unknown])[]): void {
    const at = this.#states.findIndex(
      (state, i) => i >= from && found.every(([name, item]) => isDeepStrictEqual(state.get(name), item)),
    )
    if (at < 0) {
      throw new Error(
        `Host ${host} was shown ${inspect(found)}, which is of no state from ${from} to ${this.#newest}: ${inspect(this.#states.slice(from).map(state => found.map(([name]) => state.get(name))))}`,
      )
    }
    this.#see(host, at)
  }

  async read(host: number, read: Read): Promise<void> {
    const store = this.#hosts[host] as Persistence
    const from = this.#from(host)
    if (read.call === 'get') this.#check(host, from, [[read.key, await store.get(read.key)]])
    else if (read.call === 'has') {
      if (!(await store.has(read.key))) this.#check(host, from, [[read.key, undefined]])
    } else if (read.call === 'getMany') {
      const found = await store.getMany(read.keys)
      this.#check(
        host,
        from,
        read.keys.map((name, i) => [name, found[i]]),
      )
    } else {
      const found = await Promise.all(read.keys.map(name => store.get(name)))
      for (const [i, name] of read.keys.entries()) this.#check(host, from, [[name, found[i]]])
    }
  }

  async change(
    host: number,
    change: Change,
    beside: readonly (readonly [number, Read])[] = [],
  ): Promise<void> {
    if (change.call === 'restore' && this.#snapshots.size === 0) return
    // They begin before the change is done, and end when they may.
    const reads = beside.map(([other, read]) => this.read(other, read))
    const changing = this.#make(this.#hosts[host] as Persistence, change)
    this.#states.push(this.#after(change))
    await Promise.all([changing, ...reads])
    this.#see(host)
  }

  async #make(store: Persistence, change: Change): Promise<void> {
    if (change.call === 'set') await store.set(change.key, change.value)
    else if (change.call === 'delete') await store.delete(change.key)
    else if (change.call === 'update') await store.update(change.key, () => change.value)
    else if (change.call === 'setMany') await store.setMany(change.entries)
    else if (change.call === 'save') await store.save(Object.fromEntries(change.entries))
    else if (change.call === 'clear') await store.clear()
    else if (change.call === 'restore') await store.restoreSnapshot(this.#pick(change.snapshot)[0])
    else if (change.call === 'importData') {
      const file = join(this.#folder, 'import.json')
      await writeFile(file, JSON.stringify({ metadata: {}, data: Object.fromEntries(change.entries) }))
      await store.importData(file)
    } else {
      const before = this.#state
      await store.transaction(async transaction => {
        for (const name of change.keys) same(await transaction.get(name), before.get(name))
        for (const [name, item] of change.entries) transaction.set(name, item)
      })
    }
  }

  #after(change: Change): State {
    if (change.call === 'restore') return this.#pick(change.snapshot)[1]
    const replaces = change.call === 'save' || change.call === 'importData' || change.call === 'clear'
    const state = new Map(replaces ? [] : this.#state)
    if (change.call === 'set' || change.call === 'update') state.set(change.key, change.value)
    else if (change.call === 'delete') state.delete(change.key)
    else if (change.call !== 'clear') for (const [name, item] of change.entries) state.set(name, item)
    return state
  }

  #pick(number: number): [VersionId, State] {
    return [...this.#snapshots][number % this.#snapshots.size] as [VersionId, State]
  }

  async other(host: number, other: Other): Promise<void> {
    const store = this.#hosts[host] as Persistence
    if (other.call === 'load') {
      same(await store.load(), Object.fromEntries(this.#state))
      this.#see(host)
    } else if (other.call === 'entries') {
      same(new Map(await toArray(store.entries())), this.#state)
      this.#see(host)
    } else if (other.call === 'size') {
      same(await store.size(), this.#state.size)
      this.#see(host)
    } else if (other.call === 'compact') await store.compact()
    else if (other.call === 'snapshot') {
      this.#snapshots.set(await store.createSnapshot(), this.#state)
      this.#see(host)
    } else if (other.call === 'prune') {
      const { removed } = await store.pruneSnapshots({ keepLast: 1 })
      for (const version of removed) this.#snapshots.delete(version)
    } else if (other.call === 'reopen' || other.call === 'abandon') {
      if (other.call === 'reopen') await store.close()
      else this.#abandoned.push(store)
      this.#hosts[host] = await this.#open(this.#engines.at(-1) as Engine, host)
      this.#see(host)
    } else if (other.call === 'backup') {
      const engine = memory()
      await engine.open()
      await copyStore(this.#engines.at(-1) as Engine, engine)
      this.#backup = { engine, states: [...this.#states], snapshots: new Map(this.#snapshots) }
    } else if (other.call === 'rollback') {
      if (this.#backup === undefined) return
      // All hosts die, the store is put back, and they come up again with the caches that they had.
      this.#abandoned.push(...this.#hosts)
      this.#states = [...this.#backup.states]
      this.#snapshots = new Map(this.#backup.snapshots)
      const { engine } = this.#backup
      this.#backup = undefined
      await this.start(engine)
    } else if (!('snapshot' in other)) {
      same(
        (await store.listSnapshots()).map(({ version }) => version),
        [...this.#snapshots.keys()],
      )
      for (const state of this.#snapshots.values()) this.#sawSnapshot(host, state)
    } else if (this.#snapshots.size > 0) {
      const [version, state] = this.#pick(other.snapshot)
      if (other.call === 'at') same(await store.at(version).get(other.key), state.get(other.key))
      else if (other.call === 'getSnapshotData') {
        same(await store.getSnapshotData(version), Object.fromEntries(state))
      } else if (other.call === 'compare') {
        await store.compareSnapshots(version, 'head')
        this.#see(host)
      } else {
        const file = join(this.#folder, 'transfer.snapshot')
        await store.exportSnapshot(version, file)
        await store.deleteSnapshot(version)
        this.#snapshots.delete(version)
        this.#snapshots.set(await store.importSnapshot(file), state)
        this.#see(host)
      }
      this.#sawSnapshot(host, state)
    }
  }

  /** A state that a snapshot is of has been seen. */
  #sawSnapshot(host: number, state: State): void {
    this.#see(host, this.#states.indexOf(state))
  }
}

describe.each(Object.keys(CACHES))('a store behind the cache %s', kind => {
  it('shows each host states in their order, whoever changes it', () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom('strong' as const, 'bounded' as const),
        fc.array(step, { minLength: 20, maxLength: 80 }),
        fc.nat(),
        limits,
        cacheLimits,
        async (mode, steps, seed, lowLimits, lowCacheLimits) => {
          const folder = await mkdtemp(join(tmpdir(), 'varve-reads-'))
          const makeCache = (CACHES[kind] as (typeof CACHES)[string])(folder, seed)
          const open = async (engine: Engine, index: number): Promise<Persistence> => {
            const openReads = (history: History): Promise<ReadCache> =>
              ReadCache.open({
                history,
                cache: makeCache(index),
                kind,
                mode,
                logger: SILENT_LOGGER,
                limits: lowCacheLimits,
              })
            return (await openWithLimits(remoteEngine(engine), lowLimits, {}, { openReads })).persistence
          }
          const world = new World(open, folder, mode)
          await world.start(memory())
          for (const current of steps) {
            if ('read' in current) await world.read(current.host, current.read)
            else if ('other' in current) await world.other(current.host, current.other)
            else await world.change(current.host, current.change, 'beside' in current ? current.beside : [])
          }
          await world.end()
          await rm(folder, { recursive: true, force: true })
        },
      ),
      { numRuns: Number(process.env['VARVE_TEST_RUNS'] ?? 25), endOnFailure: true },
    ))
})
