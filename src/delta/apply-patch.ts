import { inspect } from 'node:util'
import { DeltaError } from '../core/errors.ts'
import { valuesEqual } from '../core/value-equality.ts'
import type { JsonPatchOperation } from './json-patch.ts'
import { isIndex, parsePointer } from './json-pointer.ts'

type PlainObject = Record<string, unknown>

/**
 * What the patch makes of `value`. All six operations of RFC 6902 are known.
 *
 * Neither `value` nor the patch is changed. The result shares with them the parts that no operation touched.
 * Properties named `__proto__` are data like any other. In arrays and plain objects operations may change things;
 * anything else is a leaf to them.
 *
 * @throws {DeltaError} naming the operation that is malformed, does not fit the value, or is a `test` that fails; the
 * patch is then not applied at all.
 *
 * @example
 * ```ts
 * applyPatch({ visits: 1 }, [{ op: 'replace', path: '/visits', value: 2 }]) // { visits: 2 }
 * ```
 */
export function applyPatch(value: unknown, patch: readonly JsonPatchOperation[]): unknown {
  if (!Array.isArray(patch)) throw new DeltaError('A JSON Patch must be an array of operations.')
  const draft: Draft = { root: value, own: new Set() }
  for (const [index, operation] of patch.entries()) {
    const refuse: Refuse = reason => {
      throw new DeltaError(
        `JSON Patch operation ${index} (${describe(operation)}) ${reason}. Nothing was applied.`,
      )
    }
    applyOperation(draft, operation, refuse)
  }
  return draft.root
}

/** A value being changed: containers are copied when first written to, and are ours from then on. */
interface Draft {
  root: unknown
  own: Set<object>
}

type Refuse = (reason: string) => never

function applyOperation(draft: Draft, operation: JsonPatchOperation, refuse: Refuse): void {
  if (typeof operation !== 'object' || operation === null) refuse('is not an object')
  const path = tokensOf(operation.path, 'path', refuse)
  switch (operation.op) {
    case 'add':
      add(draft, path, operandOf(operation, refuse), refuse)
      break
    case 'remove':
      remove(draft, path, refuse)
      break
    case 'replace':
      replace(draft, path, operandOf(operation, refuse), refuse)
      break
    case 'move': {
      const from = tokensOf(operation.from, 'from', refuse)
      const isInside = from.length < path.length && from.every((token, i) => token === path[i])
      if (isInside) refuse('moves a value into itself')
      if (from.length > 0) add(draft, path, remove(draft, from, refuse), refuse)
      break
    }
    case 'copy': {
      const copied = read(draft, tokensOf(operation.from, 'from', refuse), refuse)
      // Two places now hold the same containers; whichever is written to first makes its copy.
      draft.own = new Set()
      add(draft, path, copied, refuse)
      break
    }
    case 'test': {
      const isSame = valuesEqual(read(draft, path, refuse), operandOf(operation, refuse))
      if (!isSame) refuse('found another value there')
      break
    }
    default:
      refuse('is not one of add, remove, replace, move, copy, test')
  }
}

function tokensOf(pointer: unknown, name: string, refuse: Refuse): string[] {
  if (typeof pointer !== 'string') return refuse(`has no "${name}"`)
  return (
    parsePointer(pointer) ??
    refuse(`has a "${name}" that is not a JSON Pointer: "" or "/…", with ~ as ~0 and / as ~1`)
  )
}

function operandOf(operation: { readonly value?: unknown }, refuse: Refuse): unknown {
  return Object.hasOwn(operation, 'value') ? operation.value : refuse('has no "value"')
}

function add(draft: Draft, path: readonly string[], value: unknown, refuse: Refuse): void {
  const key = path.at(-1)
  if (key === undefined) {
    draft.root = value
    return
  }
  const parent = writable(draft, path.slice(0, -1), refuse)
  if (Array.isArray(parent)) {
    parent.splice(key === '-' ? parent.length : indexOf(key, parent.length + 1, refuse), 0, value)
  } else {
    setMember(parent, key, value)
  }
}

function remove(draft: Draft, path: readonly string[], refuse: Refuse): unknown {
  const key = path.at(-1)
  if (key === undefined) return refuse('would leave no value at all; replace the whole value instead')
  const parent = writable(draft, path.slice(0, -1), refuse)
  const removed = memberOf(parent, key, refuse)
  if (Array.isArray(parent)) parent.splice(Number(key), 1)
  else delete parent[key]
  return removed
}

function replace(draft: Draft, path: readonly string[], value: unknown, refuse: Refuse): void {
  const key = path.at(-1)
  if (key === undefined) {
    draft.root = value
    return
  }
  const parent = writable(draft, path.slice(0, -1), refuse)
  memberOf(parent, key, refuse)
  setMember(parent, key, value)
}

function read(draft: Draft, path: readonly string[], refuse: Refuse): unknown {
  let value = draft.root
  for (const token of path) value = memberOf(requireContainer(value, refuse), token, refuse)
  return value
}

/** The container at `path`, and all on the way to it, made our own. */
function writable(draft: Draft, path: readonly string[], refuse: Refuse): PlainObject | unknown[] {
  let container = ownCopy(draft, draft.root, refuse)
  draft.root = container
  for (const token of path) {
    const member = ownCopy(draft, memberOf(container, token, refuse), refuse)
    setMember(container, token, member)
    container = member
  }
  return container
}

function ownCopy(draft: Draft, value: unknown, refuse: Refuse): PlainObject | unknown[] {
  const container = requireContainer(value, refuse)
  if (draft.own.has(container)) return container
  const copy = copyOf(container)
  draft.own.add(copy)
  return copy
}

function copyOf(container: PlainObject | unknown[]): PlainObject | unknown[] {
  if (Array.isArray(container)) return container.slice()
  return Object.getPrototypeOf(container) === null
    ? Object.assign(Object.create(null), container)
    : { ...container }
}

function requireContainer(value: unknown, refuse: Refuse): PlainObject | unknown[] {
  if (Array.isArray(value)) return value
  if (typeof value !== 'object' || value === null) return refuse('leads through a value that has no members')
  const prototype = Object.getPrototypeOf(value)
  if (prototype === null || prototype === Object.prototype) return value as PlainObject
  return refuse('leads into an object that is neither an array nor a plain object')
}

function memberOf(container: PlainObject | unknown[], token: string, refuse: Refuse): unknown {
  if (Array.isArray(container)) return container[indexOf(token, container.length, refuse)]
  if (!Object.hasOwn(container, token)) return refuse(`finds no member ${JSON.stringify(token)}`)
  return container[token]
}

function setMember(container: PlainObject | unknown[], token: string, value: unknown): void {
  if (Array.isArray(container)) container[Number(token)] = value
  else if (token === '__proto__') {
    Object.defineProperty(container, token, { value, writable: true, enumerable: true, configurable: true })
  } else container[token] = value
}

function indexOf(token: string, length: number, refuse: Refuse): number {
  if (!isIndex(token)) return refuse(`has ${JSON.stringify(token)} for the index of an array`)
  const index = Number(token)
  if (index >= length) return refuse(`has an index out of range: ${token}`)
  return index
}

function describe(operation: unknown): string {
  if (typeof operation !== 'object' || operation === null) return inspect(operation, { depth: 0 })
  const { op, from, path } = operation as Record<string, unknown>
  const places = [from, path].filter(place => place !== undefined).map(place => clip(inspect(place)))
  return [clip(String(op)), places.join(' to ')].join(' ')
}

function clip(text: string): string {
  return text.length > 120 ? `${text.slice(0, 120)}…` : text
}
