import { isDeepStrictEqual, types } from 'node:util'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, it } from 'vitest'
import { DataIntegrityError, UnserializableValueError } from '../../src/core/errors.ts'
import {
  decodeValue,
  type EncodedValue,
  encodedEqual,
  encodeValue,
  isJsonExact,
  JSON_CODEC,
  V8_CODEC,
} from '../../src/core/value-codec.ts'

function roundTrip(value: unknown): unknown {
  const { codec, bytes } = encodeValue(value)
  return decodeValue(codec, bytes)
}

function refusal(value: unknown): UnserializableValueError {
  try {
    encodeValue(value)
  } catch (error) {
    if (error instanceof UnserializableValueError) return error
    throw error
  }
  throw new Error('the value was accepted')
}

function nest(levels: number, wrap: (inner: unknown) => unknown): unknown {
  let value: unknown = 'innermost'
  for (let level = 0; level < levels; level++) value = wrap(value)
  return value
}

/** An object of few objects that a walk along every path would visit 2 ** `levels` times. */
function lattice(levels: number): object {
  let value: object = { innermost: true }
  for (let level = 0; level < levels; level++) value = { left: value, right: value }
  return value
}

function hole(length: number): unknown[] {
  const array: unknown[] = []
  array.length = length
  return array
}

function detached(): ArrayBuffer {
  const memory = new ArrayBuffer(8)
  structuredClone(memory, { transfer: [memory] })
  return memory
}

function viewOfDetached(): Uint8Array {
  const view = new Uint8Array(8)
  structuredClone(view.buffer, { transfer: [view.buffer] })
  return view
}

function revokedProxy(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

function argumentsOf(..._values: unknown[]): object {
  // biome-ignore lint/complexity/noArguments: the object itself is what is tested
  return arguments
}

/** A copy that shares nothing within itself. */
function structuredCopy(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

/** Calls `act` with this share of the call stack used up. */
function withStackUsed<T>(share: number, act: () => T): T {
  let deepest = 0
  function descend(level: number, bottom: number): T {
    deepest = level
    return level === bottom ? act() : descend(level + 1, bottom)
  }
  expect(() => descend(0, Number.POSITIVE_INFINITY)).toThrow(RangeError)
  return descend(0, Math.floor(deepest * share))
}

describe('what JSON carries', () => {
  it.each<[string, unknown]>([
    ['null', null],
    ['a boolean', true],
    ['the empty string', ''],
    ['a lone surrogate', 'a\ud800b'],
    ['text outside the BMP', 'é 漢 \u{1f600}'],
    ['the largest double', Number.MAX_VALUE],
    ['the smallest double', Number.MIN_VALUE],
    ['a sum that decimal notation rounds', 0.1 + 0.2],
    ['an empty array', []],
    ['an empty object', {}],
    ['nested data', { a: [1, { b: null }], 'odd key': '', 7: true }],
    ['a long array', Array.from({ length: 500 }, (_, index) => index)],
    ['a key named constructor', { constructor: 1, hasOwnProperty: 2 }],
    ['a toJSON that is data', { toJSON: 'no method' }],
    [
      'an unenumerable property, which equality does not see',
      Object.defineProperty({ a: 1 }, 'b', { value: 2 }),
    ],
  ])('is stored as JSON text: %s', (_, value) => {
    const { codec, bytes } = encodeValue(value)
    expect(codec).toBe(JSON_CODEC)
    expect(Buffer.from(bytes).toString()).toBe(JSON.stringify(value))
    expect(isJsonExact(value)).toBe(true)
    expect(isDeepStrictEqual(decodeValue(codec, bytes), value)).toBe(true)
  })
})

describe('what only structured clone carries', () => {
  const error = new TypeError('no', { cause: { retries: [1, 2] } })

  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['NaN', Number.NaN],
    ['-0', -0],
    ['Infinity', { limit: Number.POSITIVE_INFINITY }],
    ['a bigint', [-(2n ** 70n), 0n]],
    ['an undefined member', { a: undefined }],
    ['a hole', [1, ...hole(2), 3].concat(hole(2))],
    ['an array of holes', Object.assign(hole(3), { 1: 'x' })],
    ['a sparse array', Object.assign(hole(4_000_000_000), { 3999999999: 'last' })],
    ['an array with properties', Object.assign([1, 2], { index: 0, groups: undefined })],
    ['a long array with properties', Object.assign(Array(100).fill(0), { extra: { deep: true } })],
    ['the result of a regular expression', /b(x)?/.exec('abc')],
    ['a date', { at: new Date(8.64e15) }],
    ['a map', new Map<unknown, unknown>([[{ k: 1 }, new Map([[Number.NaN, undefined]])]])],
    ['a set', new Set<unknown>([1, '1', [1], [1]])],
    ['a regular expression', [/a\/b[\n]/giu, /(?:)/]],
    ['an error with a cause', { error }],
    [
      'every class of error',
      [EvalError, RangeError, ReferenceError, SyntaxError, URIError].map(E => new E('m')),
    ],
    ['an error without a message', new Error()],
    ['an ArrayBuffer', Uint8Array.of(1, 2, 3).buffer],
    ['a resizable ArrayBuffer', Reflect.construct(ArrayBuffer, [4, { maxByteLength: 8 }])],
    ['a Buffer', Buffer.from('bytes')],
    ['a DataView', new DataView(Uint8Array.of(9, 8, 7).buffer, 1)],
    [
      'typed arrays',
      [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array].map(T => T.of(1, 2)),
    ],
    ['wide typed arrays', [Int32Array, Uint32Array, Float32Array, Float64Array].map(T => T.of(1, -0, 3))],
    ['bigint arrays', [BigInt64Array.of(-1n), BigUint64Array.of(2n ** 64n - 1n)]],
    ['an empty view', new Float64Array()],
  ])('comes back equal: %s', (_, value) => {
    const { codec, bytes } = encodeValue(value)
    expect(codec).toBe(V8_CODEC)
    expect(isJsonExact(value)).toBe(false)
    expect(isDeepStrictEqual(decodeValue(codec, bytes), value)).toBe(true)
  })

  it('keeps the cause of an error', () => {
    const copy = roundTrip(error) as TypeError
    expect(copy).toBeInstanceOf(TypeError)
    expect(copy.cause).toEqual({ retries: [1, 2] })
    expect(copy.stack).toBe(error.stack)
  })

  it('keeps cycles through every container', () => {
    interface Cyclic {
      self: unknown
      list: unknown[]
      map: Map<unknown, unknown>
      set: Set<unknown>
    }
    const value: Cyclic = { self: undefined, list: [], map: new Map(), set: new Set() }
    value.self = value
    value.list.push(value.list)
    value.map.set(value.map, value)
    value.set.add(value.set)
    const copy = roundTrip(value) as Cyclic
    expect(copy.self).toBe(copy)
    expect(copy.list[0]).toBe(copy.list)
    expect(copy.map.get(copy.map)).toBe(copy)
    expect(copy.set.has(copy.set)).toBe(true)
  })

  it('keeps shared references, views included', () => {
    const view = Buffer.from('shared')
    const [a, b] = roundTrip([view, view]) as [Buffer, Buffer]
    expect(a).toBe(b)
  })

  it('stores of a view what it shows, not the memory around it', () => {
    const memory = new Uint8Array(100_000)
    expect(encodeValue(memory.subarray(10, 20)).bytes.byteLength).toBeLessThan(50)
  })
})

describe('shared references', () => {
  it('do not multiply what is stored', () => {
    const { codec, bytes } = encodeValue(lattice(50))
    expect(codec).toBe(V8_CODEC)
    expect(bytes.byteLength).toBeLessThan(2_000)
  })

  it('do not multiply a large leaf among many objects', () => {
    const leaf = Array.from({ length: 1_000 }, (_, index) => index)
    const list = Array.from({ length: 1_000 }, () => ({ leaf }))
    const { bytes } = encodeValue({ list })
    expect(bytes.byteLength).toBeLessThan(100_000)
  })

  it('are found behind many objects', () => {
    const shared = { inner: {} }
    const value = { many: Array.from({ length: 100 }, () => ({})), a: shared, b: shared }
    const copy = roundTrip(value) as typeof value
    expect(copy.a).toBe(copy.b)
  })
})

describe('the key __proto__', () => {
  it.each([
    ['JSON', '{"__proto__":{"admin":true},"a":1}'],
    ['JSON, a primitive', '{"__proto__":1}'],
  ])('stays a property in %s', (_, text) => {
    const value = JSON.parse(text)
    for (const candidate of [value, { value, other: undefined }]) {
      const copy = roundTrip(candidate)
      expect(isDeepStrictEqual(copy, candidate)).toBe(true)
    }
    const copy = (roundTrip({ value, other: undefined }) as { value: object }).value
    expect(Object.hasOwn(copy, '__proto__')).toBe(true)
    expect(Object.getPrototypeOf(copy)).toBe(Object.prototype)
  })
})

describe('polluted prototypes', () => {
  afterEach(() => {
    Reflect.deleteProperty(Object.prototype, 'toJSON')
    Reflect.deleteProperty(Array.prototype, 'toJSON')
  })

  it.each([
    ['Object', Object.prototype],
    ['Array', Array.prototype],
  ])('do not alter what is stored: %s.prototype.toJSON', (_, prototype) => {
    Object.defineProperty(prototype, 'toJSON', { configurable: true, value: () => 'altered' })
    const value = { list: [1, { a: 2 }] }
    expect(isDeepStrictEqual(roundTrip(value), value)).toBe(true)
  })

  it('do not add inherited properties', () => {
    Object.defineProperty(Object.prototype, 'inherited', {
      configurable: true,
      enumerable: true,
      value: () => 1,
    })
    const keys = Object.keys(roundTrip({ a: 1 }) as object)
    const isExact = isJsonExact({ a: 1 })
    Reflect.deleteProperty(Object.prototype, 'inherited')
    expect(keys).toEqual(['a'])
    expect(isExact).toBe(true)
  })

  it('are not consulted where a value has an unenumerable toJSON of its own', () => {
    const value = Object.defineProperty({ a: 1 }, 'toJSON', { value: () => 'altered' })
    expect(roundTrip(value)).toEqual({ a: 1 })
  })
})

describe('what is refused', () => {
  class Point {
    x = 1
  }
  class Tagged extends Map {}
  const symbol = Symbol('mark')
  const unreadable = new Error('unreadable')
  const selfCaused = new Error('self')
  Object.defineProperty(selfCaused, 'cause', { value: { inner: [selfCaused] } })

  it.each<[string, unknown, string, RegExp]>([
    ['a function', () => 1, '$', /\$ is a function/],
    [
      'a function inside',
      { items: [0, 1, 2, { callback() {} }] },
      '$.items[3].callback',
      /callback is a function/,
    ],
    ['an odd key', { 'odd key': [Point] }, '$["odd key"][0]', /a function/],
    ['a numeric key', { 12: { 'a.b': symbol } }, '$[12]["a.b"]', /a symbol/],
    [
      'a key that is no safe index',
      { '12345678901234567890': symbol },
      '$["12345678901234567890"]',
      /a symbol/,
    ],
    ['a property of an array', Object.assign([1], { run: parseInt }), '$.run', /a function/],
    ['a map key', { m: new Map([[{ f: parseInt }, 1]]) }, '$.m<key 0>.f', /a function/],
    [
      'a map value',
      {
        m: new Map<number, unknown>([
          [1, 2],
          [3, parseInt],
        ]),
      },
      '$.m<value 1>',
      /a function/,
    ],
    ['a set member', { s: new Set([1, parseInt]) }, '$.s<1>', /a function/],
    ['the cause of an error', [new Error('e', { cause: [symbol] })], '$[0].cause[0]', /a symbol/],
    ['a toJSON method', { a: { toJSON: () => 1 } }, '$.a.toJSON', /a function/],
    ['a symbol key', { a: { [symbol]: 1 } }, '$.a[Symbol(mark)]', /under a symbol/],
    ['a symbol key on an array', Object.assign([1], { [symbol]: 1 }), '$[Symbol(mark)]', /under a symbol/],
    [
      'a tag',
      Object.defineProperty({}, Symbol.toStringTag, { value: 'X' }),
      '$[Symbol(Symbol.toStringTag)]',
      /symbol/,
    ],
    ['a class instance', { at: new Point() }, '$.at', /the class Point/],
    ['an anonymous class', new (class {})(), '$', /the class \(anonymous\)/],
    ['a subclass', [new Tagged()], '$[0]', /the class Tagged/],
    ['a subclassed array', new (class List extends Array {})(), '$', /the class List/],
    ['a subclassed view', new (class Bytes extends Uint8Array {})(), '$', /the class Bytes/],
    ['a changed prototype', Object.setPrototypeOf({}, Map.prototype), '$', /genuine Map/],
    ['an object of another realm', { o: runInNewContext('({})') }, '$.o', /genuine Object .*node:vm/],
    ['no prototype', { n: Object.assign(Object.create(null), { a: 1 }) }, '$.n', /spread it/],
    ['a boxed number', [Object(1)], '$[0]', /boxed primitive.*Number.*valueOf/],
    ['a boxed string', [Object('s')], '$[0]', /boxed primitive.*String/],
    ['an object with another as prototype', Object.create({ a: 1 }), '$', /inherits from another/],
    ['a promise', { p: Promise.resolve() }, '$.p', /a promise; await it/],
    ['a weak map', { w: new WeakMap() }, '$.w', /the class WeakMap/],
    ['a weak reference', { w: new WeakRef({}) }, '$.w', /the class WeakRef/],
    ['a URL', { u: new URL('http://localhost/') }, '$.u', /the class URL/],
    ['a proxy', { p: new Proxy({ a: 1 }, {}) }, '$.p', /a Proxy/],
    ['a proxy of an array', [new Proxy([1], {})], '$[0]', /a Proxy/],
    ['a revoked proxy', [revokedProxy()], '$[0]', /a Proxy/],
    ['arguments', [argumentsOf(1, 2)], '$[0]', /arguments object/],
    ['an iterator', { i: [1].values() }, '$.i', /inherits from another/],
    ['shared memory', { s: new SharedArrayBuffer(4) }, '$.s', /SharedArrayBuffer/],
    ['a view of shared memory', new Uint8Array(new SharedArrayBuffer(4)), '$', /shared memory/],
    ['transferred memory', { d: detached() }, '$.d', /transferred/],
    ['a view of transferred memory', { d: viewOfDetached() }, '$.d', /transferred/],
    ['an invalid date', { at: new Date(Number.NaN) }, '$.at', /invalid Date/],
    ['a moved RegExp', [Object.assign(/a/g, { lastIndex: 2 })], '$[0]', /lastIndex/],
    ['a property of a date', Object.assign(new Date(0), { zone: 1 }), '$.zone', /class Date.*lost/],
    ['a property of a map', Object.assign(new Map(), { zone: 1 }), '$.zone', /class Map.*lost/],
    ['a property of a RegExp', Object.assign(/a/, { zone: 1 }), '$.zone', /class RegExp.*lost/],
    [
      'a property of an ArrayBuffer',
      Object.assign(new ArrayBuffer(1), { zone: 1 }),
      '$.zone',
      /ArrayBuffer.*lost/,
    ],
    ['a property of a view', Object.assign(Uint8Array.of(1, 2), { zone: 1 }), '$.zone', /Uint8Array.*lost/],
    [
      'a property of a DataView',
      Object.assign(new DataView(new ArrayBuffer(1)), { z: 1 }),
      '$.z',
      /DataView.*lost/,
    ],
    [
      'a symbol on a view',
      Object.assign(Uint8Array.of(1), { [symbol]: 1 }),
      '$[Symbol(mark)]',
      /under a symbol/,
    ],
    [
      'a property of an error',
      { e: Object.assign(new Error('x'), { code: 'E' }) },
      '$.e.code',
      /class Error.*lost/,
    ],
    ['another class of error', new AggregateError([], 'x'), '$', /the class AggregateError/],
    [
      'a renamed error',
      Object.defineProperty(new Error('x'), 'name', { value: 'Y' }),
      '$.name',
      /a name other/,
    ],
    [
      'an odd message',
      Object.defineProperty(new Error('x'), 'message', { value: 1 }),
      '$.message',
      /not a string/,
    ],
    ['a getter as cause', Object.defineProperty(new Error(), 'cause', { get: () => 1 }), '$.cause', /getter/],
    ['an error inside its cause', { e: selfCaused }, '$.e.cause.inner[0]', /inside its own cause/],
  ])('%s', (_, value, path, message) => {
    const error = refusal(value)
    expect(error.path).toBe(path)
    expect(error.message).toMatch(message)
    expect(error.code).toBe('UNSERIALIZABLE_VALUE')
    expect(isJsonExact(value)).toBe(false)
  })

  it('a getter that throws, with what it threw as the cause', () => {
    const value = {
      list: [
        {
          get broken() {
            throw unreadable
          },
        },
      ],
    }
    const error = refusal(value)
    expect(error.path).toBe('$.list[0].broken')
    expect(error.cause).toBe(unreadable)
  })

  it('a getter is stored as what it gives', () => {
    const value = {
      get answer() {
        return 42
      },
    }
    expect(roundTrip(value)).toEqual({ answer: 42 })
  })

  it('a value whose getters answer otherwise the second time', () => {
    let reads = 0
    const value = {
      get n() {
        return reads++ === 0 ? 1 : 1n
      },
    }
    expect(refusal(value).cause).toBeInstanceOf(TypeError)
  })

  it('what V8 cannot write although nothing about it shows', () => {
    const fake = Object.setPrototypeOf(new WeakMap(), Object.prototype)
    expect(refusal({ fake, other: undefined }).message).toMatch(/V8 cannot serialize/)
  })

  it.each<[string, (inner: unknown) => unknown]>([
    ['arrays', inner => [inner]],
    ['objects', inner => ({ inner })],
    ['maps', inner => new Map([['k', inner]])],
    ['map keys', inner => new Map([[inner, 1]])],
    ['sets', inner => new Set([inner])],
    ['errors', inner => new Error('e', { cause: inner })],
  ])('nesting of %s past 1,000 levels', (_, wrap) => {
    const deepest = nest(1_000, wrap)
    const copy = encodeValue(deepest)
    expect(encodeValue(decodeValue(copy.codec, copy.bytes)).bytes.byteLength).toBeGreaterThan(1_000)

    for (const levels of [1_001, 100_000]) {
      const error = refusal(nest(levels, wrap))
      expect(error.message).toMatch(/nested too deeply: at most 1000 levels/)
      expect(error.message.length).toBeLessThan(400)
    }
  })

  it('a value too deep for what is left of the stack', () => {
    for (const value of [nest(900, inner => ({ inner })), nest(900, inner => new Set([inner]))]) {
      expect(() => encodeValue(value)).not.toThrow()
      expect(withStackUsed(0.85, () => refusal(value)).message).toMatch(/call stack/)
    }
  })

  it('a value too large to be read back', () => {
    expect(refusal(new Uint8Array(2 ** 29)).message).toMatch(/at most \d+ can be read back/)
  })
})

describe('what is returned', () => {
  const views = {
    u8: Uint8Array.of(1, 2, 3),
    buffer: Buffer.from('abc'),
    f64: Float64Array.of(1, 2),
    view: new DataView(new ArrayBuffer(4)),
    memory: new ArrayBuffer(4),
  }

  it('shares no memory with the bytes, the value or another result', () => {
    const { codec, bytes } = encodeValue(views)
    const before = Buffer.from(bytes)
    const copy = decodeValue(codec, bytes) as typeof views
    for (const part of Object.values(copy)) {
      const memory = types.isArrayBuffer(part) ? part : (part as ArrayBufferView<ArrayBuffer>).buffer
      new Uint8Array(memory).fill(0xee)
      if (ArrayBuffer.isView(part)) expect(part.byteLength).toBe(memory.byteLength)
    }
    expect(Buffer.compare(bytes, before)).toBe(0)
    expect(views.u8).toEqual(Uint8Array.of(1, 2, 3))

    const again = decodeValue(codec, bytes) as typeof views
    bytes.fill(0)
    expect(isDeepStrictEqual(again, views)).toBe(true)
  })

  it('does not follow the value after it was encoded', () => {
    const value = { bytes: Uint8Array.of(1), list: [1] }
    const { codec, bytes } = encodeValue(value)
    value.bytes[0] = 2
    value.list.push(2)
    expect(decodeValue(codec, bytes)).toEqual({ bytes: Uint8Array.of(1), list: [1] })
  })

  it('is the same from a plain Uint8Array inside larger memory', () => {
    for (const value of [{ a: 'é' }, { a: undefined, f: Float64Array.of(1) }]) {
      const { codec, bytes } = encodeValue(value)
      const memory = new Uint8Array(bytes.byteLength + 7)
      memory.set(bytes, 3)
      expect(decodeValue(codec, memory.subarray(3, 3 + bytes.byteLength))).toEqual(value)
    }
  })
})

describe('decodeValue', () => {
  it.each([
    ['JSON cut short', JSON_CODEC, '{"a":1'],
    ['JSON with more behind it', JSON_CODEC, '{}x'],
    ['no JSON', JSON_CODEC, ''],
    ['JSON taken for a clone', V8_CODEC, '{"a":1}'],
    ['no clone', V8_CODEC, ''],
    ['a clone of an unknown version', V8_CODEC, '\xff\xf00'],
    ['a header alone', V8_CODEC, '\xff\x0f'],
    ['a view of an unknown type', V8_CODEC, '\xff\x0f\\\x7f\x00'],
    ['a view longer than the bytes', V8_CODEC, '\xff\x0f\\\x01\x7fabc'],
    ['a view of half an element', V8_CODEC, '\xff\x0f\\\x06\x03abc'],
  ])('refuses %s', (_, codec, text) => {
    expect(() => decodeValue(codec, Buffer.from(text, 'latin1'))).toThrow(DataIntegrityError)
  })

  it('refuses an unknown codec', () => {
    expect(() => decodeValue(3, Buffer.from('{}'))).toThrow(/unknown codec 3/)
  })
})

describe('encodedEqual', () => {
  function equal(a: unknown, b: unknown): boolean {
    const left = encodeValue(a)
    const right = encodeValue(b)
    const answer = encodedEqual(left, right)
    expect(encodedEqual(right, left)).toBe(answer)
    return answer
  }

  function ring(length: number, last: unknown, reverse = false): object {
    const nodes = Array.from({ length }, () => ({}) as Record<string, unknown>)
    nodes.forEach((node, index) => {
      const links: [string, unknown][] = [1, 2, 3, 5].map(step => [
        `plus${step}`,
        nodes[(index + step) % length],
      ])
      Object.assign(node, Object.fromEntries(reverse ? links.reverse() : links))
    })
    Object.assign(nodes[length - 1] as object, { last })
    return nodes[0] as object
  }

  it.each<[string, unknown, unknown, boolean]>([
    ['the same', { a: 1 }, { a: 1 }, true],
    ['another order of properties', { a: 1, b: [{ c: 2, d: 3 }] }, { b: [{ d: 3, c: 2 }], a: 1 }, true],
    ['another length', { a: 1 }, { a: 10 }, false],
    ['the same length', { a: 41 }, { a: 42 }, false],
    ['the same bytes in another order', { a: 'xy' }, { a: 'yx' }, false],
    ['another order of elements', [1, 2], [2, 1], false],
    ['0 and -0', 0, -0, false],
    ['a number and its text', { a: 1 }, { a: '1' }, false],
    ['absent and undefined', {}, { a: undefined }, false],
    ['a hole and undefined', hole(1), [undefined], false],
    ['an array and an object', [], {}, false],
    ['another order beside undefined', { a: undefined, b: 1 }, { b: 1, a: undefined }, true],
    [
      'another order of a map',
      new Map([
        [1, 2],
        [3, 4],
      ]),
      new Map([
        [3, 4],
        [1, 2],
      ]),
      true,
    ],
    ['another order of a set of objects', new Set([[1], [2]]), new Set([[2], [1]]), true],
    ['a Buffer and a Uint8Array', Buffer.from('a'), Uint8Array.of(97), false],
    ['errors with other messages', new Error('a'), new Error('b'), false],
    ['errors with other stacks', new Error('a'), new Error('a'), true],
    ['dates', [new Date(1), -0], [new Date(2), -0], false],
    ['graphs alike', ring(12, 'x'), ring(12, 'x', true), true],
    ['graphs that differ at the end', ring(12, 'x'), ring(12, 'y'), false],
    ['graphs of other lengths', ring(12, 'x'), ring(13, 'x'), false],
    [
      'large graphs alike',
      ring(500, new Map([['at', new Date(1)]])),
      ring(500, new Map([['at', new Date(1)]]), true),
      true,
    ],
    ['large graphs with other dates', ring(500, new Date(1)), ring(500, new Date(2), true), false],
    ['graphs with a map or a set', ring(12, new Map([[1, 2]])), ring(12, new Set([1, 2])), false],
    ['lattices', { l: lattice(60), a: 1, b: -0 }, { b: -0, a: 1, l: lattice(60) }, true],
    ['a lattice and a tree', lattice(60), { left: 1, right: {} }, false],
    ['shared and repeated', lattice(7), structuredCopy(lattice(7)), true],
  ])('%s', (_, a, b, expected) => {
    expect(equal(a, b)).toBe(expected)
  })

  it('compares values as deep as can be stored', () => {
    for (const wrap of [
      (i: unknown) => ({ i, j: 1 }),
      (i: unknown) =>
        new Map([
          ['k', i],
          ['l', 1],
        ]),
      (i: unknown) => new Set([i]),
    ]) {
      expect(equal({ a: nest(999, wrap), b: -0 }, { b: -0, a: nest(999, wrap) })).toBe(true)
      expect(equal({ a: nest(999, wrap), b: -0 }, { b: -0, a: nest(998, wrap) })).toBe(false)
    }
  })

  it('compares them with half of the stack gone', () => {
    const left = encodeValue({ a: nest(999, inner => new Map([['k', inner]])), b: -0 })
    const right = encodeValue({ b: -0, a: nest(999, inner => new Map([['k', inner]])) })
    expect(withStackUsed(0.5, () => encodedEqual(left, right))).toBe(true)
  })

  it('reports bytes that do not decode', () => {
    const damaged: EncodedValue = { codec: V8_CODEC, bytes: Buffer.from('damaged') }
    expect(() => encodedEqual(damaged, encodeValue(1))).toThrow(DataIntegrityError)
    expect(() => encodedEqual(damaged, { ...damaged, codec: JSON_CODEC })).toThrow(DataIntegrityError)
    expect(encodedEqual(damaged, damaged)).toBe(true)
  })
})
