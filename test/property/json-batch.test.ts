import fc from 'fast-check'
import { expect, it, vi } from 'vitest'
import { DataIntegrityError } from '../../src/core/errors.ts'
import { JsonBatch } from '../../src/core/json-batch.ts'
import { decodeText, JSON_CODEC } from '../../src/core/value-codec.ts'
import { lmdb } from '../../src/engine/lmdb.ts'
import { memory } from '../../src/engine/memory.ts'
import { encodeRecord } from '../../src/history/record.ts'
import { createPersistence } from '../../src/index.ts'
import { temporaryFolder, toArray } from '../support/stores.ts'

/** JSON text of all kinds, and what a parser might treat in its own way beside other text. */
const text = fc.oneof(
  fc.json(),
  fc.json({ noUnicodeString: false }),
  fc
    .record({ id: fc.nat(), name: fc.string({ unit: 'binary' }), score: fc.double() })
    .map(x => JSON.stringify(x)),
  fc.constantFrom(
    '-0',
    '1e400',
    '[]',
    '""',
    'null',
    ' {"a" : 1 } ',
    '{"__proto__":{"x":1}}',
    '{"a":1,"b":2,"a":3}',
    '"\\ud800"',
    '"\u2028,]"',
    '"],["',
    '"\\\\"',
    `${'['.repeat(400)}${']'.repeat(400)}`,
    `"${'é'.repeat(400)}"`,
    `"${'long '.repeat(400)}"`,
  ),
)
const broken = fc.constantFrom(
  '',
  ' ',
  '1,2',
  '"',
  '"a',
  '[',
  ']',
  '1],[2',
  '{',
  '}',
  '{"a":1},{"b":2}',
  '"\\',
  'nul',
  '-',
  '1e',
  "'a'",
)

type Item = { readonly text: string } | { readonly string: string } | { readonly value: unknown }
const item: fc.Arbitrary<Item> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ text }) },
  {
    weight: 2,
    arbitrary: fc.record({
      string: fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('\\n', '"', '\n', '\0')),
    }),
  },
  fc.record({ value: fc.anything() }),
)

/** One buffer that all texts are shown in, as an engine does. */
const shown = Buffer.alloc(64 * 1024)

function addText(batch: JsonBatch, text: string, at: number, isShown: boolean): boolean {
  const bytes = Buffer.from(text)
  if (!isShown) return batch.addText(bytes, 0, bytes.length)
  shown.fill(0xff, 0, at)
  bytes.copy(shown, at)
  shown.fill(0xff, at + bytes.length, at + bytes.length + 8)
  return batch.addText(shown, at, at + bytes.length)
}

function alone(item: Item): unknown {
  if ('text' in item) return decodeText(item.text, 0)
  return 'string' in item ? Buffer.from(item.string).toString() : item.value
}

it('values of a batch are those of each text by itself, in their order', () => {
  const placed = fc.tuple(item, fc.integer({ min: 0, max: 9 }), fc.boolean())
  fc.assert(
    fc.property(fc.array(placed, { maxLength: 300, size: 'max' }), items => {
      const batch = new JsonBatch()
      for (const [item, at, isShown] of items) {
        const isTaken =
          'text' in item
            ? addText(batch, item.text, at, isShown)
            : 'string' in item && batch.addString(Buffer.from(item.string))
        if (!isTaken) batch.addValue(alone(item))
      }
      const expected = items.map(([item]) => alone(item))
      expect(batch.take()).toStrictEqual(expected)
      expect(batch.take()).toStrictEqual([])
    }),
    { numRuns: 150 },
  )
})

it('short texts are parsed in one call, wherever they are shown', () => {
  const parse = vi.spyOn(JSON, 'parse')
  const batch = new JsonBatch()
  for (let i = 0; i < 100; i++) addText(batch, `{"i":${'1'.repeat(i % 10)}1}`, i % 8, true)
  batch.take()
  expect(parse).toHaveBeenCalledTimes(1)
  parse.mockRestore()
})

it('a text that is not JSON is told, whatever stands beside it', () => {
  fc.assert(
    fc.property(fc.array(text), broken, fc.array(text), (before, broken, after) => {
      const batch = new JsonBatch()
      for (const text of [...before, broken, ...after])
        if (!addText(batch, text, 2, true)) batch.addValue(JSON.parse(text))
      const bytes = Buffer.byteLength(broken)
      expect(() => batch.take()).toThrow(
        new DataIntegrityError(
          `A stored value is damaged, or was written by a newer Node.js: ${bytes} bytes do not decode as JSON.`,
        ),
      )
    }),
  )
})

it.each([
  ['lmdb', async () => lmdb(await temporaryFolder())],
  ['memory', async () => memory()],
])('one damaged record fails its own reads and harms no others, on %s', async (_name, newEngine) => {
  const engine = await newEngine()
  await using state = await createPersistence({ engine })
  const names = Array.from({ length: 40 }, (_, i) => `k${String(i).padStart(2, '0')}`)
  const numbered = (i: number): unknown => ({ i, text: `"${i}"` })
  await state.setMany(names.map((name, i) => [name, numbered(i)] as const))
  for (const text of ['1,2', '"', ']', '']) {
    const key = Buffer.from('k25')
    const record = encodeRecord(key, 1, { codec: JSON_CODEC, bytes: Buffer.from(text) })
    await engine.commit((_view, batch) => batch.put('live', key, record))
    await expect(state.getMany(names)).rejects.toBeInstanceOf(DataIntegrityError)
    await expect(toArray(state.entries())).rejects.toBeInstanceOf(DataIntegrityError)
    await expect(state.load()).rejects.toBeInstanceOf(DataIntegrityError)
    const whole = names.filter(name => name !== 'k25')
    expect(await state.getMany(whole)).toStrictEqual(whole.map(name => numbered(names.indexOf(name))))
    expect(await toArray(state.entries({ lt: 'k25' }))).toStrictEqual(
      names.slice(0, 25).map((name, i) => [name, numbered(i)]),
    )
  }
  // One that does not match its checksum, in the middle of those that do.
  const record = Buffer.from(
    encodeRecord(Buffer.from('k25'), 1, { codec: JSON_CODEC, bytes: Buffer.from('[1]') }),
  )
  record[3] = 0x32
  await engine.commit((_view, batch) => batch.put('live', Buffer.from('k25'), record))
  await expect(state.getMany(names)).rejects.toThrow(/"k25" does not match its checksum/)
  await expect(toArray(state.entries())).rejects.toThrow(/"k25" does not match its checksum/)
})
