import { isDeepStrictEqual, types } from 'node:util'
import { describe, expect, it } from 'vitest'
import { ImportError, UnserializableValueError } from '../../src/core/errors.ts'
import { fromTypedJson, isTagged, TAGGED_METADATA, toTypedJson } from '../../src/transfer/typed-json.ts'

/** Through the text of a file and back. */
function roundTrip<T>(value: T): T {
  return fromTypedJson(JSON.parse(JSON.stringify(toTypedJson(value))), { file: 'f' }) as T
}

const holes = [1, 2, 3]
delete holes[1]
const errorWithCause = new RangeError('out', { cause: new Map([[1, { $type: 'x' }]]) })

describe('any value comes back equal', () => {
  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['-0', -0],
    ['NaN', Number.NaN],
    ['infinities', [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]],
    ['bigints', [0n, -1n, 2n ** 200n]],
    ['a date', new Date(1234567890123)],
    ['a date far off', new Date(-8.64e15)],
    ['a regular expression', /a"\/\n[b]/giu],
    [
      'a map with objects as keys',
      new Map<unknown, unknown>([
        [{ a: 1 }, new Map()],
        [[], undefined],
      ]),
    ],
    ['a set', new Set([1, '1', { a: new Set() }, Number.NaN])],
    ['an array with holes', holes],
    ['an array of only holes', new Array(1_000_000)],
    ['an array with properties', Object.assign([1, -0], { name: 'x', $type: 'y' })],
    ['undefined members', { a: undefined, b: [undefined] }],
    ['an error', new Error('x')],
    ['an error of a class, with a cause', errorWithCause],
    ['an error without a message', new EvalError()],
    ['bytes', new Uint8Array([0, 255, 1])],
    ['a part of a buffer', new Uint8Array([1, 2, 3, 4]).subarray(1, 3)],
    ['floats', new Float64Array([-0, Number.NaN, 1 / 3])],
    ['big integers', new BigUint64Array([2n ** 64n - 1n])],
    ['clamped bytes', new Uint8ClampedArray([300])],
    ['no bytes', new Int32Array()],
    ['a buffer', new Uint8Array([1, 2]).buffer],
    ["Node.js's Buffer", Buffer.from('x')],
    ['a data view', new DataView(new ArrayBuffer(3))],
    ['what looks like a tag', { $type: 'Date', value: 'x' }],
    ['what looks like an escaped tag', { $type: 'Object', value: { $type: 'Object', value: {} } }],
    ['what looks like a graph', { $type: 'Graph', shared: [], value: { $type: 'Reference', value: 0 } }],
    ['a tag with the wrong type', { $type: new Date(0) }],
    ['a member __proto__', JSON.parse('{"__proto__":{"x":1},"$type":{"__proto__":[]}}')],
    ['lone surrogates', { '\ud800': '\udc00' }],
  ])('%s', (_, value) => {
    const back = roundTrip({ value, list: [value] })
    expect(isDeepStrictEqual(back, { value, list: [value] })).toBe(true)
    expect(isDeepStrictEqual(roundTrip(value), value)).toBe(true)
  })

  it('an error with its stack, and as a true error', () => {
    const back = roundTrip(errorWithCause)
    expect(types.isNativeError(back)).toBe(true)
    expect(back.stack).toBe(errorWithCause.stack)
    expect(isDeepStrictEqual(back.cause, errorWithCause.cause)).toBe(true)
    expect(Object.keys(back)).toStrictEqual([])
    const bare = new Error()
    delete bare.stack
    expect(Object.getOwnPropertyNames(roundTrip(bare))).toStrictEqual([])
  })

  it('only the bytes that a view shows', () => {
    const part = roundTrip(new Uint8Array(1_000).subarray(10, 20))
    expect(part.buffer.byteLength).toBe(10)
  })

  it('values nested as deeply as any that is stored', () => {
    for (const wrap of [
      (part: unknown) => [part],
      (part: unknown) => ({ $type: part }),
      (part: unknown) => new Map([[part, part === 0]]),
      (part: unknown) => new Set([part]),
      (part: unknown) => new Error('x', { cause: part }),
    ]) {
      let value: unknown = 0
      for (let i = 0; i < 1_000; i++) value = wrap(value)
      const text = JSON.stringify(toTypedJson(value))
      expect(JSON.stringify(toTypedJson(fromTypedJson(JSON.parse(text), { file: 'f' })))).toBe(text)
    }
  })
})

describe('objects that occur more than once stay one', () => {
  it('in a cycle', () => {
    const node: { name: string; self?: unknown; list?: unknown[] } = { name: 'x' }
    node.self = node
    node.list = [node]
    const back = roundTrip(node)
    expect(back.self).toBe(back)
    expect(back.list?.[0]).toBe(back)
    expect(isDeepStrictEqual(back, node)).toBe(true)
  })

  it('of every kind, and through each other', () => {
    const map = new Map<unknown, unknown>()
    const set = new Set<unknown>([map])
    const error = new Error('x', { cause: { set } })
    const array: unknown[] = [error]
    array[3] = array
    map.set(map, array)
    const date = new Date(5)
    const bytes = new Uint8Array([1])
    const back = roundTrip({ map, set, error, array, dates: [date, date], bytes: [bytes, bytes] })
    expect([...back.map.keys()][0]).toBe(back.map)
    expect(back.map.get(back.map)).toBe(back.array)
    expect(back.set.has(back.map)).toBe(true)
    expect((back.error.cause as { set: unknown }).set).toBe(back.set)
    expect(back.array[0]).toBe(back.error)
    expect(back.array[3]).toBe(back.array)
    expect(1 in back.array).toBe(false)
    expect(back.dates[0]).toBe(back.dates[1])
    expect(back.dates[0]).toStrictEqual(date)
    expect(back.bytes[0]).toBe(back.bytes[1])
  })

  it('in a long chain there and back', () => {
    interface Node {
      next?: Node
      previous?: Node
    }
    const first: Node = {}
    let last = first
    for (let i = 0; i < 900; i++) {
      const next: Node = { previous: last }
      last.next = next
      last = next
    }
    let length = 0
    for (let node: Node | undefined = roundTrip(first); node !== undefined; node = node.next) length++
    expect(length).toBe(901)
  })

  it('without unfolding references to references', () => {
    let value: unknown = 'leaf'
    for (let i = 0; i < 100; i++) value = [value, value]
    expect(JSON.stringify(toTypedJson(value)).length).toBeLessThan(20_000)
    let back = roundTrip(value)
    for (let i = 0; i < 100; i++) back = (back as unknown[])[i % 2]
    expect(back).toBe('leaf')
  })
})

describe('what is written', () => {
  it('is plain for what JSON has', () => {
    const value = { a: [1, 'x', null, true, { b: {} }], c: -1.5 }
    expect(toTypedJson(value)).toStrictEqual(value)
  })

  it('is readable for the rest', () => {
    expect(toTypedJson({ born: new Date(0), n: 5n, m: new Map([['a', -0]]), $type: 'user' })).toStrictEqual({
      $type: 'Object',
      value: {
        born: { $type: 'Date', value: '1970-01-01T00:00:00.000Z' },
        n: { $type: 'BigInt', value: '5' },
        m: { $type: 'Map', value: [['a', { $type: 'Number', value: '-0' }]] },
        $type: 'user',
      },
    })
  })

  it('is announced in the metadata', () => {
    expect(isTagged({ ...TAGGED_METADATA, format: 1 })).toBe(true)
    for (const other of [undefined, null, 'tagged', {}, { types: ['tagged'] }, { types: 'plain' }]) {
      expect(isTagged(other)).toBe(false)
    }
  })

  it('is nothing for what cannot be stored', () => {
    for (const value of [() => 1, [Symbol('x')], { a: new URL('https://example.com') }]) {
      expect(() => toTypedJson(value)).toThrow(UnserializableValueError)
    }
  })
})

describe('what cannot be read is refused', () => {
  it.each([
    { $type: 'Unknown' },
    { $type: 1 },
    { $type: null },
    { $type: 'Number', value: '1' },
    { $type: 'Number' },
    { $type: 'BigInt', value: '0x10' },
    { $type: 'BigInt', value: '' },
    { $type: 'BigInt', value: 5 },
    { $type: 'Date', value: 'yesterday' },
    { $type: 'Date', value: 0 },
    { $type: 'Date', value: '1970-01-01' },
    { $type: 'RegExp', source: '(', flags: '' },
    { $type: 'RegExp', source: 'x', flags: 'q' },
    { $type: 'Map', value: {} },
    { $type: 'Map', value: [1] },
    { $type: 'Set' },
    { $type: 'Error', name: 'Own', value: {} },
    { $type: 'Error', name: 'Error' },
    { $type: 'Array', length: -1, value: {} },
    { $type: 'Array', length: 1 },
    { $type: 'Object', value: [] },
    { $type: 'ArrayBuffer', value: 'not base64!' },
    { $type: 'Uint8Array', value: 'AA' },
    { $type: 'Uint16Array', value: 'AAAA' },
    { $type: 'Reference', value: 0 },
    { $type: 'Graph', shared: [{}], value: { $type: 'Reference', value: 1 } },
    { $type: 'Graph', shared: [5], value: 1 },
    { $type: 'Graph', value: 1 },
    [{ $type: 'Graph', shared: [], value: 1 }],
  ])('%j', json => {
    const read = () => fromTypedJson({ deep: [json] }, { file: 'f', line: 7 })
    expect(read).toThrow(ImportError)
    expect(read).toThrow(expect.objectContaining({ file: 'f', line: 7 }))
    expect(() => fromTypedJson(json, { file: 'f' })).toThrow(ImportError)
  })

  it('and what was parsed is not changed', () => {
    const json = toTypedJson({ a: new Map([[1, { b: 1n }]]), $type: 1 })
    const copy = structuredClone(json)
    fromTypedJson(json, { file: 'f' })
    expect(json).toStrictEqual(copy)
  })
})
