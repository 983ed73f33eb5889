import { describe, expect, it } from 'vitest'
import { UnserializableValueError } from '../../src/core/errors.ts'
import { toPlainJson } from '../../src/transfer/plain-json.ts'

function refusal(value: unknown): UnserializableValueError {
  try {
    toPlainJson(value, 'the key')
  } catch (error) {
    expect(error).toBeInstanceOf(UnserializableValueError)
    return error as UnserializableValueError
  }
  throw new Error('was not refused')
}

describe('what JSON carries exactly is left as it is', () => {
  it.each([null, true, 'text', '\ud800', 0, -1.5e300, [], {}, { a: [1, { b: null }], 'c d': '' }])(
    '%j',
    value => {
      expect(toPlainJson(value, 'k')).toBe(value)
    },
  )

  it('an object that occurs more than once, in a value of any size', () => {
    const part = { x: [1] }
    const value = Array.from({ length: 500 }, () => ({ part }))
    expect(toPlainJson(value, 'k')).toBe(value)
  })
})

describe('what it does not carry is refused, with key and path', () => {
  const cyclic: { a: { b: unknown[] } } = { a: { b: [] } }
  cyclic.a.b.push(cyclic)
  const holes = [1, 2, 3]
  delete holes[1]
  const named = Object.assign([1], { name: 'x' })

  it.each([
    [undefined, '$', 'undefined'],
    [{ list: [1, { born: new Date(0) }] }, '$.list[1].born', 'an object of the class Date'],
    [{ 'two words': { '': -0 } }, '$["two words"][""]', 'the number -0'],
    [[Number.NaN], '$[0]', 'the number NaN'],
    [[Number.NEGATIVE_INFINITY], '$[0]', 'the number -Infinity'],
    [{ n: 1n }, '$.n', 'a bigint'],
    [{ u: undefined }, '$.u', 'undefined'],
    [new Map(), '$', 'class Map'],
    [[new Set()], '$[0]', 'class Set'],
    [[/x/], '$[0]', 'class RegExp'],
    [[new TypeError('x')], '$[0]', 'class TypeError'],
    [{ bytes: new Uint8Array(1) }, '$.bytes', 'class Uint8Array'],
    [{ holes }, '$.holes', 'holes'],
    [{ named }, '$.named', 'properties'],
    [cyclic, '$.a.b[0]', 'a reference to an object that contains it'],
  ])('%o', (value, path, what) => {
    const error = refusal(value)
    expect(error).toMatchObject({ code: 'UNSERIALIZABLE_VALUE', path })
    expect(error.message).toContain('the value of "the key"')
    expect(error.message).toContain(what)
    expect(error.message).toContain(path)
    expect(error.message).toContain("types: 'tagged'")
  })

  it('nesting too deep', () => {
    let value: unknown = 1
    for (let i = 0; i < 1_001; i++) value = [value]
    expect(refusal(value).message).toContain('levels of nesting')
  })

  it('references that would unfold into a text without end', () => {
    let value: unknown = 1
    for (let i = 0; i < 100; i++) value = [value, value]
    expect(refusal(value).message).toContain('multiply')
  })
})
