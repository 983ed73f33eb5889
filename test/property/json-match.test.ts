import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isJsonExact } from '../../src/core/json-exact.ts'
import { isSurelyJsonOf } from '../../src/core/json-match.ts'

/** Whether the value is what a text says that stands between others. */
function matches(value: unknown, text: string): boolean {
  const before = Buffer.from('[1,')
  const bytes = Buffer.concat([before, Buffer.from(text), Buffer.from(',"more"]}0')])
  return isSurelyJsonOf(value, bytes, before.length, before.length + Buffer.byteLength(text))
}

const number = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.double(),
  fc.integer().map(n => n / 1000),
  fc.constantFrom(-0, 0, 1e21, 1e-7, 0.1, 5e-324, 123456789012345.6, 2 ** 53, 2 ** 53 + 2),
)
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'binary-ascii' }),
  fc.constant('\ud800'),
)
const name = fc.oneof(text, fc.constantFrom('__proto__', 'constructor', 'toJSON', '0', '10', '2', ''))
const value = fc.letrec<{ value: unknown }>(tie => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.oneof(number, text, fc.boolean(), fc.constantFrom(null, undefined)),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.array(fc.tuple(name, tie('value')), { maxLength: 5 }).map(entries => Object.fromEntries(entries)),
    fc.constantFrom(
      new Date(0),
      new Map(),
      Object.create(null),
      new Array(2),
      Object.assign([1], { more: 1 }),
    ),
    fc.constant({ [Symbol('hidden')]: 1 }),
    fc.constant(new Proxy({ a: 1 }, {})),
  ),
})).value

describe('isSurelyJsonOf', () => {
  it('takes no value for what a text says that is another', () => {
    fc.assert(
      fc.property(value, value, (one, other) => {
        const written = JSON.stringify(other) ?? 'null'
        for (const candidate of [one, other]) {
          if (!matches(candidate, written)) continue
          expect(isJsonExact(candidate)).toBe(true)
          expect(isDeepStrictEqual(candidate, JSON.parse(written))).toBe(true)
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('does not take a text that was changed in one place for that of the value', () => {
    fc.assert(
      fc.property(value.filter(isJsonExact), fc.nat(), fc.nat(255), (value, at, byte) => {
        const bytes = Buffer.from(JSON.stringify(value))
        bytes[at % bytes.length] = byte
        let said: unknown
        try {
          said = JSON.parse(bytes.toString())
        } catch {
          said = new Error('no JSON')
        }
        const isMatch = isSurelyJsonOf(value, bytes, 0, bytes.length)
        if (isMatch) expect(isDeepStrictEqual(said, value)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('finds values to be what their own text says', () => {
    const own = value.filter(
      candidate => isJsonExact(candidate) && !/\\u|\\ud/.test(JSON.stringify(candidate)),
    )
    fc.assert(fc.property(own, value => matches(value, JSON.stringify(value))))
    const record = {
      id: 7,
      name: 'Zoë "😀" \\ €\n',
      score: 0.125,
      more: [true, null, -12.5e-9, 1e300],
      __: {},
    }
    expect(matches(record, JSON.stringify(record))).toBe(true)
  })

  it('takes no character for the escape of another, nor the reverse', () => {
    const spelt = fc.string({
      unit: fc.constantFrom('\\', 'n', '\n', '"', 'u', '0', '\u0000', 'é'),
      maxLength: 3,
    })
    fc.assert(
      fc.property(spelt, spelt, (one, other) => {
        expect(matches(one, `"${other}"`)).toBe(`"${other}"` === JSON.stringify(one))
        expect(matches(one, JSON.stringify(other))).toBe(one === other && !one.includes('\u0000'))
      }),
      { numRuns: 5000 },
    )
    expect(matches('\\n', JSON.stringify('\n'))).toBe(false)
  })

  it('takes a character above ASCII for no single byte', () => {
    for (const unit of ['\u0085', 'é', 'ÿ'])
      expect(isSurelyJsonOf(unit, Buffer.from(`"${unit}"`, 'latin1'), 0, 3)).toBe(false)
  })

  it('takes no bytes for a lone surrogate, which text escapes', () => {
    const bytes = Buffer.from([0x22, 0xf0, 0x8d, 0xa0, 0x80, 0x22])
    expect(isSurelyJsonOf('\ud800', bytes, 0, bytes.length)).toBe(false)
  })

  it('does not go on behind the end of the text', () => {
    const bytes = Buffer.from('[1,2]')
    expect(isSurelyJsonOf([1, 2], bytes, 0, 5)).toBe(true)
    expect(isSurelyJsonOf([1, 2], bytes, 0, 4)).toBe(false)
    expect(isSurelyJsonOf(12, Buffer.from('12'), 0, 1)).toBe(false)
  })

  it('takes -0 for no text, whatever stands behind it', () => {
    for (const behind of ['', 'e', 'e1', '.5', '0'.repeat(20), '1234567890123456', '-', ',']) {
      expect(isSurelyJsonOf(-0, Buffer.from(`0${behind}`), 0, 1)).toBe(false)
      for (const value of [0, 12, 1.5, -7]) {
        const text = String(value)
        expect(isSurelyJsonOf(-value, Buffer.from(text + behind), 0, text.length)).toBe(false)
      }
    }
  })
})
