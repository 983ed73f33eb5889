import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { UnserializableValueError } from '../../src/core/errors.ts'
import { toPlainJson } from '../../src/transfer/plain-json.ts'
import { fromTypedJson, toTypedJson } from '../../src/transfer/typed-json.ts'

const names = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('$type', 'value', 'shared', 'length', '__proto__', '0', 'constructor', 'toJSON'),
)

// Deep equality of sets and maps of objects tries all pairs, level by level.
const few = { maxLength: 4 }

const { value: values } = fc.letrec(tie => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small', withCrossShrink: true },
    fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom('Date', 'Graph', 'Reference', 'Object', 'Map'),
      fc.double(),
      fc.integer(),
      fc.bigInt(),
      fc.constantFrom(null, undefined, true, false, -0, 0),
      fc.date({ noInvalidDate: true }),
      fc.constantFrom(/x/, /[/\]]\n"/gimsuy, /(?:)/),
      fc.uint8Array(),
      fc.float64Array(),
      fc.bigInt64Array(),
      fc.uint16Array().map(array => array.subarray(1)),
      fc.uint8Array().map(array => Uint8Array.from(array).buffer),
    ),
    fc.array(tie('value'), few),
    fc.sparseArray(tie('value'), { maxLength: 20 }),
    fc.array(fc.tuple(names, tie('value')), few).map(members => ownProperties({}, members)),
    fc.tuple(tie('value'), tie('value')).map(([type, value]) => ({ $type: type, value })),
    fc.array(fc.tuple(tie('value'), tie('value')), few).map(entries => new Map(entries)),
    fc.array(tie('value'), few).map(elements => new Set(elements)),
    fc
      .tuple(fc.constantFrom(Error, TypeError, RangeError), fc.string(), tie('value'))
      .map(([type, message, cause]) => new type(message, { cause })),
    // The same object twice, and one that contains itself.
    tie('value').map(part => [part, { part }]),
    tie('value').map(part => {
      const cycle: unknown[] = [part]
      cycle.push(new Map([[cycle, { cycle }]]))
      return cycle
    }),
  ),
}))

function ownProperties(object: object, properties: readonly (readonly [string, unknown])[]): object {
  for (const [name, value] of properties) {
    Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true })
  }
  return object
}

it('every value comes back equal from typed JSON', () => {
  fc.assert(
    fc.property(values, value => {
      const text = JSON.stringify(toTypedJson(value))
      const back = fromTypedJson(JSON.parse(text), { file: 'f' })
      expect(isDeepStrictEqual(back, value)).toBe(true)
      // Equal values may still differ in what isDeepStrictEqual passes over, such as what is shared and the order of maps.
      expect(JSON.stringify(toTypedJson(back))).toBe(text)
    }),
    { numRuns: 1_000 },
  )
})

it('plain JSON is given exactly for values that it carries', () => {
  fc.assert(
    fc.property(values, value => {
      let exact: unknown
      try {
        exact = toPlainJson(value, 'k')
      } catch (error) {
        expect(error).toBeInstanceOf(UnserializableValueError)
        expect(comesBack(value)).toBe(false)
        return
      }
      expect(exact).toBe(value)
      expect(comesBack(value)).toBe(true)
    }),
    { numRuns: 1_000 },
  )
})

/** Whether the value is equal after a trip through JSON. */
function comesBack(value: unknown): boolean {
  try {
    return isDeepStrictEqual(JSON.parse(JSON.stringify(value)), value)
  } catch {
    return false
  }
}
