import { UnserializableValueError } from '../core/errors.ts'
import { isJsonExact, MAX_VALUE_DEPTH } from '../core/json-exact.ts'

/** What JSON can express. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [name: string]: JsonValue }

/**
 * How many objects of a value may be repeats. References to references multiply: a value of a hundred objects can stand
 * for more text than any disk holds.
 */
const MAX_REPEATS = 1_000_000

/**
 * The value as JSON, where JSON carries it exactly: strings, booleans, null, finite numbers but -0, and plain objects
 * and arrays without holes. Nothing is converted; what is returned is `value` itself. An object that occurs more than
 * once will be as many equal ones.
 *
 * @param key The key that the value is stored under, for the error.
 * @throws {UnserializableValueError} for any other value, naming the key, and the path of the first part that JSON
 * would lose or change.
 */
export function toPlainJson(value: unknown, key: string): JsonValue {
  if (isJsonExact(value)) return value as JsonValue
  const walk: Walk = { path: [], open: new Set(), seen: new Set(), repeats: 0 }
  const inexact = findInexact(value, walk)
  if (inexact === undefined) return value as JsonValue
  const place = formatPath(walk.path)
  throw new UnserializableValueError(
    `Cannot export the value of ${JSON.stringify(key)} as plain JSON: it has ${inexact} at ${place}. Export with types: 'tagged' to keep it.`,
    place,
  )
}

interface Walk {
  /** Where in the value the walk is. */
  readonly path: (string | number)[]
  /** The objects around that place. */
  readonly open: Set<object>
  readonly seen: Set<object>
  repeats: number
}

/** What the first part of `value` is that JSON does not carry; the walk then stands at it. */
function findInexact(value: unknown, walk: Walk): string | undefined {
  if (typeof value !== 'object') return describeInexactPrimitive(value)
  if (value === null) return undefined
  if (walk.open.has(value)) return 'a reference to an object that contains it'
  if (walk.open.size === MAX_VALUE_DEPTH) return `more than ${MAX_VALUE_DEPTH} levels of nesting`
  if (walk.seen.has(value) && ++walk.repeats > MAX_REPEATS) return 'references that multiply without end'
  if (!isPlain(value)) return describeObject(value)
  walk.seen.add(value)
  walk.open.add(value)
  for (const [name, part] of Object.entries(value)) {
    walk.path.push(Array.isArray(value) ? Number(name) : name)
    const inexact = findInexact(part, walk)
    if (inexact !== undefined) return inexact
    walk.path.pop()
  }
  walk.open.delete(value)
  return undefined
}

/** Whether this is an object without a class, or an array with all its elements and no other property. */
function isPlain(value: object): boolean {
  if (!Array.isArray(value)) return Object.getPrototypeOf(value) === Object.prototype
  const names = Object.keys(value)
  // Indices come first and ascend: as many names as elements, of which the last is an index, are all the indices.
  return names.length === value.length && (names.at(-1) ?? '-1') === String(value.length - 1)
}

function describeInexactPrimitive(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined
    case 'number':
      if (Object.is(value, -0)) return 'the number -0'
      return Number.isFinite(value) ? undefined : `the number ${value}`
    case 'undefined':
      return 'undefined'
    default:
      return `a ${typeof value}`
  }
}

function describeObject(value: object): string {
  if (Array.isArray(value)) return 'an array with holes or with properties of its own'
  const { name } = (value as { constructor?: { name?: unknown } }).constructor ?? {}
  return typeof name === 'string' && name !== '' ? `an object of the class ${name}` : 'an object of a class'
}

const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u

/** Such as `$.items[3]["odd key"]`. */
export function formatPath(segments: readonly (string | number)[]): string {
  const steps = segments.map(segment =>
    typeof segment === 'string' && IDENTIFIER.test(segment) ? `.${segment}` : `[${JSON.stringify(segment)}]`,
  )
  return `$${steps.join('')}`
}
