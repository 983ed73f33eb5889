import { describe, expect, it } from 'vitest'
import { encodeKey, firstVersionKey, lastVersionKey } from '../../src/core/key.ts'
import type { Engine, Row } from '../../src/engine/engine.ts'
import { createPersistence, DataIntegrityError, type Logger } from '../../src/index.ts'
import { ENGINES, newPlace, toArray } from '../support/stores.ts'

const ROUNDS = 20
const value = (key: string, round: number): string => `${key} ${'padding '.repeat(10)}${round}`

/** Three keys that change before each of twenty snapshots, packed. */
async function filled(name: (typeof ENGINES)[number], delta: 'auto' | 'dict', logger?: Logger) {
  const engine = (await newPlace(name)).engine()
  const state = await createPersistence({ engine, delta, maxChainLength: 8, ...(logger && { logger }) })
  for (let round = 1; round <= ROUNDS; round++) {
    for (const key of ['a', 'b', 'c']) await state.set(key, value(key, round))
    await state.createSnapshot()
  }
  // The newest value is superseded too.
  for (const key of ['a', 'b', 'c']) await state.set(key, value(key, ROUNDS + 1))
  await state.compact()
  return { engine, state }
}

async function rowsOf(engine: Engine, key: string): Promise<readonly Row[]> {
  const view = engine.read()
  try {
    const bytes = encodeKey(key)
    return (await view.scan('history', { gte: firstVersionKey(bytes), lte: lastVersionKey(bytes) })).rows
  } finally {
    view.close()
  }
}

/** Flips a bit in the middle of a row, as a disk might. */
async function damage(engine: Engine, row: Row): Promise<void> {
  const value = Buffer.from(row.value)
  const middle = value.length >>> 1
  value[middle] = (value[middle] as number) ^ 4
  await engine.commit((_, batch) => batch.put('history', row.key, value))
}

describe.each(ENGINES)('a damaged record of the history, on %s', name => {
  it.each(['auto', 'dict'] as const)(
    'is an error with key and versions, and harms no other (%s)',
    async delta => {
      const { engine, state } = await filled(name, delta)
      const rows = await rowsOf(engine, 'b')
      expect(rows.length).toBeGreaterThan(2)
      await damage(engine, rows[1] as Row)
      const broken: string[] = []
      for (let round = 1; round <= ROUNDS; round++) {
        const snapshot = state.at(`v${round}`)
        for (const key of ['a', 'c']) expect(await snapshot.get(key)).toBe(value(key, round))
        try {
          expect(await snapshot.get('b')).toBe(value('b', round))
        } catch (error) {
          expect(error).toBeInstanceOf(DataIntegrityError)
          broken.push(`v${round}`)
        }
      }
      expect(broken.length).toBeGreaterThan(2)
      expect(broken.length).toBeLessThan(ROUNDS / 2 + 1)
      const named = new RegExp(`Key "b" cannot be read at ${broken[0]}.*${broken.at(-1)}`)
      const [first = ''] = broken
      await expect(state.at(first).get('b')).rejects.toThrow(named)
      await expect(state.at(first).getMany(['a', 'b'])).rejects.toThrow(named)
      await expect(state.getSnapshotData(first)).rejects.toThrow(named)
      await expect(state.compareSnapshots(first, 'head')).rejects.toThrow(named)
      await expect(state.restoreSnapshot(first)).rejects.toThrow(named)
      await expect(toArray(state.history('b'))).rejects.toThrow(named)
      const { ok, problems } = await state.verify()
      expect(ok).toBe(false)
      expect(problems).toMatchObject([{ table: 'history', key: 'b', versions: broken }])
      // Nothing of it is in the current state.
      expect(await state.load()).toStrictEqual(
        Object.fromEntries(['a', 'b', 'c'].map(key => [key, value(key, ROUNDS + 1)])),
      )
      await state.close()
    },
  )

  it('keeps no other key from being packed, freed, compared or deleted', async () => {
    const warnings: string[] = []
    const log = (_: object, message?: string): void => void warnings.push(message ?? '')
    const logger = {
      debug: () => undefined,
      info: () => undefined,
      warn: log,
      error: log,
    } as unknown as Logger
    const { engine, state } = await filled(name, 'auto', logger)
    for (const row of await rowsOf(engine, 'b')) await damage(engine, row)
    for (let round = 2; round <= 8; round++) {
      for (const key of ['a', 'b', 'c']) await state.set(key, value(key, ROUNDS + round))
      await state.createSnapshot()
    }
    const loose = (await rowsOf(engine, 'a')).length
    await state.compact()
    expect((await rowsOf(engine, 'a')).length).toBeLessThan(loose)
    expect(warnings).toContain('varve: a damaged key is not packed')
    for (const version of ['v3', 'v4', 'v5', 'v6', 'v7', 'v8']) await state.deleteSnapshot(version)
    await state.compact()
    expect(warnings).toContain('varve: a damaged key is not freed')
    const births = (await toArray(state.history('a'))).map(({ version }) => version)
    expect(births).not.toContain('v5')
    const { problems } = await state.verify()
    expect(problems.every(({ key }) => key === 'b')).toBe(true)
    expect(await state.at('v2').get('c')).toBe(value('c', 2))
    expect((await state.listSnapshots()).length).toBe(ROUNDS + 7 - 6)
    // The damaged key itself can be written and deleted: also where the deletion has to look into its history.
    await state.set('b', 'again')
    await damage(engine, (await rowsOf(engine, 'b')).at(-1) as Row)
    expect(await state.delete('b')).toBe(true)
    await state.createSnapshot()
    expect(await state.has('b')).toBe(false)
    await state.set('b', 'anew')
    expect(await state.get('b')).toBe('anew')
    await state.close()
  })
})

describe.each(ENGINES)('a damaged current record, on %s', name => {
  it('fails what concerns its key, and nothing that shares a commit with it', async () => {
    const { engine, state } = await filled(name, 'auto')
    const key = encodeKey('b')
    const stored = Buffer.from((await engine.get('live', key)) as Uint8Array)
    stored[5] = (stored[5] as number) ^ 1
    await engine.commit((_, batch) => batch.put('live', key, stored))
    const calls = await Promise.allSettled([
      state.set('a', 1),
      state.set('b', 1),
      state.setMany({ d: 1, b: 1, e: 1 }),
      state.delete('b'),
      state.set('c', 1),
    ])
    expect(calls.map(({ status }) => status)).toStrictEqual([
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
      'fulfilled',
    ])
    for (const call of calls) {
      if (call.status === 'rejected') expect(call.reason).toBeInstanceOf(DataIntegrityError)
    }
    expect(await state.getMany(['a', 'c', 'd', 'e'])).toStrictEqual([1, 1, undefined, undefined])
    expect((await state.verify()).problems).toMatchObject([{ table: 'live', key: 'b' }])
    await state.close()
  })

  it('fails its own call, and no other, where all of them set keys', async () => {
    const { engine, state } = await filled(name, 'auto')
    const key = encodeKey('b')
    const stored = Buffer.from((await engine.get('live', key)) as Uint8Array)
    stored[5] = (stored[5] as number) ^ 1
    await engine.commit((_, batch) => batch.put('live', key, stored))
    const before = await state.size()
    const names = ['a', 'b', 'new', ...Array.from({ length: 1_000 }, (_, i) => `z${i}`)]
    const calls = await Promise.allSettled(names.map(name => state.set(name, name)))
    expect(names.filter((_, i) => calls[i]?.status === 'rejected')).toStrictEqual(['b'])
    expect(await state.getMany(['a', 'new', 'z0', 'z999'])).toStrictEqual(['a', 'new', 'z0', 'z999'])
    await expect(state.setMany({ c: 'other', b: 'other', d: 'other' })).rejects.toBeInstanceOf(
      DataIntegrityError,
    )
    expect(await state.getMany(['c', 'd'])).not.toContain('other')
    expect(await state.size()).toBe(before + 1_001)
    expect((await state.verify()).problems).toMatchObject([{ table: 'live', key: 'b' }])
    await state.close()
  })
})
