import { inspect, types } from 'node:util'

/**
 * How many objects, arrays, maps and so on may lie inside one another in a value, the outermost included.
 *
 * Serializing and comparing are recursive. The bound is well within what the default stack of Node.js carries, so
 * that a value that was stored can always be worked with.
 */
export const MAX_VALUE_DEPTH = 1_000

/** A value of at most so many objects unfolds into a small text, whatever they share. */
const FEW_OBJECTS = 64

/** The size in characters, roughly, up to which an object without objects inside may be written more than once. */
const SMALL_LEAF = 256

/** From this length on, listing an array's keys costs more than asking `inspect` for a summary. */
const LONG_ARRAY = 24

/** Makes `inspect` leave all elements out: what remains are their number and the properties beside them. */
const SUMMARY = { maxArrayLength: 0, depth: 0, customInspect: false, colors: false } as const

// In a for-in loop V8 compiles this call away; `Object.hasOwn` costs a fifth of the whole walk.
const isOwn = Object.prototype.hasOwnProperty

interface Walk {
  objects: number
  seen: Set<object> | undefined
}

/**
 * Whether JSON text carries the value without loss: parsing gives something that `util.isDeepStrictEqual` calls equal.
 *
 * True of null, booleans, strings, finite numbers other than -0, dense arrays and plain objects of such, up to 1,000
 * levels deep. False as soon as there is anything else: `undefined` or a hole, a symbol key, a property beside the
 * elements of an array, a `toJSON` method (an inherited one included), a cycle. It never throws.
 *
 * An object met twice also gives false, because text has to repeat it; repetitions too small to matter may be let
 * pass. Properties are read: one whose getter answers differently each time is judged by its first answer.
 */
export function isJsonExact(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return isExactPrimitive(value)
  try {
    return isExactObject(value, 1, { objects: 0, seen: undefined })
  } catch {
    return false // a getter threw, a proxy was revoked, or the stack is nearly used up
  }
}

function isExactPrimitive(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
    default:
      return value === null
  }
}

// The walk runs on every write, so it allocates nothing for small values, and asks the cheap questions first.
function isExactObject(value: object, depth: number, walk: Walk): boolean {
  if (depth > MAX_VALUE_DEPTH || !isPlain(value)) return false
  walk.objects++
  return Array.isArray(value) ? areElementsExact(value, depth, walk) : arePropertiesExact(value, depth, walk)
}

/** Whether the object is an array or a plain object, and JSON carries all that it is beside its members. */
export function isPlain(value: object): boolean {
  if (types.isProxy(value)) return false
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return false
  if (Object.getOwnPropertySymbols(value).length > 0) return false
  return Object.getPrototypeOf(value) === (Array.isArray(value) ? Array.prototype : Object.prototype)
}

function areElementsExact(array: readonly unknown[], depth: number, walk: Walk): boolean {
  if (hasPropertiesBesideElements(array)) return false
  let isLeaf = true
  let size = 0
  for (let index = 0; index < array.length; index++) {
    const element = array[index]
    if (typeof element === 'object' && element !== null) {
      if (isLeaf && isRepeated(array, walk)) return false
      isLeaf = false
      if (!isExactObject(element, depth + 1, walk)) return false
    } else {
      if (!isExactPrimitive(element)) return false
      size += textSize(element)
    }
  }
  return !(isLeaf && size > SMALL_LEAF && isRepeated(array, walk))
}

function arePropertiesExact(object: object, depth: number, walk: Walk): boolean {
  let isLeaf = true
  let size = 0
  for (const key in object) {
    if (!isOwn.call(object, key)) continue
    const member = (object as Record<string, unknown>)[key]
    if (typeof member === 'object' && member !== null) {
      if (isLeaf && isRepeated(object, walk)) return false
      isLeaf = false
      if (!isExactObject(member, depth + 1, walk)) return false
    } else {
      if (!isExactPrimitive(member)) return false
      size += textSize(member)
    }
  }
  return !(isLeaf && size > SMALL_LEAF && isRepeated(object, walk))
}

/** About how long the text of a primitive is. */
function textSize(value: unknown): number {
  return typeof value === 'string' ? value.length : 8
}

/**
 * Whether the object was met before, as far as that is tracked.
 *
 * References shared level after level make a small value unfold into text of exponential size. Every object that has
 * objects inside, or is large, is asked about before the walk enters it again; so once past the first few objects the
 * walk enters none of them more than twice. Small leaves and small values are spared the cost of being remembered.
 */
function isRepeated(value: object, walk: Walk): boolean {
  if (walk.objects <= FEW_OBJECTS) return false
  walk.seen ??= new Set()
  if (walk.seen.has(value)) return true
  walk.seen.add(value)
  return false
}

/**
 * Whether the array has enumerable properties other than its elements.
 *
 * Nothing public lists those alone. To list all keys makes a string of each index, which takes longer than writing
 * the JSON text. The summary takes the same time whatever the length; should its wording ever change, the keys decide.
 */
export function hasPropertiesBesideElements(array: readonly unknown[]): boolean {
  const { length } = array
  if (length >= LONG_ARRAY && inspect(array, SUMMARY) === `[ ... ${length} more items ]`) return false
  return Object.keys(array).length !== length
}
