import { isDeepStrictEqual, types } from 'node:util'

/** How deep `util.isDeepStrictEqual` compares without using up the default stack, with room to spare. */
const SHALLOW = 400

/**
 * Whether two values, of the kinds that can be stored, are equal by `util.isDeepStrictEqual`.
 *
 * That function follows every path through a value, of which a graph (a value with shared references or cycles) may
 * have exponentially many, and it overflows the stack on deep values. Where both sides are graphs, or deep, they are
 * therefore compared part by part, each pair of objects once. That differs in two points: the order of the entries of
 * maps and sets counts, and graphs count as equal when no path tells them apart, whatever they share.
 */
export function valuesEqual(left: unknown, right: unknown): boolean {
  // One side without shared references bounds the paths that a comparison follows in both.
  if (isShallowTree(left, 0, new Set()) || isShallowTree(right, 0, new Set()))
    return isDeepStrictEqual(left, right)
  return partsEqual(left, right, new Map())
}

function isShallowTree(value: unknown, depth: number, seen: Set<object>): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (depth > SHALLOW || seen.has(value)) return false
  seen.add(value)
  for (const part of partsOf(value) ?? []) {
    if (!isShallowTree(part, depth + 1, seen)) return false
  }
  return true
}

/** @param compared For each object of the left side, those it was compared with: equal, unless the whole is not. */
function partsEqual(left: unknown, right: unknown, compared: Map<object, Set<object>>): boolean {
  if (typeof left !== 'object' || left === null || typeof right !== 'object' || right === null) {
    return Object.is(left, right)
  }
  const partners = compared.get(left)
  if (partners === undefined) compared.set(left, new Set([right]))
  else if (partners.has(right)) return true
  else partners.add(right)

  if (Object.getPrototypeOf(left) !== Object.getPrototypeOf(right)) return false
  const leftParts = partsOf(left)
  const rightParts = partsOf(right)
  if (leftParts === undefined || rightParts === undefined) return isDeepStrictEqual(left, right)
  if (leftParts.length !== rightParts.length) return false
  for (let index = 0; index < leftParts.length; index++) {
    if (!partsEqual(leftParts[index], rightParts[index], compared)) return false
  }
  return true
}

/** What makes up a container, names of properties included, in a fixed order; `undefined` for what contains nothing. */
function partsOf(value: object): unknown[] | undefined {
  if (types.isMap(value)) return [...value].flat()
  if (types.isSet(value)) return [...value]
  if (types.isNativeError(value)) {
    return [value.name, value.message, Object.hasOwn(value, 'cause'), value.cause]
  }
  if (
    types.isDate(value) ||
    types.isRegExp(value) ||
    types.isAnyArrayBuffer(value) ||
    ArrayBuffer.isView(value)
  ) {
    return undefined
  }
  const keys = Object.keys(value).sort()
  const members = keys.map(key => (value as Record<string, unknown>)[key])
  return [Array.isArray(value) ? value.length : undefined, ...keys, ...members]
}
