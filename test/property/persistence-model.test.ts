import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, test } from 'vitest'
import type { Engine } from '../../src/engine/engine.ts'
import { lmdb } from '../../src/engine/lmdb.ts'
import { memory } from '../../src/engine/memory.ts'
import type { History } from '../../src/history/history.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { PackerOptions } from '../../src/history/packer.ts'
import type { Persistence } from '../../src/persistence/persistence.ts'
import { differences, Model, type ModelState, sortedKeys, toObject } from '../support/model.ts'
import { openWithLimits } from '../support/open.ts'

/** How many random sequences each engine goes through. */
const SEQUENCES = 1000

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
)

/** A store and the model of it, driven side by side. */
class Pair {
  readonly model = new Model()
  persistence!: Persistence
  history!: History
  readonly #makeEngine: () => Engine
  readonly #limits: Partial<HistoryLimits>
  readonly #packing: Partial<PackerOptions>

  constructor(makeEngine: () => Engine, limits: Partial<HistoryLimits>, packing: Partial<PackerOptions>) {
    this.#makeEngine = makeEngine
    this.#limits = limits
    this.#packing = packing
  }

  async open(): Promise<void> {
    const { persistence, history } = await openWithLimits(this.#makeEngine(), this.#limits, this.#packing)
    this.persistence = persistence
    this.history = history
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
        await persistence.pruneSnapshots({ keepLast: command[1] })
        const untagged = model.snapshots.filter(snapshot => snapshot.tags.size === 0)
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
        await persistence.close()
        await this.open()
        break
      case 'compact':
        await this.history.compact()
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

  /** Everything that can be read is what the model says. */
  async check(): Promise<void> {
    const { model, persistence } = this
    assert.deepStrictEqual(await persistence.load(), toObject(model.state))
    assert.equal(await persistence.size(), model.state.size)
    assert.deepEqual(await collect(persistence.keys()), sortedKeys(model.state))
    assert.deepEqual(await collect(persistence.keys({ reverse: true })), sortedKeys(model.state).reverse())
    for (const k of KEYS) assert.deepStrictEqual(await persistence.get(k), model.state.get(k))
    const infos = await persistence.listSnapshots()
    assert.deepEqual(
      infos.map(({ version, tags }) => [version, [...tags].sort()]),
      model.snapshots.map(({ version, tags }) => [version, [...tags].sort()]),
    )
    for (const { version, state } of model.snapshots) {
      assert.deepStrictEqual(await persistence.getSnapshotData(version), toObject(state))
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
    assert.deepEqual(await persistence.verify().then(({ ok, problems }) => ({ ok, problems })), {
      ok: true,
      problems: [],
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

function order(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

/** Low enough that patches of a few keys are staged and rolled forward over several commits, in every second run. */
const LOW: Partial<HistoryLimits> = {
  patchKeys: 3,
  stageRows: 2,
  freeKeys: 2,
  packEpochs: 1,
  packVersions: 2,
  packListEpochs: 2,
}

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
  makeEngine: () => Engine,
  limits: Partial<HistoryLimits>,
  packing: Partial<PackerOptions>,
  commands: readonly Command[],
): Promise<void> {
  const pair = new Pair(makeEngine, limits, packing)
  await pair.open()
  try {
    for (const command of commands) await pair.run(command)
    await pair.check()
    await pair.history.compact()
    await pair.check()
    // With every snapshot gone, nothing of the past is kept.
    if (pair.model.snapshots.length <= 2) {
      for (const { version } of pair.model.snapshots) await pair.persistence.deleteSnapshot(version)
      pair.model.snapshots = []
      await pair.history.maintain()
      await pair.check()
      const { history } = (await pair.persistence.getMetrics()).storage.tables
      assert.equal(history?.entries ?? 0, 0)
    }
  } finally {
    await pair.persistence.close()
  }
}

describe.each([
  ['memory', { numRuns: SEQUENCES }],
  ['lmdb', { numRuns: SEQUENCES }],
] as const)('random sequences against a list of deep copies, on %s', (name, parameters) => {
  test(`${SEQUENCES} sequences`, { timeout: 300_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'varve-model-'))
    let run = 0
    try {
      // fast-check prints the seed and the shrunk sequence of a failure.
      await fc.assert(
        fc.asyncProperty(
          fc.array(command, { maxLength: 30, size: 'max' }),
          fc.boolean(),
          packing,
          async (commands, low, chosen) => {
            const engine = memory()
            const path = join(folder, String(run++))
            await runSequence(
              () => (name === 'memory' ? engine : lmdb(path)),
              low ? LOW : {},
              chosen,
              commands,
            )
            await rm(path, { recursive: true, force: true })
          },
        ),
        parameters,
      )
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
