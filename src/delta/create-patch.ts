import { types } from 'node:util'
import { toByteString } from '../core/bytes.ts'
import { encodeValue } from '../core/value-codec.ts'
import { valuesEqual } from '../core/value-equality.ts'
import type { JsonPatchOperation } from './json-patch.ts'
import { escapeToken, isIndex } from './json-pointer.ts'
import { alignLists } from './list-alignment.ts'

/** How {@link createPatch} compares. */
export interface CreatePatchOptions {
  /**
   * Restore the order of properties too, by moving properties to where they are: a move takes a property away and adds
   * it as the last one. Other implementations take such a move for nothing, which it is to equality. Default: false.
   */
  readonly keepOrder?: boolean | undefined
}

type PlainObject = Record<string, unknown>

/** Deeper parts are compared and replaced whole. */
export const MAX_PATCH_DEPTH = 100
/** From this length on, an array of which hardly an element stays is replaced whole. */
const LONG_ARRAY = 32

/**
 * The JSON Patch that makes `before` equal to `after`: `applyPatch(before, createPatch(before, after))` is deeply
 * equal (`util.isDeepStrictEqual`) to `after`.
 *
 * Plain objects and dense arrays are descended into; all else, such as a Date, a Map, a typed array or an instance of
 * a class, is replaced whole where it differs, and so is an object met a second time in one value. The operations are
 * `add`, `remove` and `replace`, and their values are parts of `after`, not copies.
 *
 * Elements of arrays are aligned in O(n log n), so inserting one into a long array gives one operation.
 *
 * @example
 * ```ts
 * createPatch({ name: 'Ada', tags: ['a'] }, { name: 'Ada', tags: ['a', 'b'] })
 * // [{ op: 'add', path: '/tags/1', value: 'b' }]
 * ```
 */
export function createPatch(
  before: unknown,
  after: unknown,
  options: CreatePatchOptions = {},
): JsonPatchOperation[] {
  const comparison: Comparison = { operations: [], keepOrder: options.keepOrder === true, seen: new Set() }
  compare(before, after, '', 0, comparison)
  // An array that has grown has room for many more, and of patches there may be as many as there are keys.
  return comparison.operations.slice()
}

interface Comparison {
  readonly operations: JsonPatchOperation[]
  readonly keepOrder: boolean
  /** Objects and arrays descended into, on either side: cycles end, and shared parts are not unfolded. */
  readonly seen: Set<unknown>
}

function compare(before: unknown, after: unknown, path: string, depth: number, comparison: Comparison): void {
  if (Object.is(before, after)) return
  if (depth < MAX_PATCH_DEPTH && enter(before, after, comparison.seen)) {
    if (Array.isArray(before)) compareArrays(before, after as unknown[], path, depth, comparison)
    else compareObjects(before as PlainObject, after as PlainObject, path, depth, comparison)
  } else if (!sameLeaf(before, after, comparison.keepOrder)) {
    comparison.operations.push({ op: 'replace', path, value: after })
  }
}

/** Whether both are containers of the same kind that were not entered before; from then on they were. */
function enter(before: unknown, after: unknown, seen: Set<unknown>): boolean {
  const kind = containerKind(before)
  if (kind === undefined || kind !== containerKind(after) || seen.has(before) || seen.has(after)) return false
  seen.add(before).add(after)
  return true
}

/** Whether replacing `before` would change nothing. */
function sameLeaf(before: unknown, after: unknown, keepOrder: boolean): boolean {
  if (typeof before !== 'object' || typeof after !== 'object') return false
  return keepOrder ? identityOf(before) === identityOf(after) : valuesEqual(before, after)
}

function containerKind(value: unknown): 'array' | 'object' | 'bare object' | undefined {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return undefined
  if (Object.getOwnPropertySymbols(value).length > 0) return undefined
  const prototype = Object.getPrototypeOf(value)
  if (Array.isArray(value)) return prototype === Array.prototype && isDense(value) ? 'array' : undefined
  // Arguments objects, module namespaces and the like have plain prototypes, but a tag of their own.
  if (Object.prototype.toString.call(value) !== '[object Object]') return undefined
  if (prototype === null) return 'bare object'
  return prototype === Object.prototype ? 'object' : undefined
}

/** Whether an array has all its elements, and no properties beside them. */
function isDense(array: readonly unknown[]): boolean {
  let elements = 0
  for (const key in array) if (Object.hasOwn(array, key)) elements++
  if (elements !== array.length) return false
  for (let i = 0; i < array.length; i++) if (!(i in array)) return false
  return true
}

function compareObjects(
  before: PlainObject,
  after: PlainObject,
  path: string,
  depth: number,
  comparison: Comparison,
): void {
  const { operations } = comparison
  const kept: string[] = []
  for (const key of Object.keys(before)) {
    if (Object.hasOwn(after, key)) {
      kept.push(key)
      const one = before[key]
      const other = after[key]
      // Most properties are the same: a path is made for those that are not.
      if (!Object.is(one, other)) compare(one, other, `${path}/${escapeToken(key)}`, depth + 1, comparison)
    } else {
      operations.push({ op: 'remove', path: `${path}/${escapeToken(key)}` })
    }
  }
  for (const key of Object.keys(after)) {
    if (Object.hasOwn(before, key)) continue
    kept.push(key)
    operations.push({ op: 'add', path: `${path}/${escapeToken(key)}`, value: after[key] })
  }
  if (comparison.keepOrder) restoreOrder(kept, Object.keys(after), path, operations)
}

/** Moves to the end, one after the other, all properties from the first on that is not in its place. */
function restoreOrder(
  keys: readonly string[],
  wanted: readonly string[],
  path: string,
  operations: JsonPatchOperation[],
): void {
  // Keys that look like an array's index come first in every object, and need no help.
  const isNamed = (key: string): boolean => !isIndex(key) || Number(key) > 4_294_967_294
  const named = keys.filter(isNamed)
  const target = wanted.filter(isNamed)
  // What stays is the longest start of the wanted order that is in order already; all else moves behind it.
  let stays = 0
  for (const key of named) if (key === target[stays]) stays++
  for (const key of target.slice(stays)) {
    const at = `${path}/${escapeToken(key)}`
    operations.push({ op: 'move', from: at, path: at })
  }
}

function compareArrays(
  before: readonly unknown[],
  after: readonly unknown[],
  path: string,
  depth: number,
  comparison: Comparison,
): void {
  const { operations } = comparison
  const [beforeIds, afterIds] = identify(before, after)
  const matches = alignLists(beforeIds, afterIds)
  if (isMostlyNew(before, after, matches.length)) {
    operations.push({ op: 'replace', path, value: after })
    return
  }
  // Left to right: `at` is where the next element goes in the array as the operations so far have made it.
  let from = 0
  let at = 0
  for (const match of [...matches, { beforeIndex: before.length, afterIndex: after.length }]) {
    // Between two matches, elements are compared in pairs; what one side has over is removed or added.
    while (from < match.beforeIndex && at < match.afterIndex) {
      compare(before[from++], after[at], `${path}/${at}`, depth + 1, comparison)
      at++
    }
    for (; from < match.beforeIndex; from++) operations.push({ op: 'remove', path: `${path}/${at}` })
    for (; at < match.afterIndex; at++) {
      operations.push({ op: 'add', path: `${path}/${at}`, value: after[at] })
    }
    from = match.beforeIndex + 1
    at = match.afterIndex + 1
  }
}

/** Whether an operation for each element would say no less than the array itself. */
function isMostlyNew(before: readonly unknown[], after: readonly unknown[], matches: number): boolean {
  if (after.length < LONG_ARRAY || matches * 2 > after.length) return false
  let leaves = 0
  for (let i = 0; i < after.length; i++) {
    if (containerKind(after[i]) === undefined || containerKind(before[i]) === undefined) leaves++
  }
  return leaves * 2 > after.length
}

/** Numbers for the elements of two arrays, the same only where the elements are equal in every respect. */
function identify(before: readonly unknown[], after: readonly unknown[]): [Int32Array, Int32Array] {
  const numbers = new Map<unknown, number>()
  const numberOf = (element: unknown): number => {
    const identity = identityOf(element)
    let number = numbers.get(identity)
    if (number === undefined) {
      number = numbers.size
      numbers.set(identity, number)
    }
    return number
  }
  return [Int32Array.from(before, numberOf), Int32Array.from(after, numberOf)]
}

const NEGATIVE_ZERO = Symbol('-0')

/** Something that is the same, to a Map, for equal elements. Objects that cannot be encoded are equal to themselves. */
function identityOf(element: unknown): unknown {
  // To a Map, -0 is 0; and a string might spell the identity of an object.
  if (typeof element === 'string') return `"${element}`
  if (Object.is(element, -0)) return NEGATIVE_ZERO
  if (typeof element !== 'object' || element === null) return element
  try {
    const { codec, bytes } = encodeValue(element)
    return `${codec}${toByteString(bytes)}`
  } catch {
    return element
  }
}
