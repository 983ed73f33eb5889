import fc from 'fast-check'

/** Names that mean something to JavaScript. */
export const hostileNames = fc.constantFrom(
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'valueOf',
  'toJSON',
  'then',
  'length',
  '0',
  '-0',
  '',
  '$type',
  'NaN',
)

const name = fc.oneof(hostileNames, fc.string({ unit: 'binary', maxLength: 8 }))

/** JSON values with such names in all places. As JSON has them: `__proto__` is an own property. */
export const hostileJson: fc.Arbitrary<unknown> = fc
  .letrec<{ value: string }>(tie => ({
    value: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      fc.constantFrom('null', 'true', '0', '-0', '1e999', '1e-999', '12345678901234567890', '""', '[]', '{}'),
      fc.double().map(number => JSON.stringify(number)),
      fc.string({ unit: 'binary', maxLength: 12 }).map(text => JSON.stringify(text)),
      fc.array(tie('value'), { maxLength: 4 }).map(items => `[${items.join(',')}]`),
      fc
        .array(fc.tuple(name, tie('value')), { maxLength: 4 })
        .map(members => `{${members.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',')}}`),
    ),
  }))
  .value.map(text => JSON.parse(text) as unknown)

/** Keys of any kind: most are refused for one reason or another, or mean something to JavaScript. */
export const hostileKeys: fc.Arbitrary<string> = fc.oneof(
  hostileNames.filter(text => text !== ''),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }).filter(text => text.isWellFormed()),
  fc.constantFrom(
    '../../etc/passwd',
    '/etc/passwd',
    'C:\\x',
    '\u0000',
    '\u001b[31m',
    '\u202e',
    'a'.repeat(1024),
  ),
)
