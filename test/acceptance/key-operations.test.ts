import { describe, expect, it } from 'vitest'
import { ENGINES, openNew, toArray } from '../support/stores.ts'

/** Keys that are easily mixed up, in the order of their UTF-8 bytes. */
const ODD_KEYS = [
  '\0',
  '\0\0',
  '\0a',
  ' ',
  '0',
  '10',
  '2',
  'A',
  '__proto__',
  'a',
  'a\0',
  'a\0b',
  'a b',
  'a'.repeat(1024),
  'constructor',
  'hasOwnProperty',
  'é',
  'e\u0301'.normalize('NFC') === 'é' ? 'e\u0301z' : 'z',
  '\u{ffff}',
  '\u{1f600}',
  '\u{1f600}'.repeat(256),
].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))

describe.each(ENGINES)('key operations, on %s', name => {
  it('sets, gets and deletes', async () => {
    const state = await openNew(name)
    expect(await state.get('a')).toBeUndefined()
    expect(await state.get('a', 'fallback')).toBe('fallback')
    expect(await state.has('a')).toBe(false)
    expect(await state.delete('a')).toBe(false)
    expect(await state.set('a', { n: 1 })).toBeUndefined()
    expect(await state.get('a')).toStrictEqual({ n: 1 })
    expect(await state.get('a', 'fallback')).toStrictEqual({ n: 1 })
    expect(await state.has('a')).toBe(true)
    await state.set('a', null)
    expect(await state.get('a', 'fallback')).toBeNull()
    expect(await state.has('a')).toBe(true)
    expect(await state.delete('a')).toBe(true)
    expect(await state.delete('a')).toBe(false)
    expect(await state.get('a')).toBeUndefined()
    expect(await state.size()).toBe(0)
  })

  it('gets and sets several at once', async () => {
    const state = await openNew(name)
    await state.set('same', 1)
    const summary = await state.setMany({ same: 1, b: 2, c: 3 })
    expect(summary).toMatchObject({ set: 2, deleted: 0, unchanged: 1 })
    expect(await state.getMany(['c', 'none', 'same', 'c'])).toStrictEqual([3, undefined, 1, 3])
    expect(await state.getMany([])).toStrictEqual([])
    // Of a key given twice, the last value counts.
    await state.setMany([
      ['b', 'first'],
      ['b', 'last'],
    ])
    await state.setMany(new Map([['d', 4]]))
    expect(await state.load()).toStrictEqual({ same: 1, b: 'last', c: 3, d: 4 })
    expect(await state.setMany({})).toMatchObject({ set: 0, deleted: 0, unchanged: 0 })
  })

  it('updates by what the value is, also with a function that takes its time', async () => {
    const state = await openNew<Record<string, number>>(name)
    expect(await state.update('n', (value = 10) => value + 1)).toBe(11)
    expect(await state.update('n', async value => (value ?? 0) * 2)).toBe(22)
    expect(await state.get('n')).toBe(22)
    await expect(
      state.update('n', () => {
        throw new RangeError('no')
      }),
    ).rejects.toThrow(new RangeError('no'))
    await expect(state.update('n', async () => Promise.reject(new RangeError('later')))).rejects.toThrow(
      new RangeError('later'),
    )
    expect(await state.get('n')).toBe(22)
  })

  it('takes keys of any content', async () => {
    const state = await openNew(name)
    for (const [i, key] of ODD_KEYS.entries()) await state.set(key, i)
    const version = await state.createSnapshot()
    for (const [i, key] of ODD_KEYS.entries()) {
      expect(await state.get(key)).toBe(i)
      expect(await state.update(key, value => (value as number) + 1000)).toBe(i + 1000)
    }
    expect(await toArray(state.keys())).toStrictEqual(ODD_KEYS)
    expect(Object.keys(await state.load()).sort()).toStrictEqual([...ODD_KEYS].sort())
    expect(await state.at(version).getMany(ODD_KEYS)).toStrictEqual(ODD_KEYS.map((_, i) => i))
    for (const key of ODD_KEYS) expect(await state.delete(key)).toBe(true)
    expect(await state.size()).toBe(0)
    expect(await toArray(state.at(version).keys())).toStrictEqual(ODD_KEYS)
  })

  it('iterates in the order of the keys, over any range', async () => {
    const state = await openNew(name)
    const keys = ['a', 'a/1', 'a/10', 'a/2', 'b', 'b/1', 'c', '\u{ffff}', '\u{1f600}']
    await state.setMany(keys.toReversed().map(key => [key, `value of ${key}`] as const))
    const version = await state.createSnapshot()
    await state.clear()
    await state.setMany(keys.map(key => [key, `value of ${key}`] as const))
    await state.set('d', 1)
    await state.delete('d')
    for (const readable of [state, state.at(version)]) {
      expect(await toArray(readable.keys())).toStrictEqual(keys)
      expect(await toArray(readable.values())).toStrictEqual(keys.map(key => `value of ${key}`))
      expect(await toArray(readable.entries({ prefix: 'a/1' }))).toStrictEqual([
        ['a/1', 'value of a/1'],
        ['a/10', 'value of a/10'],
      ])
      const range = (bounds: Parameters<typeof readable.keys>[0]) => toArray(readable.keys(bounds))
      expect(await range({ reverse: true })).toStrictEqual(keys.toReversed())
      expect(await range({ prefix: 'a/' })).toStrictEqual(['a/1', 'a/10', 'a/2'])
      expect(await range({ prefix: 'a/', gt: 'a/1', reverse: true })).toStrictEqual(['a/2', 'a/10'])
      expect(await range({ gt: 'a', lte: 'b' })).toStrictEqual(['a/1', 'a/10', 'a/2', 'b'])
      expect(await range({ gte: 'a', lt: 'b' })).toStrictEqual(['a', 'a/1', 'a/10', 'a/2'])
      expect(await range({ gte: 'a', gt: 'a', limit: 2 })).toStrictEqual(['a/1', 'a/10'])
      expect(await range({ gt: 'b/1', limit: 1, reverse: true })).toStrictEqual(['\u{1f600}'])
      expect(await range({ gt: '\u{ffff}' })).toStrictEqual(['\u{1f600}'])
      expect(await range({ limit: 0 })).toStrictEqual([])
      expect(await range({ prefix: 'x' })).toStrictEqual([])
      expect(await range({ gt: 'b', lt: 'a' })).toStrictEqual([])
      expect(await range({ gte: '', lt: '' })).toStrictEqual([])
      expect(await range({ prefix: '' })).toStrictEqual(keys)
      expect(await range({ gte: `a${'\0'.repeat(5000)}`, lt: 'a/1\0' })).toStrictEqual(['a/1'])
    }
  })

  it('iterates over one moment, whatever is written meanwhile', async () => {
    const state = await openNew(name)
    const value = 'x'.repeat(2000)
    const keys = Array.from({ length: 3000 }, (_, i) => `key ${String(i).padStart(4, '0')}`)
    await state.setMany(keys.map(key => [key, `${value}${key}`] as const))
    const seen: string[] = []
    for await (const [key, found] of state.entries()) {
      if (seen.length === 10) await state.clear()
      expect(found).toBe(`${value}${key}`)
      seen.push(key)
    }
    expect(seen).toStrictEqual(keys)
    expect(await state.size()).toBe(0)
  })

  it('makes concurrent calls in the order in which they were asked for', async () => {
    const state = await openNew(name)
    const calls = [
      state.set('a', 1),
      state.get('a'),
      state.update('a', value => [value]),
      state.delete('a'),
      state.delete('a'),
      state.set('a', 2),
      state.update('a', value => [value]),
    ]
    const results = await Promise.all(calls)
    expect(results.toSpliced(1, 1)).toStrictEqual([undefined, [1], true, false, undefined, [2]])
    expect(await state.load()).toStrictEqual({ a: [2] })
  })
})
