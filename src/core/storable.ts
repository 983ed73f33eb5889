import { isDeepStrictEqual, types } from 'node:util'
import { UnserializableValueError } from './errors.ts'
import { MAX_VALUE_DEPTH } from './json-exact.ts'
import { VIEW_TYPES } from './view-types.ts'

/** A step from a value to a part of it. Steps form a chain, and become text only for an error. */
interface Step {
  readonly parent: Step | undefined
  readonly to: string | number | symbol
  readonly by: 'property' | 'map key' | 'map value' | 'set member'
  readonly depth: number
}

interface Visit {
  /** Every object met: each is looked at once, and cycles end. */
  readonly seen: Set<object>
  /** The errors whose causes are being looked at. */
  readonly causing: Set<object>
}

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u
const INDEX = /^(?:0|[1-9]\d{0,14})$/
const LONGEST_PATH_IN_MESSAGE = 120

/** The classes of error that structured clone tells apart. */
const ERROR_TYPES = [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError]

const BUILT_IN_TYPES = new Set(
  [Object, Array, Map, Set, Date, RegExp, ArrayBuffer, ...ERROR_TYPES, ...VIEW_TYPES].map(type => type.name),
)

/**
 * Makes sure that structured clone carries the whole value, so that it comes back equal (`util.isDeepStrictEqual`).
 *
 * @throws {UnserializableValueError} naming the first part that it would not carry, and the path to that
 */
export function assertStorable(value: unknown): void {
  try {
    visit(value, undefined, { seen: new Set(), causing: new Set() })
  } catch (cause) {
    if (cause instanceof UnserializableValueError) throw cause
    refuse(undefined, `a value that cannot be looked through (${String(cause)})`, cause)
  }
}

function visit(value: unknown, at: Step | undefined, state: Visit): void {
  if (typeof value === 'function') refuse(at, 'a function; only data can be stored')
  if (typeof value === 'symbol') refuse(at, 'a symbol, which exists only inside a running program')
  if (typeof value !== 'object' || value === null) return
  if (at !== undefined && at.depth >= MAX_VALUE_DEPTH) {
    refuse(
      at,
      `nested too deeply: at most ${MAX_VALUE_DEPTH} levels; keep parts of it under keys of their own`,
    )
  }
  if (types.isProxy(value)) refuse(at, 'a Proxy; store a plain copy of what it stands for')
  if (types.isPromise(value)) refuse(at, 'a promise; await it, and store what it resolves with')
  if (state.seen.has(value)) {
    // V8 writes an error that is part of its own cause, and then fails to read it back.
    if (state.causing.has(value)) refuse(at, 'an error inside its own cause')
    return
  }
  state.seen.add(value)
  refuseSymbolKeys(value, at)
  visitObject(value, at, state)
}

function visitObject(value: object, at: Step | undefined, state: Visit): void {
  if (Array.isArray(value)) {
    requirePrototype(value, Array.prototype, at)
    visitProperties(value, at, state)
  } else if (types.isMap(value)) {
    requirePrototype(value, Map.prototype, at)
    refuseProperties(value, at)
    visitMap(value, at, state)
  } else if (types.isSet(value)) {
    requirePrototype(value, Set.prototype, at)
    refuseProperties(value, at)
    visitSet(value, at, state)
  } else if (types.isDate(value)) {
    requirePrototype(value, Date.prototype, at)
    refuseProperties(value, at)
    // By the rule for values it is not even equal to itself.
    if (Number.isNaN(value.getTime())) refuse(at, 'an invalid Date; store null instead')
  } else if (types.isRegExp(value)) {
    requirePrototype(value, RegExp.prototype, at)
    refuseProperties(value, at)
    if (value.lastIndex !== 0) refuse(at, 'a RegExp whose lastIndex is not 0, which would be lost')
  } else if (types.isNativeError(value)) {
    visitError(value, at, state)
  } else if (ArrayBuffer.isView(value)) {
    assertStorableView(value, at)
  } else if (types.isArrayBuffer(value)) {
    requirePrototype(value, ArrayBuffer.prototype, at)
    refuseProperties(value, at)
    refuseDetached(value, at)
  } else if (types.isBoxedPrimitive(value)) {
    refuse(at, `a boxed primitive, an object of the class ${className(value)}; store its valueOf() instead`)
  } else if (types.isArgumentsObject(value)) {
    refuse(at, 'an arguments object; store it as an array: [...arguments]')
  } else {
    requirePrototype(value, Object.prototype, at)
    visitProperties(value, at, state)
  }
}

function visitProperties(holder: object, at: Step | undefined, state: Visit): void {
  for (const key of Object.keys(holder)) {
    const member = read(holder, key, at)
    if (needsVisit(member)) visit(member, stepTo(key, 'property', at), state)
  }
}

function read(holder: object, key: string, at: Step | undefined): unknown {
  try {
    return (holder as Record<string, unknown>)[key]
  } catch (cause) {
    return refuse(stepTo(key, 'property', at), 'a property that throws when it is read', cause)
  }
}

function visitMap(map: Map<unknown, unknown>, at: Step | undefined, state: Visit): void {
  let position = 0
  for (const [key, value] of map) {
    if (needsVisit(key)) visit(key, stepTo(position, 'map key', at), state)
    if (needsVisit(value)) visit(value, stepTo(position, 'map value', at), state)
    position++
  }
}

function visitSet(set: Set<unknown>, at: Step | undefined, state: Visit): void {
  let position = 0
  for (const member of set) {
    if (needsVisit(member)) visit(member, stepTo(position, 'set member', at), state)
    position++
  }
}

/** Of an error, structured clone carries its class, `message`, `cause` and `stack`. */
function visitError(error: Error, at: Step | undefined, state: Visit): void {
  const type = ERROR_TYPES.find(candidate => candidate.prototype === Object.getPrototypeOf(error))
  if (type === undefined) refuseClass(error, at)
  refuseProperties(error, at)
  const message = Object.getOwnPropertyDescriptor(error, 'message')
  if (message !== undefined && typeof message.value !== 'string') {
    refuse(stepTo('message', 'property', at), 'an error message that is not a string')
  }
  const cause = Object.getOwnPropertyDescriptor(error, 'cause')
  if (cause?.get !== undefined)
    refuse(stepTo('cause', 'property', at), 'a getter on an error, which would be lost')
  if (error.name !== type.name) {
    refuse(
      stepTo('name', 'property', at),
      `a name other than that of its class, ${type.name}, and would be lost`,
    )
  }
  state.causing.add(error)
  if (needsVisit(cause?.value)) visit(cause?.value, stepTo('cause', 'property', at), state)
  state.causing.delete(error)
}

function assertStorableView(view: ArrayBufferView, at: Step | undefined): void {
  const type = VIEW_TYPES.find(candidate => candidate.prototype === Object.getPrototypeOf(view))
  if (type === undefined) refuseClass(view, at)
  if (types.isSharedArrayBuffer(view.buffer)) refuse(at, `a ${type.name} of shared memory; store a copy`)
  refuseDetached(view.buffer, at)
  // A view like it differs only in properties beside the elements. To look for those among the keys lists each index.
  const isBare = types.isTypedArray(view) && isDeepStrictEqual(view, view.subarray())
  if (!isBare) refuseProperties(view, at)
}

function needsVisit(value: unknown): boolean {
  return (
    (typeof value === 'object' && value !== null) || typeof value === 'function' || typeof value === 'symbol'
  )
}

function requirePrototype(value: object, expected: object, at: Step | undefined): void {
  if (Object.getPrototypeOf(value) !== expected) refuseClass(value, at)
}

function refuseSymbolKeys(value: object, at: Step | undefined): void {
  for (const symbol of Object.getOwnPropertySymbols(value)) {
    const isEnumerable = Object.prototype.propertyIsEnumerable.call(value, symbol)
    // Deep equality looks at the tag of an object even where it is not enumerable.
    if (isEnumerable || symbol === Symbol.toStringTag) {
      refuse(stepTo(symbol, 'property', at), 'a property under a symbol, which would be lost')
    }
  }
}

function refuseProperties(value: object, at: Step | undefined): void {
  const elements = types.isTypedArray(value) ? value.length : 0
  const key = Object.keys(value)[elements] // elements come before other properties
  if (key !== undefined) {
    refuse(
      stepTo(key, 'property', at),
      `a property added to an object of the class ${className(value)}, and would be lost`,
    )
  }
}

function refuseDetached(memory: ArrayBufferLike, at: Step | undefined): void {
  try {
    new Uint8Array(memory)
  } catch (cause) {
    refuse(at, 'binary data whose memory was transferred elsewhere', cause)
  }
}

function refuseClass(value: object, at: Step | undefined): never {
  const prototype = Object.getPrototypeOf(value)
  if (prototype === null)
    refuse(at, 'an object without a prototype; spread it into a plain object: {...value}')
  if (!Object.hasOwn(prototype, 'constructor')) {
    refuse(at, 'an object that inherits from another object; spread it into a plain object: {...value}')
  }
  const name = className(value)
  if (BUILT_IN_TYPES.has(name)) {
    refuse(at, `not a genuine ${name} of this program (perhaps of a node:vm context); store a copy`)
  }
  refuse(at, `an object of the class ${name}, which it would lose; convert it to plain data first`)
}

function className(value: object): string {
  const type: unknown = Object.getPrototypeOf(value).constructor
  return typeof type === 'function' && type.name !== '' ? `${type.name}` : '(anonymous)'
}

function stepTo(to: Step['to'], by: Step['by'], parent: Step | undefined): Step {
  return { parent, to, by, depth: (parent?.depth ?? 0) + 1 }
}

function refuse(at: Step | undefined, what: string, cause?: unknown): never {
  const path = formatPath(at)
  const place = path.length > LONGEST_PATH_IN_MESSAGE ? `${path.slice(0, LONGEST_PATH_IN_MESSAGE)}…` : path
  throw new UnserializableValueError(
    `Cannot store the value: ${place} is ${what}.`,
    path,
    cause === undefined ? undefined : { cause },
  )
}

/** Such as `$.items[3]["odd key"]`, `$.map<key 0>`, `$.map<value 0>`, `$.set<2>`. */
function formatPath(at: Step | undefined): string {
  const steps: string[] = []
  for (let step = at; step !== undefined; step = step.parent) steps.push(formatStep(step))
  return `$${steps.reverse().join('')}`
}

function formatStep({ to, by }: Step): string {
  if (by === 'map key') return `<key ${String(to)}>`
  if (by === 'map value') return `<value ${String(to)}>`
  if (by === 'set member') return `<${String(to)}>`
  if (typeof to !== 'string' || INDEX.test(to)) return `[${String(to)}]`
  return IDENTIFIER.test(to) ? `.${to}` : `[${JSON.stringify(to)}]`
}
