import { types } from 'node:util'
import { asBuffer } from '../core/bytes.ts'
import { isJsonExact } from '../core/json-exact.ts'
import { assertStorable } from '../core/storable.ts'
import { VIEW_TYPES } from '../core/view-types.ts'
import { importError } from './import-error.ts'
import type { JsonValue } from './plain-json.ts'

type JsonObject = { [name: string]: JsonValue }

/** The member that makes an object a tag. */
const TAG = '$type'

/** The metadata of a file whose values are in the form of {@link toTypedJson}. */
export const TAGGED_METADATA = { types: 'tagged' } as const

/** Whether a file's metadata say that its values are to be read with {@link fromTypedJson}. */
export function isTagged(metadata: unknown): boolean {
  return (
    typeof metadata === 'object' &&
    metadata !== null &&
    (metadata as { types?: unknown }).types === TAGGED_METADATA.types
  )
}

/** The numbers that JSON does not have, by what they are called here. */
const NAMED_NUMBERS = new Map<string, number>([
  ['-0', -0],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
])

const ERROR_TYPES = [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError]

/**
 * Any value that can be stored, as JSON that {@link fromTypedJson} turns back into an equal one.
 *
 * What JSON has, stands for itself. Anything else is an object with the member `$type`:
 *
 * | `$type` | other members |
 * |---|---|
 * | `Undefined` | |
 * | `Number` | `value`: `"NaN"`, `"Infinity"`, `"-Infinity"` or `"-0"` |
 * | `BigInt` | `value`: decimal digits |
 * | `Date` | `value`: ISO 8601 |
 * | `RegExp` | `source`, `flags` |
 * | `Map` | `value`: list of `[key, value]` |
 * | `Set` | `value`: list |
 * | `Error` | `name` of its class; `value`: object of its `message`, `stack` and `cause`, where it has them |
 * | `ArrayBuffer`, `DataView`, `Buffer`, `Uint8Array`, … | `value`: the bytes in base64, as they lie in memory (little-endian) |
 * | `Array` | one with holes or named properties: `length`, and `value`: object of its properties |
 * | `Object` | a plain object that has a member `$type` itself: `value`: object of its members |
 * | `Graph` | only around a whole value in which objects occur more than once, or contain themselves: `shared`: list of these objects; `value` |
 * | `Reference` | `value`: index in `shared` |
 *
 * @returns JSON that may share parts with `value`.
 * @throws {UnserializableValueError} for what cannot be stored either.
 */
export function toTypedJson(value: unknown): JsonValue {
  // Most values need no tag, and this is the quickest way to know.
  if (isJsonExact(value) && !hasTag(value as JsonValue)) return value as JsonValue
  assertStorable(value)
  const encoding: Encoding = { shared: findShared(value), indices: new Map() }
  const json = encode(value, encoding)
  const shared: JsonValue[] = []
  // A Map goes on to what is added while it is iterated: encoding one object may meet others.
  for (const object of encoding.indices.keys()) shared.push(encodeObject(object, encoding))
  return shared.length === 0 ? json : { [TAG]: 'Graph', shared, value: json }
}

function hasTag(json: JsonValue): boolean {
  if (typeof json !== 'object' || json === null) return false
  if (Array.isArray(json)) return json.some(hasTag)
  return Object.hasOwn(json, TAG) || Object.values(json).some(hasTag)
}

interface Encoding {
  /** The objects that occur more than once. */
  readonly shared: ReadonlySet<object>
  /**
   * Those of them that have been met, numbered in that order. They are encoded after the value itself, one by one, so
   * that the way from one to the next does not nest the JSON.
   */
  readonly indices: Map<object, number>
}

/** An explicit stack, since the way through a cycle may be longer than the call stack. */
function findShared(value: unknown): Set<object> {
  const seen = new Set<object>()
  const shared = new Set<object>()
  const pending = [value]
  while (pending.length > 0) {
    const next = pending.pop()
    if (typeof next !== 'object' || next === null) continue
    if (seen.has(next)) {
      shared.add(next)
    } else {
      seen.add(next)
      for (const part of partsOf(next)) pending.push(part)
    }
  }
  return shared
}

function partsOf(value: object): Iterable<unknown> {
  if (ArrayBuffer.isView(value)) return []
  if (types.isMap(value)) return [...value].flat()
  if (types.isSet(value)) return value
  if (types.isNativeError(value)) return [value.cause]
  return Object.values(value)
}

function encode(value: unknown, encoding: Encoding): JsonValue {
  switch (typeof value) {
    case 'number':
      if (Number.isFinite(value) && !Object.is(value, -0)) return value
      return { [TAG]: 'Number', value: Object.is(value, -0) ? '-0' : String(value) }
    case 'bigint':
      return { [TAG]: 'BigInt', value: String(value) }
    case 'undefined':
      return { [TAG]: 'Undefined' }
    case 'object':
      if (value === null) return null
      return encoding.shared.has(value) ? encodeReference(value, encoding) : encodeObject(value, encoding)
    default:
      return value as string | boolean
  }
}

function encodeReference(object: object, { indices }: Encoding): JsonValue {
  const index = indices.get(object) ?? indices.size
  indices.set(object, index)
  return { [TAG]: 'Reference', value: index }
}

function encodeObject(value: object, encoding: Encoding): JsonValue {
  if (Array.isArray(value)) return encodeArray(value, encoding)
  if (types.isDate(value)) return { [TAG]: 'Date', value: value.toISOString() }
  if (types.isRegExp(value)) return { [TAG]: 'RegExp', source: value.source, flags: value.flags }
  if (types.isMap(value)) {
    return { [TAG]: 'Map', value: Array.from(value, entry => encodeList(entry, encoding)) }
  }
  if (types.isSet(value)) return { [TAG]: 'Set', value: encodeList([...value], encoding) }
  if (types.isNativeError(value)) {
    const own = Object.getOwnPropertyNames(value)
    return { [TAG]: 'Error', name: value.name, value: encodeMembers(value, own, encoding) }
  }
  if (types.isArrayBuffer(value)) return encodeBytes('ArrayBuffer', new Uint8Array(value))
  if (ArrayBuffer.isView(value)) {
    const type = VIEW_TYPES.find(({ prototype }) => prototype === Object.getPrototypeOf(value))
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    return encodeBytes((type as { name: string }).name, bytes)
  }
  const members = encodeMembers(value, Object.keys(value), encoding)
  return Object.hasOwn(value, TAG) ? { [TAG]: 'Object', value: members } : members
}

function encodeArray(array: readonly unknown[], encoding: Encoding): JsonValue {
  const names = Object.keys(array)
  // Indices come first and ascend: as many names as elements, of which the last is an index, are all the indices.
  const isDense = names.length === array.length && (names.at(-1) ?? '-1') === String(array.length - 1)
  if (isDense) return encodeList(array, encoding)
  return { [TAG]: 'Array', length: array.length, value: encodeMembers(array, names, encoding) }
}

function encodeList(elements: readonly unknown[], encoding: Encoding): JsonValue[] {
  return elements.map(element => encode(element, encoding))
}

function encodeMembers(object: object, names: readonly string[], encoding: Encoding): JsonObject {
  const json: JsonObject = {}
  for (const name of names) setOwn(json, name, encode((object as Record<string, unknown>)[name], encoding))
  return json
}

function encodeBytes(name: string, bytes: Uint8Array): JsonValue {
  return { [TAG]: name, value: asBuffer(bytes).toString('base64') }
}

/** Assigning would call the setter that objects inherit for `__proto__`. */
function setOwn(object: object, name: string, value: unknown): void {
  if (name === '__proto__') {
    Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true })
  } else {
    ;(object as Record<string, unknown>)[name] = value
  }
}

/**
 * The value that {@link toTypedJson} gave this JSON for. Objects that occurred in it more than once are one again.
 *
 * @param json What `JSON.parse` gave for a file whose metadata are {@link TAGGED_METADATA}. It is not changed.
 * @param where For the error.
 * @throws {ImportError} for a tag that is unknown or not of its form.
 */
export function fromTypedJson(
  json: unknown,
  where: { readonly file: string; readonly line?: number },
): unknown {
  try {
    if (!isObject(json) || json[TAG] !== 'Graph') return decode(json, [])
    const bodies = list(json.shared)
    const shared = bodies.map(create)
    for (const [i, object] of shared.entries()) fill(object, bodies[i], shared)
    return decode(json.value, shared)
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw importError(
      where.file,
      where.line,
      `the entry has a "${TAG}" that cannot be read (${problem}). Export it again, with a version of varve no newer than this one.`,
      error,
    )
  }
}

/** @param shared What references refer to. Each is there, but may not have been filled yet. */
function decode(json: unknown, shared: readonly object[]): unknown {
  if (typeof json !== 'object' || json === null) return json
  if (isObject(json)) {
    switch (json[TAG]) {
      case 'Undefined':
        return undefined
      case 'Number':
        return check(NAMED_NUMBERS.get(text(json.value)), 'a number of an unknown name')
      case 'BigInt':
        return BigInt(check(/^-?\d+$/.exec(text(json.value))?.[0], 'a BigInt that is not decimal'))
      case 'Reference':
        return check(shared[Number(json.value)], 'a reference to nothing')
    }
  }
  const object = create(json)
  fill(object, json, shared)
  return object
}

/** The object that `json` is the form of, still without the parts in which there may be references. */
function create(json: unknown): object {
  if (Array.isArray(json)) return []
  if (!isObject(json)) throw new TypeError('a primitive among the shared objects')
  if (!Object.hasOwn(json, TAG)) return {}
  const tag = text(json[TAG])
  switch (tag) {
    case 'Object':
      return {}
    case 'Array': {
      const array: unknown[] = []
      array.length = Number(json.length)
      return array
    }
    case 'Date': {
      const date = new Date(text(json.value))
      return check(date.toISOString() === json.value ? date : undefined, 'a date of another form')
    }
    case 'RegExp':
      return new RegExp(text(json.source), text(json.flags))
    case 'Map':
      return new Map()
    case 'Set':
      return new Set()
    case 'Error': {
      const type = ERROR_TYPES.find(({ name }) => name === json.name)
      return new (check(type, 'an error of an unknown class'))()
    }
    case 'ArrayBuffer':
      return decodeBytes(json.value)
    default: {
      const type = VIEW_TYPES.find(({ name }) => name === tag)
      return check(type, `the unknown type ${JSON.stringify(tag)}`).over(decodeBytes(json.value))
    }
  }
}

/** Puts into `object` what `create(json)` left out. */
function fill(object: object, json: unknown, shared: readonly object[]): void {
  if (Array.isArray(json)) {
    for (const element of json) (object as unknown[]).push(decode(element, shared))
    return
  }
  if (!isObject(json)) return
  if (!Object.hasOwn(json, TAG)) {
    fillMembers(object, json, shared)
    return
  }
  switch (json[TAG]) {
    case 'Object':
    case 'Array':
      fillMembers(object, members(json.value), shared)
      break
    case 'Map':
      for (const entry of list(json.value)) {
        const [key, value] = list(entry)
        ;(object as Map<unknown, unknown>).set(decode(key, shared), decode(value, shared))
      }
      break
    case 'Set':
      for (const element of list(json.value)) (object as Set<unknown>).add(decode(element, shared))
      break
    case 'Error':
      fillError(object, members(json.value), shared)
      break
  }
}

function fillMembers(object: object, json: JsonRecord, shared: readonly object[]): void {
  for (const name of Object.keys(json)) setOwn(object, name, decode(json[name], shared))
}

function fillError(error: object, json: JsonRecord, shared: readonly object[]): void {
  // What the constructor made, the stack above all, is not this error's.
  for (const name of Object.getOwnPropertyNames(error)) Reflect.deleteProperty(error, name)
  for (const name of Object.keys(json)) {
    const value = decode(json[name], shared)
    Object.defineProperty(error, name, { value, writable: true, enumerable: false, configurable: true })
  }
}

/** The bytes, in memory of their own. */
function decodeBytes(json: unknown): ArrayBuffer {
  const base64 = text(json)
  const bytes = Buffer.from(base64, 'base64')
  // Node.js skips what is not base64; damage must not pass for fewer bytes.
  if (bytes.toString('base64') !== base64) throw new TypeError('bytes that are not base64')
  return Uint8Array.from(bytes).buffer
}

/** A JSON object. The members that have a name here are those of tags. */
interface JsonRecord {
  readonly [name: string]: unknown
  readonly value?: unknown
  readonly shared?: unknown
  readonly length?: unknown
  readonly source?: unknown
  readonly flags?: unknown
  readonly name?: unknown
}

function isObject(json: unknown): json is JsonRecord {
  return typeof json === 'object' && json !== null && !Array.isArray(json)
}

function members(json: unknown): JsonRecord {
  return check(isObject(json) ? json : undefined, 'something else where an object should be')
}

function list(json: unknown): readonly unknown[] {
  return check(Array.isArray(json) ? json : undefined, 'something else where a list should be')
}

function text(json: unknown): string {
  return check(typeof json === 'string' ? json : undefined, 'something else where a string should be')
}

function check<T>(value: T | undefined, problem: string): T {
  if (value === undefined) throw new TypeError(problem)
  return value
}
