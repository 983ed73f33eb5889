import { describe, expect, it } from 'vitest'
import { InvalidArgumentError } from '../../src/core/errors.ts'
import {
  boolean,
  checkKnownOptions,
  checkOptions,
  nonEmptyString,
  nonNegativeInteger,
  oneOf,
  positiveInteger,
} from '../../src/core/options.ts'

const known = ['basePath', 'maxSnapshots', 'retention', 'cache']

describe('checkKnownOptions', () => {
  const check = (options: unknown) => () => checkKnownOptions(options, known, 'createPersistence()')

  it('accepts known options in any number', () => {
    expect(check({})).not.toThrow()
    expect(check({ cache: 'none', basePath: undefined })).not.toThrow()
  })

  it.each([
    ['maxSnapshot', 'maxSnapshots'],
    ['maxsnapshots', 'maxSnapshots'],
    ['MaxSnaphsots', 'maxSnapshots'],
    ['basepath', 'basePath'],
    ['retension', 'retention'],
    ['cahce', 'cache'],
    ['bsePth', 'basePath'],
    ['baseePathh', 'basePath'],
  ])('for %s suggests %s', (given, meant) => {
    expect(check({ [given]: 1 })).toThrow(
      new InvalidArgumentError(`Unknown option "${given}" of createPersistence(). Did you mean "${meant}"?`),
    )
  })

  it('lists the known options where none is near', () => {
    expect(check({ compressionLevel: 9 })).toThrow(
      new InvalidArgumentError(
        'Unknown option "compressionLevel" of createPersistence(). ' +
          'The known ones are basePath, maxSnapshots, retention, cache.',
      ),
    )
    expect(check({ x: 1 })).toThrow('The known ones are')
  })

  it('suggests the nearest of several that are near', () => {
    expect(() => checkKnownOptions({ keepDayly: 1 }, ['keepYearly', 'keepDaily'], 'retention')).toThrow(
      'Did you mean "keepDaily"?',
    )
  })

  it('takes nothing from the prototype of its list for known', () => {
    expect(check({ constructor: 1 })).toThrow('Unknown option "constructor"')
    expect(check(JSON.parse('{"__proto__": 1}'))).toThrow('Unknown option "__proto__"')
  })

  it.each([
    [null, 'null'],
    ['./state', "'./state'"],
    [[], '[]'],
    [undefined, 'undefined'],
  ])('refuses %j instead of an object', (options, shown) => {
    expect(check(options)).toThrow(
      new InvalidArgumentError(`The options of createPersistence() must be an object, not ${shown}.`),
    )
  })
})

describe('checks of one option', () => {
  it('return what they allow', () => {
    expect([0, 1, Number.MAX_SAFE_INTEGER].map(n => nonNegativeInteger(n, 'n'))).toEqual([
      0,
      1,
      Number.MAX_SAFE_INTEGER,
    ])
    expect(positiveInteger(1, 'n')).toBe(1)
    expect([true, false].map(b => boolean(b, 'b'))).toEqual([true, false])
    expect(nonEmptyString(' ', 's')).toBe(' ')
    expect(oneOf(['a', 'b'])('b', 'o')).toBe('b')
  })

  it.each([
    [nonNegativeInteger, -1, 'a whole number, 0 or more, not -1.'],
    [nonNegativeInteger, 1.5, 'a whole number, 0 or more, not 1.5.'],
    [nonNegativeInteger, Number.NaN, 'a whole number, 0 or more, not NaN.'],
    [nonNegativeInteger, Number.POSITIVE_INFINITY, 'a whole number, 0 or more, not Infinity.'],
    [nonNegativeInteger, 2 ** 53, 'a whole number, 0 or more, not 9007199254740992.'],
    [nonNegativeInteger, '5', "a whole number, 0 or more, not '5'."],
    [nonNegativeInteger, 5n, 'a whole number, 0 or more, not 5n.'],
    [nonNegativeInteger, null, 'a whole number, 0 or more, not null.'],
    [positiveInteger, 0, 'a whole number, 1 or more, not 0.'],
    [boolean, 'yes', "true or false, not 'yes'."],
    [boolean, 1, 'true or false, not 1.'],
    [nonEmptyString, '', "a non-empty string, not ''."],
    [nonEmptyString, ['a'], "a non-empty string, not [ 'a' ]."],
    [oneOf(['memory', 'none']), 'off', "one of 'memory', 'none', not 'off'."],
    [oneOf(['memory', 'none']), 'memroy', "one of 'memory', 'none', not 'memroy'. Did you mean 'memory'?"],
    [oneOf(['on', 'off']), 'no', "one of 'on', 'off', not 'no'."],
    [oneOf(['memory', 'none']), true, "one of 'memory', 'none', not true."],
  ])('%o refuses %o', (check, value, expected) => {
    expect(() => check(value, 'x.y')).toThrow(new InvalidArgumentError(`Option "x.y" must be ${expected}`))
  })

  it('show only the beginning of a long value, and run nothing of it', () => {
    expect(() => boolean('x'.repeat(10_000), 'b')).toThrow(/^.{60,140}$/)
    const trap = {
      get boom() {
        throw new Error('getter ran')
      },
      toString() {
        throw new Error('toString ran')
      },
      [Symbol.for('nodejs.util.inspect.custom')]() {
        throw new Error('inspect ran')
      },
    }
    expect(() => boolean(trap, 'b')).toThrow(InvalidArgumentError)
  })
})

describe('checkOptions', () => {
  interface Options {
    readonly name?: string | undefined
    readonly count?: number
  }
  const check = (options: unknown, prefix?: string) =>
    checkOptions<Options>(options, { name: nonEmptyString, count: positiveInteger }, 'open()', prefix)

  it('returns a copy without what is undefined', () => {
    const options = { count: 1, name: undefined }
    expect(check(options)).toStrictEqual({ count: 1 })
    expect(check(options)).not.toBe(options)
  })

  it('names the option that is wrong, with the prefix given', () => {
    expect(() => check({ count: 0 })).toThrow('Option "count" must be a whole number, 1 or more, not 0.')
    expect(() => check({ count: 0 }, 'inner.')).toThrow('Option "inner.count" must be')
    expect(() => check({ name: null })).toThrow('Option "name" must be a non-empty string, not null.')
    expect(() => check({ cuont: 1 })).toThrow('Unknown option "cuont" of open(). Did you mean "count"?')
  })
})
