import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createPatch } from '../../src/delta/json-patch.ts'
import { scalarPatch } from '../../src/delta/scalar-patch.ts'

const name = fc.oneof(
  fc.constantFrom(
    'a',
    'b',
    '0',
    '10',
    '__proto__',
    'a/b',
    '~',
    '',
    '"',
    '\\',
    'a\\"',
    'ü',
    '{',
    '}',
    ',',
    ':',
  ),
  fc.string({ maxLength: 3 }),
)

type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

const { scalar, value } = fc.letrec<{ scalar: Json; value: Json }>(tie => ({
  scalar: fc.oneof(
    fc.constantFrom(null, true, false, '', '"', '\\', '\\"', '{', ',', '}', 'ü', 'û', '😀', '😁'),
    fc.integer({ min: -2, max: 120 }),
    fc.constantFrom(0.5, 1e21, 1e-7),
    fc.string({ maxLength: 4, unit: 'binary' }),
  ),
  value: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    tie('scalar'),
    fc.array(tie('value'), { maxLength: 4 }),
    fc
      .array(fc.tuple(name, tie('value')), { maxLength: 6 })
      .map(entries => Object.fromEntries(entries) as { [name: string]: Json }),
  ),
}))

/** The value with one of its parts, to which the numbers lead, replaced. */
function withPart(whole: Json, way: readonly number[], part: Json): Json {
  const [step, ...rest] = way
  if (step === undefined || typeof whole !== 'object' || whole === null) return part
  const names = Object.keys(whole)
  const chosen = names[step % Math.max(1, names.length)]
  if (chosen === undefined) return part
  const entries = Object.entries(whole).map(([name, child]): [string, Json] => [
    name,
    name === chosen ? withPart(child, rest, part) : child,
  ])
  return Array.isArray(whole) ? entries.map(([, child]) => child) : Object.fromEntries(entries)
}

const way = fc.array(fc.nat(), { maxLength: 4 })

const pair = fc.oneof(
  fc.tuple(value, value),
  fc
    .tuple(value, way, fc.oneof(scalar, value))
    .map(([whole, way, part]): [Json, Json] => [whole, withPart(whole, way, part)]),
  // Two parts, which take as many bytes as before.
  fc.tuple(value, way, way, fc.nat(9), fc.nat(9)).map(([whole, here, there, one, other]): [Json, Json] => {
    const both = (a: Json, b: Json): Json => withPart(withPart(whole, here, a), there, b)
    return [both(one, other), both(other, one)]
  }),
  // One part replaced in both, so that what surrounds it is the same.
  fc
    .tuple(value, way, scalar, scalar)
    .map(([whole, way, one, other]): [Json, Json] => [
      withPart(whole, way, one),
      withPart(whole, way, other),
    ]),
)

const bytesOf = (json: unknown): Uint8Array => Buffer.from(JSON.stringify(json))

describe('the patch of two texts that differ in one scalar', () => {
  it('is the patch of what they say, or is left to that', () => {
    let found = 0
    fc.assert(
      fc.property(pair, ([before, after]) => {
        const patch = scalarPatch(bytesOf(before), bytesOf(after))
        if (patch === undefined) return
        found++
        expect(patch).toEqual(
          createPatch(JSON.parse(JSON.stringify(before)), JSON.parse(JSON.stringify(after))),
        )
      }),
      { numRuns: 3_000 },
    )
    expect(found).toBeGreaterThan(100)
  })

  it('is found wherever only objects are around the scalar', () => {
    fc.assert(
      fc.property(
        fc.array(name, { minLength: 1, maxLength: 5 }),
        fc.array(fc.tuple(name, value), { maxLength: 3 }),
        scalar,
        scalar,
        (names, others, one, other) => {
          fc.pre(!Object.is(one, other))
          const around = (part: Json): Json =>
            names.reduceRight<Json>((inner, name) => Object.fromEntries([...others, [name, inner]]), part)
          const [before, after] = [around(one), around(other)]
          const path = names.map(name => `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
          expect(scalarPatch(bytesOf(before), bytesOf(after))).toEqual([
            { op: 'replace', path, value: other },
          ])
        },
      ),
      { numRuns: 1_000 },
    )
  })

  it('is not looked for deeper than values are descended into', () => {
    const deep = (levels: number, part: Json): Json =>
      Array.from({ length: levels }).reduce<Json>(inner => ({ a: inner }), part)
    for (const levels of [99, 100, 101, 102, 150]) {
      const [before, after] = [deep(levels, 1), deep(levels, 2)]
      const patch = scalarPatch(bytesOf(before), bytesOf(after))
      expect(patch ?? createPatch(before, after)).toEqual(createPatch(before, after))
      expect(patch !== undefined).toBe(levels <= 100)
    }
  })
})
