import { describe, expect, it } from 'vitest'
import type { Engine } from '../../src/engine/engine.ts'
import { createPersistence, memory } from '../../src/index.ts'

/** A store that has every kind of row in its table meta. */
async function filled(): Promise<Engine> {
  const engine = memory()
  const state = await createPersistence({ engine, retention: { keepLast: 3 } })
  for (let round = 1; round <= 20; round++) {
    await state.setMany([
      ['a', round],
      ['b', { round }],
    ])
    await state.createSnapshot()
  }
  await state.compact()
  await state.close()
  return engine
}

describe('the rows of the table meta, the log and the change lists', () => {
  it.each(['meta', 'log', 'changes'] as const)(
    'each flipped bit of a key or value in %s is found',
    async table => {
      const engine = await filled()
      await engine.open()
      const state = await createPersistence({ engine })
      expect(await state.verify()).toMatchObject({ ok: true })
      const view = engine.read()
      const { rows } = await view.scan(table, {})
      view.close()
      expect(rows.length).toBeGreaterThan(table === 'meta' ? 5 : 0)
      for (const row of rows) {
        for (const part of ['key', 'value'] as const) {
          for (let bit = 0; bit < row[part].byteLength * 8; bit += 5) {
            const damaged = { key: Buffer.from(row.key), value: Buffer.from(row.value) }
            damaged[part][bit >> 3] = (damaged[part][bit >> 3] as number) ^ (1 << (bit & 7))
            await engine.commit((_view, batch) => {
              batch.delete(table, row.key)
              batch.put(table, damaged.key, damaged.value)
            })
            const found = await state
              .verify()
              .catch((error: { code?: string }) => ({ ok: error.code !== 'FORMAT_TOO_NEW' }))
            expect(
              found.ok,
              `${table} ${Buffer.from(row.key).toString('latin1')}: bit ${bit} of its ${part}`,
            ).toBe(false)
            await engine.commit((_view, batch) => {
              batch.delete(table, damaged.key)
              batch.put(table, row.key, row.value)
            })
          }
        }
      }
      await state.close()
      await engine.close()
    },
  )

  it('are read as format 1 had them, and the store becomes one of the newest format', async () => {
    const engine = await filled()
    await engine.open()
    const short = { packed: 6, 'packed-lists': 6, 'first-list': 6 }
    await engine.commit(async (view, batch) => {
      const put = (name: string, value: Uint8Array): void =>
        batch.put('meta', Buffer.from(name), Buffer.from(value))
      put('format', Buffer.from('{"format":1}'))
      for (const [name, bytes] of Object.entries(short)) {
        const stored = await view.get('meta', Buffer.from(name))
        if (stored !== undefined) put(name, stored.subarray(0, bytes))
      }
      const policy = (await view.get('meta', Buffer.from('retention'))) as Uint8Array
      put('retention', policy.subarray(0, -4))
    })
    await using state = await createPersistence({ engine })
    expect(await state.verify()).toMatchObject({ ok: true })
    expect(Buffer.from((await engine.get('meta', Buffer.from('format'))) as Uint8Array).toString()).toBe(
      '{"format":2}',
    )
    await state.set('a', 'new')
    await state.createSnapshot()
    expect((await state.listSnapshots()).map(({ version }) => version)).toEqual(['v19', 'v20', 'v21'])
    await engine.close()
  })
})
