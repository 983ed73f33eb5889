import { inspect, isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applyPatch, createPatch, type JsonPatchOperation } from '../../src/delta/json-patch.ts'

const key = fc.oneof(
  fc.constantFrom(
    'a',
    'b',
    'c',
    '0',
    '1',
    '10',
    '4294967295',
    '__proto__',
    'a/b',
    '~',
    '~1',
    '',
    '-',
    'length',
  ),
  fc.string({ maxLength: 3 }),
)
const jsonValue = fc.letrec<{ value: unknown; leaf: unknown }>(tie => ({
  leaf: fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.integer({ min: -2, max: 5 }),
    fc.constantFrom(-0, 0.5, Number.NaN),
    fc.string({ maxLength: 2 }),
  ),
  value: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    tie('leaf'),
    fc.array(tie('value'), { maxLength: 8 }),
    fc.array(fc.tuple(key, tie('value')), { maxLength: 6 }).map(entries => Object.fromEntries(entries)),
  ),
})).value

const anyValue = fc
  .anything({
    key,
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withSparseArray: true,
    withTypedArray: true,
  })
  .filter(value => isDeepStrictEqual(value, value))
  // A set of itself is equal to itself whatever is in it, but one of invalid dates to no other.
  .filter(value => !inspect(value, { depth: null, maxArrayLength: null }).includes('Invalid Date'))

/** Two values that mostly resemble each other. */
const pair = fc.oneof(
  fc.tuple(jsonValue, jsonValue),
  fc.tuple(anyValue, anyValue),
  fc.tuple(jsonValue, fc.array(fc.tuple(fc.nat(), jsonValue), { maxLength: 4 })).map(([before, edits]) => {
    let after = structuredClone(before)
    for (const [where, replacement] of edits) after = edit(after, where, replacement)
    return [before, after] as const
  }),
)

/** A copy of `value` with something added, removed or replaced somewhere. */
function edit(value: unknown, where: number, replacement: unknown): unknown {
  if (Array.isArray(value) && value.length > 0) {
    const at = where % value.length
    const kind = where % 4
    if (kind === 0) return value.toSpliced(at, 1)
    if (kind === 1) return value.toSpliced(at, 0, replacement)
    if (kind === 2) return value.with(at, replacement)
    return value.with(at, edit(value[at], where >>> 3, replacement))
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const entries = Object.entries(value)
    if (entries.length > 0) {
      const at = where % entries.length
      const [name, member] = entries[at] as [string, unknown]
      const changed: [string, unknown] = [name, edit(member, where >>> 3, replacement)]
      const kind = where % 3
      if (kind === 0) return Object.fromEntries(entries.toSpliced(at, 1))
      if (kind === 1) return Object.fromEntries([...entries.toSpliced(at, 1), changed])
      return Object.fromEntries(entries.with(at, changed))
    }
  }
  return replacement
}

/** Property order, too, where JSON can show it. */
const withOrder = (value: unknown): string =>
  JSON.stringify(value, (_, part) => (Object.is(part, -0) ? '-0' : part))

describe('JSON Patch', () => {
  it('makes the second value of the first, and changes neither', () => {
    fc.assert(
      fc.property(pair, ([before, after]) => {
        const untouchedBefore = structuredClone(before)
        const untouchedAfter = structuredClone(after)
        const result = applyPatch(before, createPatch(before, after))
        expect(isDeepStrictEqual(result, after)).toBe(true)
        expect(isDeepStrictEqual(structuredClone(before), untouchedBefore)).toBe(true)
        expect(isDeepStrictEqual(structuredClone(after), untouchedAfter)).toBe(true)
      }),
      { numRuns: 600 },
    )
  })

  it('is empty exactly for equal values', () => {
    fc.assert(
      fc.property(pair, ([before, after]) => {
        expect(createPatch(before, after).length === 0).toBe(isDeepStrictEqual(before, after))
      }),
      { numRuns: 400 },
    )
  })

  it('restores the order of properties when asked to', () => {
    fc.assert(
      fc.property(fc.tuple(jsonValue, jsonValue), fc.nat(), ([before, other], where) => {
        for (const after of [other, edit(before, where, other)]) {
          const result = applyPatch(before, createPatch(before, after, { keepOrder: true }))
          expect(withOrder(result)).toBe(withOrder(after))
        }
      }),
      { numRuns: 600 },
    )
  })

  it('applies operations as a plain model does', () => {
    const path = fc
      .array(fc.constantFrom('a', 'b', '0', '1', '2', '-'), { maxLength: 3 })
      .map(tokens => tokens.map(token => `/${token}`).join(''))
    const operation = fc.oneof(
      fc.record({ op: fc.constant('add' as const), path, value: jsonValue }),
      fc.record({ op: fc.constant('remove' as const), path }),
      fc.record({ op: fc.constant('replace' as const), path, value: jsonValue }),
      fc.record({ op: fc.constant('move' as const), from: path, path }),
      fc.record({ op: fc.constant('copy' as const), from: path, path }),
      fc.record({ op: fc.constant('test' as const), path, value: jsonValue }),
    )
    const small = fc.record(
      { a: fc.array(jsonValue, { maxLength: 3 }), b: jsonValue },
      { noNullPrototype: true },
    )
    fc.assert(
      fc.property(small, fc.array(operation, { maxLength: 6 }), (value, patch) => {
        const expected = model(structuredClone(value), patch)
        const apply = (): unknown => applyPatch(value, patch)
        if (expected.failed) expect(apply).toThrow(expect.objectContaining({ code: 'DELTA' }))
        else expect(isDeepStrictEqual(apply(), expected.value)).toBe(true)
      }),
      { numRuns: 600 },
    )
  })
})

/** RFC 6902 on a deep copy, in the plainest way. */
function model(value: unknown, patch: readonly JsonPatchOperation[]): { failed: boolean; value?: unknown } {
  const document = { root: value }
  const locate = (path: string): [Record<string, unknown> | unknown[], string] => {
    const tokens = ['root', ...path.split('/').slice(1)]
    let parent: unknown = document
    for (const token of tokens.slice(0, -1)) parent = get(parent, token)
    if (typeof parent !== 'object' || parent === null) throw new Error('no container')
    return [parent as Record<string, unknown>, tokens.at(-1) as string]
  }
  const get = (parent: unknown, token: string): unknown => {
    if (typeof parent !== 'object' || parent === null) throw new Error('no container')
    if (Array.isArray(parent) && !/^(0|[1-9][0-9]*)$/.test(token)) throw new Error('no index')
    if (!Object.hasOwn(parent, token)) throw new Error('no member')
    return (parent as Record<string, unknown>)[token]
  }
  const insert = (path: string, inserted: unknown): void => {
    const [parent, token] = locate(path)
    if (!Array.isArray(parent))
      Object.defineProperty(parent, token, {
        value: inserted,
        writable: true,
        enumerable: true,
        configurable: true,
      })
    else if (token === '-') parent.push(inserted)
    else if (/^(0|[1-9][0-9]*)$/.test(token) && Number(token) <= parent.length)
      parent.splice(Number(token), 0, inserted)
    else throw new Error('out of range')
  }
  const take = (path: string): unknown => {
    if (path === '') throw new Error('nothing left')
    const [parent, token] = locate(path)
    const taken = get(parent, token)
    if (Array.isArray(parent)) parent.splice(Number(token), 1)
    else delete parent[token]
    return taken
  }
  try {
    for (const operation of patch) {
      const { path } = operation
      if (operation.op === 'add') insert(path, structuredClone(operation.value))
      else if (operation.op === 'remove') take(path)
      else if (operation.op === 'replace') {
        const [parent, token] = locate(path)
        get(parent, token)
        Object.defineProperty(parent, token, {
          value: structuredClone(operation.value),
          writable: true,
          enumerable: true,
          configurable: true,
        })
      } else if (operation.op === 'move') {
        if (path.startsWith(`${operation.from}/`)) throw new Error('into itself')
        if (operation.from !== '') insert(path, take(operation.from))
      } else if (operation.op === 'copy') {
        const [parent, token] = locate(operation.from)
        insert(path, structuredClone(get(parent, token)))
      } else {
        const [parent, token] = locate(path)
        if (!isDeepStrictEqual(get(parent, token), operation.value)) throw new Error('differs')
      }
    }
    return { failed: false, value: document.root }
  } catch {
    return { failed: true }
  }
}
