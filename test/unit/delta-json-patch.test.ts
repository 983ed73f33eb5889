import { isDeepStrictEqual } from 'node:util'
import { describe, expect, it } from 'vitest'
import { DeltaError } from '../../src/core/errors.ts'
import { applyPatch, createPatch, type JsonPatchOperation } from '../../src/delta/json-patch.ts'

describe('createPatch', () => {
  it('names what was added, removed and replaced', () => {
    const before = { name: 'Ada', visits: 1, old: true, nested: { deep: { x: 1 } } }
    const after = { name: 'Ada', visits: 2, nested: { deep: { x: 1, y: 2 } } }
    expect(createPatch(before, after)).toEqual([
      { op: 'replace', path: '/visits', value: 2 },
      { op: 'remove', path: '/old' },
      { op: 'add', path: '/nested/deep/y', value: 2 },
    ])
  })

  it('escapes names in paths', () => {
    expect(createPatch({ 'a/b': 1, 'm~n': 1, '~1': 1 }, { 'a/b': 2, 'm~n': 2, '~1': 2 })).toEqual([
      { op: 'replace', path: '/a~1b', value: 2 },
      { op: 'replace', path: '/m~0n', value: 2 },
      { op: 'replace', path: '/~01', value: 2 },
    ])
  })

  it('replaces the whole value where its kind changes', () => {
    expect(createPatch([1], { 0: 1 })).toEqual([{ op: 'replace', path: '', value: { 0: 1 } }])
    expect(createPatch(1, null)).toEqual([{ op: 'replace', path: '', value: null }])
  })

  it('finds nothing to do where only the order of properties differs', () => {
    expect(createPatch({ a: 1, b: { c: 1, d: 2 } }, { b: { d: 2, c: 1 }, a: 1 })).toEqual([])
  })

  it('takes what JSON does not have as leaves', () => {
    const before = {
      at: new Date(0),
      seen: new Set([1]),
      bytes: new Uint8Array([1, 2]),
      big: 1n,
      map: new Map([[1, { a: 1 }]]),
    }
    const after = {
      at: new Date(0),
      seen: new Set([2]),
      bytes: new Uint8Array([1, 3]),
      big: 2n,
      map: new Map([[1, { a: 2 }]]),
    }
    const patch = createPatch(before, after)
    expect(patch.map(({ op, path }) => `${op} ${path}`)).toEqual([
      'replace /seen',
      'replace /bytes',
      'replace /big',
      'replace /map',
    ])
    expect(isDeepStrictEqual(applyPatch(before, patch), after)).toBe(true)
  })

  it('keeps undefined, holes, -0 and NaN apart', () => {
    expect(createPatch({ a: undefined }, {})).toEqual([{ op: 'remove', path: '/a' }])
    expect(createPatch({}, { a: undefined })).toEqual([{ op: 'add', path: '/a', value: undefined }])
    expect(createPatch([0], [-0])).toHaveLength(1)
    expect(createPatch([Number.NaN], [Number.NaN])).toEqual([])
    // biome-ignore lint/suspicious/noSparseArray: a hole is what this is about
    expect(createPatch([, 1], [undefined, 1])).toHaveLength(1)
  })

  it('inserts into and removes from a long array with one operation', () => {
    const rows = Array.from({ length: 5_000 }, (_, id) => ({ id, even: id % 2 === 0 }))
    const inserted = rows.toSpliced(2_500, 0, { id: -1, even: false })
    expect(createPatch(rows, inserted)).toEqual([
      { op: 'add', path: '/2500', value: { id: -1, even: false } },
    ])
    expect(createPatch(inserted, rows)).toEqual([{ op: 'remove', path: '/2500' }])
  })

  it('descends into the elements that changed, also beside inserted ones', () => {
    const rows = Array.from({ length: 100 }, (_, id) => ({ id, name: `row ${id}` }))
    const after = rows.with(70, { id: 70, name: 'changed' }).toSpliced(10, 0, { id: 1_000, name: 'new' })
    expect(createPatch(rows, after)).toEqual([
      { op: 'add', path: '/10', value: { id: 1_000, name: 'new' } },
      { op: 'replace', path: '/71/name', value: 'changed' },
    ])
  })

  it('aligns elements that repeat', () => {
    const before = ['a', 'b', 'a', 'b', 'a', 'b', 'c']
    const after = ['a', 'b', 'b', 'a', 'b', 'c', 'c']
    const patch = createPatch(before, after)
    expect(applyPatch(before, patch)).toEqual(after)
    expect(patch).toHaveLength(2)
  })

  it('replaces an array of which nothing stayed', () => {
    const before = Array.from({ length: 1_000 }, (_, i) => i)
    const after = before.map(i => i + 0.5)
    expect(createPatch(before, after)).toEqual([{ op: 'replace', path: '', value: after }])
  })

  it('takes time in proportion to long arrays without an element in common', () => {
    // Two symbols only, so nothing is an anchor; every elaborate search would meet its worst case here.
    const length = 100_000
    const before = Array.from({ length }, (_, i) => (i * 7_919) % 13 < 6)
    const after = Array.from({ length }, (_, i) => (i * 104_729) % 17 < 9)
    const patch = createPatch(before, after)
    expect(patch.map(({ op, path }) => `${op} ${path}`)).toEqual(['replace '])
  })

  it('ends on cycles and shared parts', () => {
    const cyclic = (x: number): object => {
      const value: Record<string, unknown> = { x }
      value['self'] = value
      return value
    }
    expect(createPatch(cyclic(1), cyclic(1))).toEqual([])
    const before = cyclic(1)
    const after = cyclic(2)
    expect(isDeepStrictEqual(applyPatch(before, createPatch(before, after)), after)).toBe(true)

    let shared: unknown = 'leaf'
    let other: unknown = 'other leaf'
    for (let i = 0; i < 60; i++) {
      shared = [shared, shared]
      other = [other, other]
    }
    expect(createPatch(shared, other).length).toBeLessThan(100)
  })

  it('replaces what is nested very deeply as a whole', () => {
    const deep = (leaf: number): unknown => {
      let value: unknown = leaf
      for (let i = 0; i < 900; i++) value = { value }
      return value
    }
    const patch = createPatch(deep(1), deep(2))
    expect(patch).toHaveLength(1)
    expect(isDeepStrictEqual(applyPatch(deep(1), patch), deep(2))).toBe(true)
  })

  it('treats __proto__ as data', () => {
    const before = JSON.parse('{"__proto__": {"x": 1}}')
    const after = JSON.parse('{"__proto__": {"x": 2}, "y": 1}')
    const result = applyPatch(before, createPatch(before, after))
    expect(JSON.stringify(result)).toBe('{"__proto__":{"x":2},"y":1}')
    expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  })
})

describe('applyPatch', () => {
  const value = { a: [1, 2, 3], b: { c: 1 }, date: new Date(0) }
  const cases: [string, JsonPatchOperation[], unknown][] = [
    ['adds a member', [{ op: 'add', path: '/b/d', value: 2 }], { ...value, b: { c: 1, d: 2 } }],
    ['adds over a member', [{ op: 'add', path: '/b', value: 2 }], { ...value, b: 2 }],
    ['adds to the end', [{ op: 'add', path: '/a/-', value: 4 }], { ...value, a: [1, 2, 3, 4] }],
    ['adds at the length', [{ op: 'add', path: '/a/3', value: 4 }], { ...value, a: [1, 2, 3, 4] }],
    ['adds in between', [{ op: 'add', path: '/a/1', value: 9 }], { ...value, a: [1, 9, 2, 3] }],
    ['removes an element', [{ op: 'remove', path: '/a/0' }], { ...value, a: [2, 3] }],
    ['replaces the root', [{ op: 'replace', path: '', value: 7 }], 7],
    [
      'moves',
      [{ op: 'move', from: '/a/0', path: '/b/first' }],
      { ...value, a: [2, 3], b: { c: 1, first: 1 } },
    ],
    ['moves within an array', [{ op: 'move', from: '/a/0', path: '/a/2' }], { ...value, a: [2, 3, 1] }],
    ['copies', [{ op: 'copy', from: '/b', path: '/e' }], { ...value, e: { c: 1 } }],
    ['tests', [{ op: 'test', path: '/b', value: { c: 1 } }], value],
    ['tests the root', [{ op: 'test', path: '', value }], value],
  ]
  it.each(cases)('%s', (_, patch, expected) => {
    expect(applyPatch(value, patch)).toEqual(expected)
    expect(value).toEqual({ a: [1, 2, 3], b: { c: 1 }, date: new Date(0) })
  })

  it('keeps copies apart', () => {
    const patch: JsonPatchOperation[] = [
      { op: 'add', path: '/b/list', value: [] },
      { op: 'copy', from: '/b', path: '/copy' },
      { op: 'add', path: '/copy/list/-', value: 'copy only' },
      { op: 'add', path: '/b/list/-', value: 'original only' },
    ]
    const result = applyPatch({ b: {} }, patch)
    expect(result).toEqual({ b: { list: ['original only'] }, copy: { list: ['copy only'] } })
    expect(patch[0]).toEqual({ op: 'add', path: '/b/list', value: [] })
  })

  const bad: [string, unknown[], RegExp][] = [
    ['an unknown operation', [{ op: 'merge', path: '/a' }], /operation 0 .*merge/],
    ['what is no operation', ['add'], /operation 0 .*is not an object/],
    ['a missing path', [{ op: 'remove' }], /no "path"/],
    ['a missing from', [{ op: 'move', path: '/a' }], /no "from"/],
    ['a missing value', [{ op: 'add', path: '/a' }], /no "value"/],
    ['a path without a slash', [{ op: 'remove', path: 'a' }], /not a JSON Pointer/],
    ['a bad escape', [{ op: 'remove', path: '/a~2' }], /not a JSON Pointer/],
    ['a missing member', [{ op: 'replace', path: '/x', value: 1 }], /no member "x"/],
    ['an inherited member', [{ op: 'remove', path: '/constructor' }], /no member/],
    ['a missing parent', [{ op: 'add', path: '/x/y', value: 1 }], /no member "x"/],
    ['an index out of range', [{ op: 'remove', path: '/a/3' }], /out of range/],
    ['an insertion past the end', [{ op: 'add', path: '/a/4', value: 1 }], /out of range/],
    ['an index with zeros in front', [{ op: 'remove', path: '/a/01' }], /index of an array/],
    ['a name for an index', [{ op: 'remove', path: '/a/length' }], /index of an array/],
    ['the end, where an element must be', [{ op: 'remove', path: '/a/-' }], /index of an array/],
    ['a way through a number', [{ op: 'add', path: '/b/c/d', value: 1 }], /no members/],
    ['a way into a leaf', [{ op: 'add', path: '/date/x', value: 1 }], /neither an array nor a plain object/],
    ['removing everything', [{ op: 'remove', path: '' }], /no value at all/],
    ['moving into itself', [{ op: 'move', from: '/b', path: '/b/c/d' }], /into itself/],
    ['a test that fails', [{ op: 'test', path: '/b/c', value: '1' }], /operation 0 .*test.*another value/],
    [
      'the second of two',
      [
        { op: 'remove', path: '/b' },
        { op: 'remove', path: '/b/c' },
      ],
      /operation 1 /,
    ],
  ]
  it.each(bad)('refuses %s', (_, patch, message) => {
    const apply = (): unknown => applyPatch(value, patch as JsonPatchOperation[])
    expect(apply).toThrow(DeltaError)
    expect(apply).toThrow(message)
    expect(value).toEqual({ a: [1, 2, 3], b: { c: 1 }, date: new Date(0) })
  })

  it('refuses what is not a list of operations', () => {
    expect(() => applyPatch({}, { op: 'remove', path: '/a' } as unknown as JsonPatchOperation[])).toThrow(
      DeltaError,
    )
  })

  it('sets __proto__ as an own property and nothing else', () => {
    const result = applyPatch({}, [{ op: 'add', path: '/__proto__', value: { polluted: true } }])
    expect(Object.keys(result as object)).toEqual(['__proto__'])
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
    expect(() => applyPatch({}, [{ op: 'add', path: '/__proto__/polluted', value: true }])).toThrow(
      DeltaError,
    )
  })

  it('does not unfold repeated copies', () => {
    const patch: JsonPatchOperation[] = [{ op: 'add', path: '/0', value: ['x'] }]
    for (let i = 0; i < 40; i++) {
      patch.push({ op: 'copy', from: '', path: '/-' })
    }
    expect((applyPatch([], patch) as unknown[]).length).toBe(41)
  })
})
