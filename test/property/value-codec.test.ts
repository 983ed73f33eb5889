import { isDeepStrictEqual, types } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DataIntegrityError, UnserializableValueError } from '../../src/core/errors.ts'
import {
  decodeValue,
  encodedEqual,
  encodeValue,
  isJsonExact,
  JSON_CODEC,
  V8_CODEC,
} from '../../src/core/value-codec.ts'

/** Text of any UTF-16 code units, lone surrogates among them. */
const text = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.string({
    unit: fc.integer({ min: 0, max: 0xffff }).map(code => String.fromCharCode(code)),
    maxLength: 5,
  }),
)
const key = fc.oneof(
  text,
  fc.constantFrom('__proto__', 'constructor', 'toJSON', 'length', 'a', 'b', '0', '1', ''),
)

/** An object of these entries, `__proto__` an own property like any other. */
function objectOf(entries: readonly (readonly [string, unknown])[]): object {
  return Object.fromEntries(entries)
}

/** Sets a property of the object's own, also where `__proto__` is its name. */
function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
}

const jsonValue = fc.letrec<{ value: unknown; primitive: unknown }>(tie => ({
  primitive: fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).filter(number => !Object.is(number, -0)),
    text,
  ),
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('primitive'),
    fc.array(tie('value'), { maxLength: 6 }),
    fc.array(tie('primitive'), { minLength: 20, maxLength: 70 }),
    fc.array(fc.tuple(key, tie('value')), { maxLength: 6 }).map(objectOf),
  ),
})).value

const bytes = fc.uint8Array({ maxLength: 32 })

/** A view of part of larger memory. */
const view = fc
  .tuple(bytes, fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 8 }))
  .chain(([content, before, kind]) => {
    const memory = new ArrayBuffer(8 * before + 64)
    new Uint8Array(memory).set(content)
    const offset = 8 * before
    return fc.constantFrom<ArrayBufferView>(
      new DataView(memory, before, kind),
      Buffer.from(memory, before, kind),
      ...[Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array].map(
        T => new T(memory, offset, kind),
      ),
      ...[Int32Array, Uint32Array, Float32Array, Float64Array].map(T => new T(memory, offset, kind)),
      new BigInt64Array(memory, offset, kind),
      new BigUint64Array(memory, offset, kind),
    )
  })

const leaf = fc.oneof(
  fc.constantFrom(undefined, null, true, -0, Number.NaN, Number.POSITIVE_INFINITY),
  fc.double(),
  fc.bigInt(),
  text,
  fc.date({ noInvalidDate: true }),
  fc.constantFrom(/a/, /[\n/]+/gimsuy, /(?:)/).map(pattern => new RegExp(pattern)),
  bytes.map(content => content.buffer),
  view,
)

/** An array with holes where the value is `HOLE`, a longer length, and properties. */
const HOLE = Symbol('hole')
function arrayOf(elements: readonly unknown[], length: number, properties: object): unknown[] {
  const array: unknown[] = []
  array.length = elements.length + length
  elements.forEach((element, index) => {
    if (element !== HOLE) array[index] = element
  })
  for (const [name, value] of Object.entries(properties)) {
    if (name !== 'length') define(array, name, value)
  }
  return array
}

const cloneableTree = fc.letrec<{ value: unknown }>(tie => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.array(fc.tuple(key, tie('value')), { maxLength: 4 }).map(objectOf),
    fc
      .tuple(
        fc.array(fc.oneof(tie('value'), fc.constant(HOLE)), { maxLength: 4 }),
        fc.nat(3),
        fc.array(fc.tuple(key, tie('value')), { maxLength: 2 }).map(objectOf),
      )
      .map(([elements, length, properties]) => arrayOf(elements, length, properties)),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map(entries => new Map(entries)),
    fc.array(tie('value'), { maxLength: 4 }).map(members => new Set(members)),
    fc
      .tuple(fc.constantFrom(Error, TypeError, RangeError, URIError), text, tie('value'))
      .map(([E, message, cause]) => new E(message, { cause })),
  ),
})).value

/** The objects inside a value, itself first, each once, in the order of `v8.serialize`. */
function objectsIn(value: unknown, found = new Set<object>()): Set<object> {
  if (typeof value !== 'object' || value === null || found.has(value)) return found
  found.add(value)
  if (types.isMap(value)) for (const entry of value) for (const part of entry) objectsIn(part, found)
  else if (types.isSet(value)) for (const part of value) objectsIn(part, found)
  else if (types.isNativeError(value)) objectsIn(value.cause, found)
  else if (!ArrayBuffer.isView(value)) for (const part of Object.values(value)) objectsIn(part, found)
  return found
}

/** Adds `part` to a container; false where it is none. Causes of errors are left as they are. */
function addTo(container: object, part: unknown, name: string): boolean {
  if (types.isMap(container)) container.set(name, part)
  else if (types.isSet(container)) container.add(part)
  else if (Array.isArray(container)) container.push(part)
  else if (Object.getPrototypeOf(container) === Object.prototype) define(container, name, part)
  else return false
  return true
}

/** Trees with a few references from some of their containers to others: shared, and in cycles. */
const cloneable = fc
  .tuple(cloneableTree, fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 3 }))
  .map(([tree, links]) => {
    const value = reordered(tree) // a copy, since fast-check shrinks what it generated
    const objects = [...objectsIn(value)]
    const inErrors = new Set(
      objects.filter(object => types.isNativeError(object)).flatMap(error => [...objectsIn(error)]),
    )
    for (const [from, to] of links) {
      const container = objects[from % objects.length]
      const part = objects[to % objects.length]
      // An error may not come back inside its own cause.
      if (container && part && !inErrors.has(container)) addTo(container, part, 'link')
    }
    return value
  })

/** A value of any sort, most of which cannot be stored. */
const anything = fc.anything({
  key,
  values: [
    leaf,
    fc.constant(parseInt),
    fc.constant(Symbol('s')),
    fc.date(),
    fc.constantFrom(Promise.resolve(), new URL('a:b')),
  ],
  withBigInt: true,
  withBoxedValues: true,
  withDate: true,
  withMap: true,
  withNullPrototype: true,
  withObjectString: true,
  withSet: true,
  withSparseArray: true,
  withTypedArray: true,
  withUnicodeString: true,
})

const STEP = /\.([\p{ID_Start}$_][\p{ID_Continue}$]*)|\[(\d+|"(?:[^"\\]|\\.)*")\]|<(key |value |)(\d+)>/uy

/** The part of `value` that a path names. */
function resolve(value: unknown, path: string): unknown {
  expect(path[0]).toBe('$')
  let part: unknown = value
  STEP.lastIndex = 1
  while (STEP.lastIndex < path.length) {
    const start = STEP.lastIndex
    const [, name, element, role, position] = STEP.exec(path) ?? []
    if (name !== undefined) part = (part as Record<string, unknown>)[name]
    else if (element !== undefined) part = (part as Record<string, unknown>)[JSON.parse(element)]
    else if (role === 'key ') part = [...(part as Map<unknown, unknown>).keys()][Number(position)]
    else if (role === 'value ') part = [...(part as Map<unknown, unknown>).values()][Number(position)]
    else if (position !== undefined) part = [...(part as Set<unknown>)][Number(position)]
    else throw new Error(`not a path: ${path.slice(start)}`)
  }
  return part
}

/** Whether a value has to be accepted: structured clone brings it back equal, and it is no boxed primitive. */
function isCloneable(value: unknown): boolean {
  if (types.isBoxedPrimitive(value)) return false
  try {
    return isDeepStrictEqual(structuredClone(value), value)
  } catch {
    return false
  }
}

function roundTrip(value: unknown): unknown {
  const encoded = encodeValue(value)
  return decodeValue(encoded.codec, encoded.bytes)
}

describe('encodeValue and decodeValue', () => {
  it('carry JSON values as JSON', () => {
    fc.assert(
      fc.property(jsonValue, value => {
        const encoded = encodeValue(value)
        expect(encoded.codec).toBe(JSON_CODEC)
        expect(isJsonExact(value)).toBe(true)
        expect(isDeepStrictEqual(decodeValue(encoded.codec, encoded.bytes), value)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  it('carry what structured clone carries', () => {
    fc.assert(
      fc.property(cloneable, value => {
        expect(isDeepStrictEqual(roundTrip(value), value)).toBe(true)
      }),
      { numRuns: 1_000 },
    )
  })

  it('keep which references are shared, where JSON does not carry the value', () => {
    fc.assert(
      fc.property(cloneable, value => {
        const copy = roundTrip([value, undefined]) as [unknown]
        expect(objectsIn(copy).size).toBe(objectsIn([value]).size)
      }),
    )
  })

  it('call JSON-exact only what JSON.parse gives back equal', () => {
    fc.assert(
      fc.property(fc.oneof(cloneableTree, anything), value => {
        if (isJsonExact(value)) expect(isDeepStrictEqual(JSON.parse(JSON.stringify(value)), value)).toBe(true)
      }),
      { numRuns: 1_000 },
    )
  })

  it('share no memory between value, bytes and result', () => {
    fc.assert(
      fc.property(cloneable, value => {
        const encoded = encodeValue(value)
        const before = Buffer.from(encoded.bytes)
        const own = new Set<ArrayBufferLike>([encoded.bytes.buffer, ...memoriesIn(value)])
        const copy = decodeValue(encoded.codec, encoded.bytes)
        for (const memory of memoriesIn(copy)) {
          expect(own.has(memory)).toBe(false)
          new Uint8Array(memory).fill(0x5a)
        }
        expect(Buffer.compare(encoded.bytes, before)).toBe(0)
        const again = decodeValue(encoded.codec, encoded.bytes)
        encoded.bytes.fill(0)
        expect(isDeepStrictEqual(again, value)).toBe(true)
      }),
    )

    function memoriesIn(value: unknown): ArrayBufferLike[] {
      return [...objectsIn(value)].flatMap(object => {
        if (ArrayBuffer.isView(object)) return [object.buffer]
        return types.isAnyArrayBuffer(object) ? [object] : []
      })
    }
  })

  it('accept only what comes back equal, and name the part that would not', () => {
    let accepted = 0
    let refused = 0
    fc.assert(
      fc.property(anything, value => {
        try {
          const copy = roundTrip(value)
          accepted++
          expect(isDeepStrictEqual(copy, value)).toBe(true)
        } catch (error) {
          if (!(error instanceof UnserializableValueError)) throw error
          refused++
          expect(isCloneable(resolve(value, error.path))).toBe(false)
        }
      }),
      { numRuns: 2_000 },
    )
    expect(Math.min(accepted, refused)).toBeGreaterThan(100)
  })

  it('name the place of a function wherever it is', () => {
    const offender = () => undefined
    fc.assert(
      fc.property(cloneable, fc.nat(), key, (generated, choice, name) => {
        const root = { value: reordered(generated) }
        const containers = [...objectsIn(root)]
        fc.pre(addTo(containers[choice % containers.length] as object, offender, name))
        expect(() => encodeValue(root)).toThrow(UnserializableValueError)
        try {
          encodeValue(root)
        } catch (error) {
          expect(resolve(root, (error as UnserializableValueError).path)).toBe(offender)
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('encodedEqual', () => {
  it('agrees with deep equality', () => {
    const pair = fc.oneof(
      fc.tuple(cloneableTree, cloneableTree),
      fc.tuple(fc.array(fc.constantFrom(1, 2, -0, '1', '2')), fc.array(fc.constantFrom(1, 2, -0, '1', '2'))),
      fc.tuple(
        fc.dictionary(fc.constantFrom('a', 'b', 'c'), fc.nat(2), { noNullPrototype: true }),
        fc.dictionary(fc.constantFrom('c', 'b', 'a'), fc.nat(2), { noNullPrototype: true }),
      ),
      fc.tuple(
        fc.uniqueArray(fc.nat(3)).map(list => new Set(list.map(n => [n]))),
        fc.uniqueArray(fc.nat(3)).map(list => new Set(list.map(n => [n]))),
      ),
    )
    fc.assert(
      fc.property(pair, ([a, b]) => {
        expect(encodedEqual(encodeValue(a), encodeValue(b))).toBe(isDeepStrictEqual(a, b))
      }),
      { numRuns: 1_000 },
    )
  })

  it('does not depend on the order of properties', () => {
    fc.assert(
      fc.property(cloneable, value => {
        const root = { value, more: undefined }
        expect(encodedEqual(encodeValue(root), encodeValue(reordered(root)))).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  it('notices a change at any place', () => {
    fc.assert(
      fc.property(cloneable, fc.nat(), (generated, choice) => {
        const root = { value: reordered(generated) }
        const before = encodeValue(root)
        const containers = [...objectsIn(root)]
        fc.pre(addTo(containers[choice % containers.length] as object, 'never before', 'never before'))
        expect(encodedEqual(before, encodeValue(root))).toBe(false)
      }),
      { numRuns: 500 },
    )
  })
})

describe('damaged bytes', () => {
  it('give a value or a DataIntegrityError', () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 4,
    })
    fc.assert(
      fc.property(cloneable, damage, fc.boolean(), (value, changes, cut) => {
        const damaged = Buffer.from(encodeValue([value, undefined]).bytes)
        for (const [place, byte] of changes) damaged[place % damaged.length] = byte
        const end = cut ? (changes[0]?.[0] ?? 0) % damaged.length : damaged.length
        for (const codec of [V8_CODEC, JSON_CODEC]) {
          try {
            decodeValue(codec, damaged.subarray(0, end))
          } catch (error) {
            expect(error).toBeInstanceOf(DataIntegrityError)
          }
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

/** The same value, sharing and all, with the properties of every object in reverse order. */
function reordered(value: unknown, copies = new Map<object, object>()): unknown {
  if (typeof value !== 'object' || value === null) return value
  const known = copies.get(value)
  if (known !== undefined) return known
  if (types.isMap(value)) {
    const copy = new Map()
    copies.set(value, copy)
    for (const [k, v] of value) copy.set(reordered(k, copies), reordered(v, copies))
    return copy
  }
  if (types.isSet(value)) {
    const copy = new Set()
    copies.set(value, copy)
    for (const member of value) copy.add(reordered(member, copies))
    return copy
  }
  if (types.isNativeError(value)) {
    const copy: Error = Reflect.construct(value.constructor, [value.message])
    copies.set(value, copy)
    Object.defineProperty(copy, 'cause', { value: reordered(value.cause, copies) })
    return copy
  }
  const isArray = Array.isArray(value)
  if (!isArray && Object.getPrototypeOf(value) !== Object.prototype) return value
  const copy: object = isArray ? [] : {}
  copies.set(value, copy)
  if (isArray) (copy as unknown[]).length = value.length
  for (const [name, member] of Object.entries(value).reverse()) {
    define(copy, name, reordered(member, copies))
  }
  return copy
}
