import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import {
  createPersistence,
  EngineError,
  ImportError,
  InvalidArgumentError,
  InvalidKeyError,
  lmdb,
  type Persistence,
  PersistenceError,
  SnapshotNotFoundError,
  StoreClosedError,
  UnserializableValueError,
} from '../../src/index.ts'
import { SnapshotManager } from '../../src/snapshot/index.ts'
import { rejection } from '../support/byte-streams.ts'
import { runTask } from '../support/peers.ts'
import { EMBEDDED, type EngineName, newPlace, temporaryFolder, toArray } from '../support/stores.ts'

/** Anything at all as an argument: what JavaScript lets a caller pass, whatever the types say. */
// biome-ignore lint/suspicious/noExplicitAny: see above
type Anything = any

type Call = (state: Persistence) => unknown

interface Refusal {
  readonly type: new (...args: Anything[]) => PersistenceError
  readonly code: string
  readonly message: RegExp | string
}

/** A store with something in it, and two snapshots. */
async function newState(name: EngineName): Promise<Persistence> {
  const state = await (await newPlace(name)).open()
  await state.save({ a: 1, b: { c: [2] } })
  await state.createSnapshot({ tag: 'first' })
  await state.set('d', 4)
  await state.createSnapshot()
  return state
}

/** Makes calls one after another, which all fail as said, and leave the state and its snapshots as they were. */
async function expectRefusals(
  state: Persistence,
  calls: readonly (readonly [what: string, Call])[],
  { type, code, message }: Refusal,
): Promise<PersistenceError[]> {
  const look = async () => [await state.load(), await state.listSnapshots(), await state.size()]
  const before = await look()
  const errors: PersistenceError[] = []
  for (const [what, call] of calls) {
    const error = await rejection(Promise.resolve().then(() => call(state)))
    expect(error, `${what}: ${error}`).toBeInstanceOf(type)
    expect(error, what).toMatchObject({ code, name: type.name, message: expect.stringMatching(message) })
    errors.push(error as PersistenceError)
  }
  expect(await look()).toStrictEqual(before)
  expect(await state.verify()).toMatchObject({ ok: true })
  return errors
}

const invalidArgument = (message: RegExp | string): Refusal => ({
  type: InvalidArgumentError,
  code: 'INVALID_ARGUMENT',
  message,
})
const notFound = (message: RegExp | string): Refusal => ({
  type: SnapshotNotFoundError,
  code: 'SNAPSHOT_NOT_FOUND',
  message,
})

/** Every call that takes a key. */
function keyCalls(key: Anything): [string, Call][] {
  return [
    ['get', state => state.get(key)],
    ['get with a fallback', state => state.get(key, 'fallback')],
    ['getMany', state => state.getMany(['a', key])],
    ['has', state => state.has(key)],
    ['set', state => state.set(key, 1)],
    [
      'setMany',
      state =>
        state.setMany([
          ['a', 'not this either'],
          [key, 1],
        ] as Anything),
    ],
    ['update', state => state.update(key, () => 1)],
    ['delete', state => state.delete(key)],
    ['t.get', state => state.transaction(t => t.get(key))],
    ['t.has', state => state.transaction(t => t.has(key))],
    [
      't.set',
      state =>
        state.transaction(t => {
          t.set('a', 'not this either')
          t.set(key, 1)
        }),
    ],
    ['t.delete', state => state.transaction(t => t.delete(key))],
    ['at().get', state => state.at('v1').get(key)],
    ['at().getMany', state => state.at('v1').getMany([key])],
    ['at().has', state => state.at('v1').has(key)],
    ['history', state => toArray(state.history(key))],
  ]
}

describe.each(EMBEDDED)('keys, on %s', name => {
  it.each<[string, unknown, RegExp]>([
    ['the empty string', '', /must not be empty/],
    ['1,025 bytes', 'x'.repeat(1025), /more than 1024 bytes in UTF-8.*Use a shorter key/],
    ['1,026 bytes of two units each', '\u00e9'.repeat(513), /more than 1024 bytes/],
    ['1,026 bytes of three each', '\u20ac'.repeat(342), /more than 1024 bytes/],
    ['a million characters', 'x'.repeat(1_000_000), /more than 1024 bytes/],
    ['a lone high surrogate', 'a\ud800', /lone surrogate.*toWellFormed/],
    ['a lone low surrogate', '\udc00a', /lone surrogate/],
  ])('refuses %s', async (_, key, message) => {
    const state = await newState(name)
    const calls: [string, Call][] = [
      ...keyCalls(key),
      ['save', store => store.save({ other: 1, [key as string]: 1 })],
      ['setMany of an object', store => store.setMany({ other: 1, [key as string]: 1 })],
    ]
    await expectRefusals(state, calls, { type: InvalidKeyError, code: 'INVALID_KEY', message })
  })

  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a number', 5],
    ['a boolean', true],
    ['a symbol', Symbol('key')],
    ['an object', { toString: () => 'a' }],
    ['an array', ['a']],
    ['a String', new String('a')],
    ['bytes', Buffer.from('a')],
  ])('refuses %s', async (_, key) => {
    const message = /A key must be a string, not (null|a value of type)/
    await expectRefusals(await newState(name), keyCalls(key), {
      type: InvalidKeyError,
      code: 'INVALID_KEY',
      message,
    })
  })

  it('refuses symbols among the keys of a state', async () => {
    const calls: [string, Call][] = [
      ['save', state => state.save({ a: 2, [Symbol('key')]: 1 })],
      ['setMany', state => state.setMany({ a: 2, [Symbol('key')]: 1 })],
    ]
    await expectRefusals(await newState(name), calls, {
      type: InvalidKeyError,
      code: 'INVALID_KEY',
      message: /type symbol/,
    })
  })

  it('refuses what is no list of keys, or no state', async () => {
    const state = await newState(name)
    for (const value of [undefined, null, 5, 'ab', {}, new Set(['a'])] as Anything[]) {
      const calls: [string, Call][] = [
        ['getMany', store => store.getMany(value)],
        ['at().getMany', store => store.at('v1').getMany(value)],
      ]
      await expectRefusals(state, calls, invalidArgument(/"keys" must be an array of keys, not/))
    }
    class State {
      a = 1
    }
    // Each of these has no properties, or others than the caller means: saved, they would empty the state.
    const map = new Map([['a', 1]])
    for (const value of [
      undefined,
      null,
      5,
      'ab',
      map,
      new Set(['a']),
      ['a'],
      new Date(),
      new State(),
      () => 1,
    ]) {
      const calls: [string, Call][] = [['save', store => store.save(value as Anything)]]
      await expectRefusals(state, calls, invalidArgument(/"data" must be a plain object/))
    }
    for (const value of [undefined, null, 5, 'ab', new Date(), new State()] as Anything[]) {
      const calls: [string, Call][] = [['setMany', store => store.setMany(value)]]
      await expectRefusals(state, calls, invalidArgument(/"entries" must be/))
    }
    const calls: [string, Call][] = [['setMany', store => store.setMany(['a'] as Anything)]]
    await expectRefusals(state, calls, invalidArgument(/\[key, value\] pairs/))
  })
})

class Point {
  x = 1
}

/** Values of which a part would be lost, and the path to that part. */
const UNSTORABLE: [string, () => unknown, string][] = [
  ['undefined', () => undefined, '$'],
  ['a function', () => () => 1, '$'],
  ['a class', () => Point, '$'],
  ['a symbol', () => Symbol('value'), '$'],
  ['an instance of a class', () => new Point(), '$'],
  ['a method in an object', () => ({ items: [1, { callback() {} }] }), '$.items[1].callback'],
  ['a symbol in an array', () => [[0, Symbol('value')]], '$[0][1]'],
  ['an instance in a Map', () => new Map([['k', { p: new Point() }]]), '$<value 0>.p'],
  ['an instance as a key of a Map', () => ({ m: new Map([[new Point(), 1]]) }), '$.m<key 0>'],
  ['an instance in a Set', () => new Set([1, [new Point()]]), '$<1>[0]'],
  ['a property under a symbol', () => ({ a: { [Symbol('b')]: 1 } }), '$.a[Symbol(b)]'],
  [
    'a function deep inside a cycle',
    () => {
      const cycle: Record<string, unknown> = { list: [] }
      ;(cycle['list'] as unknown[]).push(cycle, { again: cycle, last: () => 1 })
      return cycle
    },
    '$.list[1].last',
  ],
  ['a promise', () => ({ later: Promise.resolve(1) }), '$.later'],
  ['a WeakMap', () => [new WeakMap()], '$[0]'],
  ['a Proxy', () => ({ p: new Proxy({}, {}) }), '$.p'],
  ['an invalid Date', () => ({ at: new Date(Number.NaN) }), '$.at'],
  ['a boxed string', () => ({ s: new String('a') }), '$.s'],
  ['an object without a prototype', () => ({ o: Object.create(null) }), '$.o'],
  ['an odd key', () => ({ 'odd key': { 1: () => 1 } }), '$["odd key"][1]'],
  [
    'a getter that throws',
    () => ({
      get a() {
        throw new Error('no')
      },
    }),
    '$.a',
  ],
  ['an error of a class of its own', () => ({ e: new (class MyError extends Error {})() }), '$.e'],
  ['shared memory', () => new Uint8Array(new SharedArrayBuffer(1)), '$'],
]

describe.each(EMBEDDED)('values, on %s', name => {
  it.each(UNSTORABLE)('refuses %s', async (_, make, path) => {
    const state = await newState(name)
    const calls: [string, Call][] = [
      ['set', store => store.set('a', make())],
      ['setMany', store => store.setMany({ fine: 1, a: make() })],
      ['update', store => store.update('a', make)],
      ['update, later', store => store.update('a', async () => make())],
      [
        't.set',
        store =>
          store.transaction(t => {
            t.set('fine', 1)
            t.set('a', make())
          }),
      ],
      ['save', store => store.save({ fine: 1, a: make() })],
    ]
    // What `make` returns is waited for where a promise may be given.
    const wanted = calls.filter(([what]) => path !== '$.later' || !what.startsWith('update,'))
    const errors = await expectRefusals(state, wanted, {
      type: UnserializableValueError,
      code: 'UNSERIALIZABLE_VALUE',
      message: /./,
    })
    for (const error of errors as UnserializableValueError[]) {
      expect(error.path).toBe(path)
      expect(error.message).toContain(path === '$' && make() === undefined ? 'undefined' : path)
    }
    expect(errors.at(-1)?.message).toContain('Key "a"')
  })

  it('refuses them in what is kept with a snapshot', async () => {
    const state = await newState(name)
    const calls: [string, Call][] = [
      ['createSnapshot', store => store.createSnapshot({ userInfo: { f: () => 1 } })],
      ['createDeltaSnapshot', store => store.createDeltaSnapshot({ userInfo: { f: () => 1 } })],
    ]
    const errors = await expectRefusals(state, calls, {
      type: UnserializableValueError,
      code: 'UNSERIALIZABLE_VALUE',
      message: /\.f is a function/,
    })
    for (const error of errors) expect(error).toMatchObject({ path: '$.userInfo.f' })
  })

  it('refuses a value nested a thousand levels deep, and takes a cycle', async () => {
    const state = await newState(name)
    let deep: unknown = 'bottom'
    for (let i = 0; i < 1200; i++) deep = [deep]
    const calls: [string, Call][] = [['set', store => store.set('a', deep)]]
    await expectRefusals(state, calls, {
      type: UnserializableValueError,
      code: 'UNSERIALIZABLE_VALUE',
      message: /nested too deeply: at most \d+ levels; keep parts of it under keys of their own/,
    })
    const cycle: Record<string, unknown> = { map: new Map() }
    ;(cycle['map'] as Map<unknown, unknown>).set(cycle, [cycle])
    await state.set('a', cycle)
    expect(await state.get('a')).toStrictEqual(cycle)
  })

  it('refuses a change that is not a function', async () => {
    const state = await newState(name)
    for (const change of [undefined, null, 5, {}, 'x'] as Anything[]) {
      const calls: [string, Call][] = [
        ['update', store => store.update('a', change)],
        ['transaction', store => store.transaction(change)],
      ]
      await expectRefusals(state, calls, invalidArgument(/"(change|body)" must be a function, not/))
    }
  })
})

/** Every call that takes a version. */
function versionCalls(version: Anything): [string, Call][] {
  return [
    ['restoreSnapshot', state => state.restoreSnapshot(version)],
    ['getSnapshotData', state => state.getSnapshotData(version)],
    ['at().get', state => state.at(version).get('a')],
    ['at().getMany', state => state.at(version).getMany(['a'])],
    ['at().has', state => state.at(version).has('a')],
    ['at().keys', state => toArray(state.at(version).keys())],
    ['at().values', state => toArray(state.at(version).values())],
    ['at().entries', state => toArray(state.at(version).entries())],
    ['at().size', state => state.at(version).size()],
    ['at().load', state => state.at(version).load()],
    ['tagSnapshot', state => state.tagSnapshot(version, 'a')],
    ['untagSnapshot', state => state.untagSnapshot(version, 'first')],
    ['deleteSnapshot', state => state.deleteSnapshot(version)],
    ['exportSnapshot', state => state.exportSnapshot(version, 'never-written.varve')],
    ...comparisons(version),
  ]
}

/** Those that take `'head'` as well. */
function comparisons(version: Anything): [string, Call][] {
  return [
    ['compareSnapshots, first', state => state.compareSnapshots(version, 'v1')],
    ['compareSnapshots, second', state => state.compareSnapshots('v1', version)],
    ['diff, first', state => toArray(state.diff(version, 'head'))],
    ['diff, second', state => toArray(state.diff('head', version))],
  ]
}

describe.each(EMBEDDED)('versions and tags, on %s', name => {
  it('refuses versions that do not exist', async () => {
    const state = await newState(name)
    for (const version of ['v3', 'v99', 'v99999999999999']) {
      const calls: [string, Call][] = [
        ...versionCalls(version),
        ['createDeltaSnapshot', store => store.createDeltaSnapshot({ baseVersion: version })],
        [
          'exportSnapshot, base',
          store => store.exportSnapshot('v1', 'never-written.varve', { base: version }),
        ],
      ]
      await expectRefusals(state, calls, notFound(`There is no snapshot ${version}.*listSnapshots()`))
    }
  })

  it('refuses malformed versions', async () => {
    const state = await newState(name)
    const malformed = [
      'v',
      'v0',
      'v01',
      'V1',
      '1',
      'v1 ',
      'v1.5',
      'v-1',
      'v1e3',
      'latest',
      `v${'9'.repeat(15)}`,
    ]
    for (const version of malformed) {
      const refusal = notFound(
        /There is no snapshot ".*": a version is written as "v1", "v2", … .*listSnapshots\(\)/,
      )
      await expectRefusals(state, versionCalls(version), refusal)
    }
    for (const version of ['', 1, 1.5, undefined, null, {}, ['v1'], Symbol('v1')]) {
      const refusal = invalidArgument(/A version is written as "v1", "v2", …; this is .*listSnapshots\(\)/)
      await expectRefusals(state, versionCalls(version), refusal)
    }
    const withHead = new Set(comparisons('head').map(([what]) => what))
    const withoutHead = versionCalls('head').filter(([what]) => !withHead.has(what))
    await expectRefusals(state, withoutHead, invalidArgument(/this is "head"/))
  })

  it('refuses tags that do not exist, and malformed ones', async () => {
    const state = await newState(name)
    await expectRefusals(
      state,
      [['restoreSnapshotByTag', store => store.restoreSnapshotByTag('second')]],
      notFound(/No snapshot has the tag "second".*listTags\(\)/),
    )
    for (const tag of ['', '\ud800', 5, null, {}] as Anything[]) {
      const calls: [string, Call][] = [
        ['restoreSnapshotByTag', store => store.restoreSnapshotByTag(tag)],
        ['tagSnapshot', store => store.tagSnapshot('v1', tag)],
        ['tagSnapshot with several', store => store.tagSnapshot('v1', ['fine', tag])],
        ['untagSnapshot', store => store.untagSnapshot('v1', tag)],
        ['createSnapshot', store => store.createSnapshot({ tag })],
        ['createSnapshot with several', store => store.createSnapshot({ tags: ['fine', tag] })],
      ]
      await expectRefusals(state, calls, invalidArgument(/"tags?" must be a/))
    }
  })
})

describe('options of createPersistence()', () => {
  const refused = async (options: Anything): Promise<PersistenceError> => {
    const error = await rejection(createPersistence(options))
    expect(error).toBeInstanceOf(InvalidArgumentError)
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' })
    return error as PersistenceError
  }

  it.each<[string, readonly unknown[], string]>([
    ['basePath', ['', 5, null, {}], 'a non-empty string'],
    ['engine', [null, {}, 'lmdb', () => 1], 'an Engine, such as memory() or lmdb(path)'],
    ['delta', ['bin', 5, null, true], 'one of'],
    ['compression', ['yes', 1, null], 'true or false'],
    ['maxChainLength', [0, -1, 1.5, Number.NaN, '8', Number.POSITIVE_INFINITY], 'a whole number, 1 or more'],
    ['maxSnapshots', [-1, 0.5, Number.NaN, '3', 2 ** 53, null], 'a whole number, 0 or more'],
    ['autoSnapshotInterval', [0, -5, 0.5, '1s', null], 'a whole number, 1 or more'],
    ['autoSnapshotInterval', [2 ** 31], 'at most 2147483647 milliseconds'],
    ['durability', ['disk', true], 'one of'],
    ['logger', [{}, null, 'console', { debug() {}, info() {} }], 'debug, info, warn and error'],
    ['cache', ['yes', 5, null], ''],
  ])('refuses a %s of %j', async (option, values, expected) => {
    for (const value of values) {
      const { message } = await refused({ [option]: value })
      expect(message).toContain(`"${option}" must be`)
      expect(message).toContain(expected)
    }
  })

  it.each<[string, unknown]>([
    ['keepLast', -1],
    ['keepLast', 2.5],
    ['keepHourly', '3'],
    ['keepDaily', Number.NaN],
    ['keepWeekly', -7],
    ['keepMonthly', 0.1],
    ['keepYearly', null],
    ['keepWithin', 'soon'],
    ['keepWithin', -1],
    ['keepTags', 'a'],
    ['keepTags', ['']],
    ['pruneTagged', 'yes'],
  ])('refuses a retention whose %s is %j', async (rule, value) => {
    expect((await refused({ retention: { [rule]: value } })).message).toContain(`"retention.${rule}`)
  })

  it.each([
    [{ maxSnapshot: 3 }, 'Unknown option "maxSnapshot" of createPersistence(). Did you mean "maxSnapshots"?'],
    [{ basepath: 'x' }, 'Did you mean "basePath"?'],
    [{ autoSnapshotInteval: 5 }, 'Did you mean "autoSnapshotInterval"?'],
    [{ retention: { keepDayly: 7 } }, 'Did you mean "keepDaily"?'],
    [{ delta: 'binery' }, `Did you mean 'binary'?`],
    [{ durability: 'powr' }, `Did you mean 'power'?`],
    [{ encryption: true }, 'Did you mean "encryptionKey"?'],
    [{ colour: true }, 'The known ones are basePath, engine, cache'],
  ])('names the known one that is nearest: %j', async (options, message) => {
    expect((await refused(options)).message).toContain(message)
  })

  it.each([null, 5, 'path', ['path'], true])('refuses %j as options', async options => {
    expect((await refused(options)).message).toContain('must be an object')
  })

  it('touches nothing before all options are checked', async () => {
    const basePath = join(await temporaryFolder(), 'store')
    await refused({ basePath, maxSnapshots: -1 })
    await expect(chmod(basePath, 0o700)).rejects.toMatchObject({ code: 'ENOENT' })
  })
})

describe.each(EMBEDDED)('options of calls, on %s', name => {
  const file = 'never-written.json'

  it.each<[string, string, (state: Persistence, options: Anything) => unknown, string]>([
    ['createSnapshot', 'tga', (state, options) => state.createSnapshot(options), 'tag'],
    [
      'createDeltaSnapshot',
      'baseVerson',
      (state, options) => state.createDeltaSnapshot(options),
      'baseVersion',
    ],
    [
      'restoreSnapshotByTag',
      'lastest',
      (state, options) => state.restoreSnapshotByTag('first', options),
      'latest',
    ],
    ['pruneSnapshots', 'keepLats', (state, options) => state.pruneSnapshots(options), 'keepLast'],
    [
      'pruneSnapshots',
      'dryrun',
      (state, options) => state.pruneSnapshots({ keepLast: 1 }, options),
      'dryRun',
    ],
    ['exportData', 'onProgres', (state, options) => state.exportData(file, options), 'onProgress'],
    ['importData', 'sginal', (state, options) => state.importData(file, options), 'signal'],
    ['exportSnapshot', 'bas', (state, options) => state.exportSnapshot('v1', file, options), 'base'],
    ['importSnapshot', 'sginal', (state, options) => state.importSnapshot(file, options), 'signal'],
    ['verify', 'onprogress', (state, options) => state.verify(options), 'onProgress'],
    ['compact', 'singal', (state, options) => state.compact(options), 'signal'],
    ['keys', 'prefx', (state, options) => toArray(state.keys(options)), 'prefix'],
    ['values', 'limt', (state, options) => toArray(state.values(options)), 'limit'],
    ['entries', 'revers', (state, options) => toArray(state.entries(options)), 'reverse'],
    ['at().keys', 'prefx', (state, options) => toArray(state.at('v1').keys(options)), 'prefix'],
    ['diff', 'limits', (state, options) => toArray(state.diff('v1', 'head', options)), 'limit'],
    ['watch', 'perfix', (state, options) => state.watch(options).next(), 'prefix'],
  ])('%s names an unknown option, %s', async (_, option, call, meant) => {
    const state = await newState(name)
    const calls: [string, Call][] = [[option, store => call(store, { [option]: 1 })]]
    const message = new RegExp(`Unknown option "${option}" of .*Did you mean "${meant}"\\?`)
    await expectRefusals(state, calls, invalidArgument(message))
    for (const options of [null, 5, 'x', []]) {
      const wrong: [string, Call][] = [[String(options), store => call(store, options)]]
      await expectRefusals(state, wrong, invalidArgument(/must be an object/))
    }
  })

  it('refuses options that are not of their type', async () => {
    const state = await newState(name)
    const calls: [string, (value: Anything) => Call][] = [
      ['limit', limit => store => toArray(store.keys({ limit }))],
      ['limit', limit => store => toArray(store.diff('v1', 'v2', { limit }))],
      ['limit', limit => store => store.watch({ limit }).next()],
      ['keepLast', keepLast => store => store.pruneSnapshots({ keepLast })],
    ]
    for (const [option, call] of calls) {
      for (const value of [-1, 0.5, Number.NaN, '2', Number.POSITIVE_INFINITY]) {
        const message = new RegExp(`${option}" must be a whole number, 0 or more, not`)
        await expectRefusals(state, [[`${option}: ${value}`, call(value)]], invalidArgument(message))
      }
    }
    await expectRefusals(
      state,
      [
        ['prefix', store => toArray(store.keys({ prefix: 5 as Anything }))],
        ['gt', store => toArray(store.keys({ gt: '\ud800' }))],
        ['lte', store => toArray(store.at('v1').keys({ lte: null as Anything }))],
        ['reverse', store => toArray(store.keys({ reverse: 'yes' as Anything }))],
        ['description', store => store.createSnapshot({ description: 5 as Anything })],
        ['latest', store => store.restoreSnapshotByTag('first', { latest: 1 as Anything })],
        ['dryRun', store => store.pruneSnapshots({ keepLast: 1 }, { dryRun: 'yes' as Anything })],
        ['types', store => store.exportData(file, { types: 'all' as Anything })],
        ['signal', store => store.importData(file, { signal: {} as Anything })],
        ['signal', store => store.compact({ signal: true as Anything })],
        ['onProgress', store => store.verify({ onProgress: 5 as Anything })],
        ['path', store => store.exportData(5 as Anything)],
        ['path', store => store.importData('')],
        ['path', store => store.exportSnapshot('v1', null as Anything)],
        ['path', store => store.importSnapshot(undefined as Anything)],
      ],
      invalidArgument(/Option "\w+" must be .*, not /),
    )
  })
})

describe('a basePath', () => {
  it('that is a file, or lies below one', async () => {
    const file = join(await temporaryFolder(), 'file')
    await writeFile(file, 'text')
    for (const basePath of [file, join(file, 'store')]) {
      const error = await rejection(createPersistence({ basePath }))
      expect(error).toBeInstanceOf(EngineError)
      expect(error).toMatchObject({
        code: 'ENGINE_NOT_A_FOLDER',
        message: expect.stringMatching(/is a file\. Give the path of a folder/),
      })
      expect((error as Error).message).toContain(basePath)
    }
  })

  it('that cannot be created or written', async () => {
    const folder = await temporaryFolder()
    const locked = join(folder, 'locked')
    await mkdir(locked)
    await chmod(locked, 0o555)
    await chmod(folder, 0o755)
    for (const basePath of [locked, join(locked, 'store')]) {
      expect(runTask('openUnprivileged', [basePath])).toMatchObject({
        name: 'EngineError',
        code: 'ENGINE_NOT_WRITABLE',
        message: expect.stringMatching(/Give a folder that this process may write to/),
      })
    }
  })

  it('that holds something else than a store', async () => {
    const basePath = await temporaryFolder()
    await writeFile(join(basePath, 'data.mdb'), 'not a database'.repeat(10_000))
    const error = await rejection(createPersistence({ basePath }))
    expect(error).toBeInstanceOf(EngineError)
    expect((error as Error).message).toContain('not an LMDB data file')
  })

  it.each(EMBEDDED)('that holds a store of a newer or unknown format, on %s', async name => {
    const place = await newPlace(name)
    const state = await place.open()
    await state.set('a', 1)
    await state.close()
    const key = Buffer.from('format')
    const formats: [string, string, RegExp][] = [
      [
        '{"format":1000}',
        'FORMAT_TOO_NEW',
        /has format 1000, and this varve reads formats up to \d+\. Upgrade varve/,
      ],
      ['{"format":"x"}', 'DATA_INTEGRITY', /unknown format \("x"\)/],
      ['not JSON', 'DATA_INTEGRITY', /format record of the store cannot be read/],
    ]
    for (const [format, code, message] of formats) {
      const engine = place.engine()
      await engine.open()
      const former = (await engine.get('meta', key)) as Uint8Array
      await engine.commit((_, batch) => batch.put('meta', key, Buffer.from(format)))
      const error = await rejection(place.open())
      expect(error).toBeInstanceOf(PersistenceError)
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
      expect(Buffer.from((await engine.get('meta', key)) as Uint8Array).toString()).toBe(format)
      await engine.commit((_, batch) => batch.put('meta', key, Buffer.from(former)))
      await engine.close()
    }
    expect(await (await place.open()).load()).toEqual({ a: 1 })
  })

  it('that is not one, for the engine itself', () => {
    for (const path of ['', undefined, 5] as Anything[])
      expect(() => lmdb(path)).toThrow(InvalidArgumentError)
  })
})

describe.each(EMBEDDED)('files to import, on %s', name => {
  const cases: [string, string, string | Buffer | undefined, RegExp][] = [
    ['missing', 'state.json', undefined, /no such file|not exist/],
    ['empty', 'state.json', '', /the file is empty. The form is/],
    ['truncated in a value', 'state.json', '{"data":{"a":1,"b":[1,', /truncated/],
    ['truncated after the data', 'state.json', '{"data":{"a":1}', /truncated/],
    ['not JSON', 'state.json', 'a: 1\nb: 2\n', /line 1/],
    ['not JSON inside', 'state.json', '{"data":{\n"a":1,\n"b":undefined}}', /line 3/],
    ['JSON with something behind it', 'state.json', '{"data":{}} {"data":{}}', /nothing after the end/],
    ['binary', 'state.json', Buffer.from([0xff, 0xfe, 0, 1]), /line 1/],
    [
      'of a key twice',
      'state.json',
      '{"data":{"a":1,\n"b":2,\n"a":3}}',
      /line 3.*"a" is there twice \(first on line 1\)/,
    ],
    ['of data twice', 'state.json', '{"data":{},"data":{}}', /"data" is given twice/],
    ['without data', 'state.json', '{"metadata":{}}', /lacks "data"/],
    ['of plain keys', 'state.json', '{"a":1}', /lacks "data"/],
    ['an array', 'state.json', '[{"data":{}}]', /./],
    ['whose data is an array', 'state.json', '{"data":[1]}', /"data" is an array; it must be an object/],
    ['whose data is null', 'state.json', '{"data":null}', /"data" is null/],
    ['whose data is a string', 'state.json', '{"data":"text"}', /"data" is a string/],
    ['of an empty key', 'state.json', '{"data":{"a":1,\n"":2}}', /line 2.*must not be empty/],
    ['of a key that is too long', 'state.json', `{"data":{"${'k'.repeat(1025)}":2}}`, /more than 1024 bytes/],
    ['of a key with a lone surrogate', 'state.json', '{"data":{"\\ud800":2}}', /lone surrogate/],
    [
      'with an unknown tag',
      'state.json',
      '{"metadata":{"types":"tagged"},"data":{"a":{"$type":"Date","value":5}}}',
      /line 1/,
    ],
    ['not gzip', 'state.json.gz', '{"data":{}}', /not gzip/],
    [
      'truncated gzip',
      'state.json.gz',
      gzipSync(`{"data":{"a":"${'x'.repeat(1000)}"}}`).subarray(0, 30),
      /truncated/,
    ],
    ['lines of which one is not JSON', 'state.jsonl', '{"key":"a","value":1}\n{"key":"b",\n', /line 2/],
    [
      'lines of a key twice',
      'state.jsonl',
      '{"key":"a","value":1}\n{"key":"a","value":1}\n',
      /line 2.*twice/,
    ],
  ]

  it.each(cases)('%s', async (_, fileName, content, message) => {
    const state = await newState(name)
    const file = join(await temporaryFolder(), fileName)
    if (content !== undefined) await writeFile(file, content)
    const [error] = await expectRefusals(state, [['importData', store => store.importData(file)]], {
      type: ImportError,
      code: 'IMPORT',
      message,
    })
    expect(error).toMatchObject({ file })
    const line = /, line (\d+)/.exec((error as Error).message)?.[1]
    expect((error as ImportError).line).toBe(line === undefined ? undefined : Number(line))
    expect((error as Error).message).toContain(JSON.stringify(file))
  })

  it('a folder', async () => {
    const state = await newState(name)
    const file = join(await temporaryFolder(), 'folder.json')
    await mkdir(file)
    await expectRefusals(state, [['importData', store => store.importData(file)]], {
      type: ImportError,
      code: 'IMPORT',
      message: /./,
    })
  })

  it('a name whose format cannot be told', async () => {
    const state = await newState(name)
    for (const file of ['state', 'state.yaml', 'state.gz', 'state.json.zip']) {
      const calls: [string, Call][] = [
        ['importData', store => store.importData(file)],
        ['exportData', store => store.exportData(file)],
      ]
      await expectRefusals(state, calls, invalidArgument(/Use \.json or \.jsonl, each with an optional \.gz/))
    }
  })

  it('with __proto__ as a key, which is data like any other', async () => {
    const state = await newState(name)
    const folder = await temporaryFolder()
    const data = JSON.parse('{"__proto__":{"polluted":true},"constructor":{"__proto__":[1]},"toString":1}')
    await writeFile(join(folder, 'state.json'), JSON.stringify({ data }))
    await state.importData(join(folder, 'state.json'))
    expect(isDeepStrictEqual(await state.load(), data)).toBe(true)
    expect(Object.keys(await state.load()).sort()).toStrictEqual(['__proto__', 'constructor', 'toString'])
    expect(await state.get('__proto__')).toStrictEqual({ polluted: true })
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
    await state.exportData(join(folder, 'again.jsonl'))
    await state.clear()
    await state.importData(join(folder, 'again.jsonl'))
    expect(isDeepStrictEqual(await state.load(), data)).toBe(true)
  })
})

describe.each(EMBEDDED)('a store that is closed, on %s', name => {
  const CALLS: Record<string, Call> = {
    save: state => state.save({}),
    load: state => state.load(),
    clear: state => state.clear(),
    get: state => state.get('a'),
    getMany: state => state.getMany(['a']),
    has: state => state.has('a'),
    set: state => state.set('a', 1),
    setMany: state => state.setMany({ a: 1 }),
    update: state => state.update('a', () => 1),
    delete: state => state.delete('a'),
    transaction: state => state.transaction(() => 1),
    keys: state => toArray(state.keys()),
    values: state => toArray(state.values()),
    entries: state => toArray(state.entries()),
    size: state => state.size(),
    watch: state => state.watch().next(),
    createSnapshot: state => state.createSnapshot(),
    createDeltaSnapshot: state => state.createDeltaSnapshot(),
    restoreSnapshot: state => state.restoreSnapshot('v1'),
    restoreSnapshotByTag: state => state.restoreSnapshotByTag('first'),
    getSnapshotData: state => state.getSnapshotData('v1'),
    at: state => state.at('v1').get('a'),
    history: state => toArray(state.history('a')),
    listSnapshots: state => state.listSnapshots(),
    tagSnapshot: state => state.tagSnapshot('v1', 'a'),
    untagSnapshot: state => state.untagSnapshot('v1', 'a'),
    resolveVersion: state => state.resolveVersion('v1'),
    listTags: state => state.listTags(),
    deleteSnapshot: state => state.deleteSnapshot('v1'),
    pruneSnapshots: state => state.pruneSnapshots({ keepLast: 1 }),
    compareSnapshots: state => state.compareSnapshots('v1', 'v2'),
    diff: state => toArray(state.diff('v1', 'v2')),
    exportData: state => state.exportData('never-written.json'),
    importData: state => state.importData('never-read.json'),
    exportSnapshot: state => state.exportSnapshot('v1', 'never-written.varve'),
    importSnapshot: state => state.importSnapshot('never-read.varve'),
    verify: state => state.verify(),
    compact: state => state.compact(),
    rotateEncryptionKey: state => state.rotateEncryptionKey({ passphrase: 'open sesame' }),
    getMetrics: state => state.getMetrics(),
  }

  const refuses = async (call: () => unknown, what: string): Promise<void> => {
    const error = await rejection(Promise.resolve().then(call))
    expect(error, `${what}: ${error}`).toBeInstanceOf(StoreClosedError)
    expect(error, what).toMatchObject({
      code: 'STORE_CLOSED',
      message: expect.stringContaining('open it again with createPersistence()'),
    })
  }

  it('refuses every call', async () => {
    const state = await newState(name)
    const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(state))
    expect(Object.keys(CALLS).sort()).toEqual(
      methods.filter(m => !['constructor', 'close'].includes(m)).sort(),
    )
    const closing = state.close()
    for (const [what, call] of Object.entries(CALLS))
      await refuses(() => call(state), `${what}, while closing`)
    await closing
    for (const [what, call] of Object.entries(CALLS)) await refuses(() => call(state), what)
  })

  it('refuses to go on with what was made before', async () => {
    const state = await newState(name)
    const view = state.at('v1')
    const iterators = [
      state.keys(),
      state.values(),
      state.entries(),
      view.entries(),
      state.history('a'),
      state.diff('v1', 'v2'),
    ] as AsyncIterableIterator<unknown>[]
    await state.close()
    for (const [i, iterator] of iterators.entries()) await refuses(() => iterator.next(), `iterator ${i}`)
    await refuses(() => view.get('a'), 'get')
    await refuses(() => view.getMany(['a']), 'getMany')
    await refuses(() => view.has('a'), 'has')
    await refuses(() => view.size(), 'size')
    await refuses(() => view.load(), 'load')
    await refuses(() => toArray(view.keys()), 'keys')
  })

  it('refuses the next page of an iteration that has begun', async () => {
    const state = await (await newPlace(name)).open({ compression: false })
    const large = 'x'.repeat(200_000)
    await state.save(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`key ${i}`, `${large}${i}`])))
    const entries = state.entries()
    await entries.next()
    await state.close()
    await refuses(() => toArray(entries), 'entries')
    await entries.return?.()
  })

  it('refuses a transaction that outlives its function', async () => {
    const state = await newState(name)
    const kept = await state.transaction(t => ({ t }))
    const calls: [string, Call][] = [
      ['get', () => kept.t.get('a')],
      ['has', () => kept.t.has('a')],
      ['set', () => kept.t.set('a', 1)],
      ['delete', () => kept.t.delete('a')],
    ]
    await expectRefusals(state, calls, {
      type: PersistenceError,
      code: 'TRANSACTION_ENDED',
      message: /Await every call inside the function/,
    })
  })

  it('refuses calls of a SnapshotManager too', async () => {
    const manager = await SnapshotManager.open((await newPlace(name)).engine())
    await manager.createSnapshot()
    await manager.close()
    for (const call of [
      () => manager.createSnapshot(),
      () => manager.restoreSnapshot('v1'),
      () => manager.listSnapshots(),
      () => manager.compareSnapshots('v1', 'head'),
      () => manager.setRetention({ keepLast: 1 }),
    ]) {
      expect(await rejection(call())).toMatchObject({ code: 'STORE_CLOSED' })
    }
  })
})
