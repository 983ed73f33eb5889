import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { humanAge, humanBytes, humanCount, humanDuration } from '../../src/command/human-units.ts'
import { barLine } from '../../src/command/progress-bar.ts'
import { escapeControls, safeText } from '../../src/command/safe-text.ts'
import { valueChanges } from '../../src/command/value-changes.ts'

describe('human units', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1.0 kB'],
    [9949, '9.9 kB'],
    [9951, '10 kB'],
    [999_499, '999 kB'],
    [999_500, '1.0 MB'],
    [1.5e12, '1.5 TB'],
    [1.5e18, '1500 PB'],
  ])('%d bytes are %s', (bytes, text) => expect(humanBytes(bytes)).toBe(text))

  it.each([
    [0.0123, '12 µs'],
    [1.25, '1.3 ms'],
    [999.4, '999 ms'],
    [999.6, '1.0 s'],
    [59_900, '59.9 s'],
    [59_990, '1:00 min'],
    [125_000, '2:05 min'],
    [3_723_000, '1:02:03 h'],
  ])('%d ms are %s', (milliseconds, text) => expect(humanDuration(milliseconds)).toBe(text))

  it.each([
    [0, 'just now'],
    [59, 'just now'],
    [60, '1 minute ago'],
    [7200, '2 hours ago'],
    [86_400 * 6, '6 days ago'],
    [86_400 * 14, '2 weeks ago'],
    [86_400 * 400, '1 year ago'],
  ])('%d s before is %s', (seconds, text) => {
    expect(humanAge(new Date(1e12 - seconds * 1000), 1e12)).toBe(text)
  })

  it('gives the date of what is to come', () => {
    expect(humanAge(new Date(1e12 + 1e6), 1e12)).toMatch(/^2001-09-\d\d \d\d:\d\d:\d\d$/)
  })
})

describe('the progress bar', () => {
  it('shows share, time left and rate', () => {
    const line = barLine({ label: 'Copying', done: 250, total: 1000, elapsed: 1000, format: humanCount }, 80)
    expect(line).toMatch(/^Copying {2}█+░+ {2}25 % {2}3.0 s left {2}250\/s$/)
  })

  it('shows what is done where the total is not known', () => {
    expect(barLine({ label: 'Reading', done: 5000, total: 0, elapsed: 1000, format: humanBytes }, 80)).toBe(
      'Reading  5.0 kB  5.0 kB/s',
    )
  })

  it('fits into any terminal', () => {
    fc.assert(
      fc.property(
        fc.nat(1e9),
        fc.nat(1e9),
        fc.nat(1e7),
        fc.integer({ min: 10, max: 300 }),
        (done, total, elapsed, columns) => {
          const line = barLine({ label: 'Verifying', done, total, elapsed, format: humanCount }, columns)
          expect(line.length).toBeLessThan(columns)
          expect(line.startsWith('Verifying'.slice(0, columns - 1))).toBe(true)
        },
      ),
    )
  })
})

describe('texts of the user', () => {
  it('are one line without controls, and come back from their quotes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        const safe = safeText(text)
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there.
        expect(safe).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/)
        expect(safe === text ? text : JSON.parse(safe)).toBe(text)
      }),
    )
  })

  it('stay the same JSON', () => {
    fc.assert(
      fc.property(fc.json({ stringUnit: 'binary' }), json => {
        expect(JSON.parse(escapeControls(json))).toEqual(JSON.parse(json))
      }),
    )
  })
})

describe('the changes of a value', () => {
  it('name what was there and what is there', () => {
    expect([...valueChanges({ a: [1, 2, 3], b: { c: 'x' } }, { a: [2, 3, 4], b: {}, d: null })]).toEqual(
      expect.arrayContaining([
        { type: 'removed', path: '/b/c', before: 'x' },
        { type: 'added', path: '/d', after: null },
      ]),
    )
  })

  it('never show something absent as removed, or as what was changed', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (before, after) => {
        for (const change of valueChanges(before, after)) {
          if (change.type !== 'added') expect(change.before).not.toBeUndefined()
          if (change.type !== 'removed') expect(change.after).not.toBeUndefined()
        }
      }),
    )
  })
})
