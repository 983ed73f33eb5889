import { randomBytes, randomUUID } from 'node:crypto'
import pg from 'pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import { postgres } from '../../src/engine/postgres.ts'
import { type CompactProgress, createPersistence, type Persistence } from '../../src/index.ts'
import { POSTGRES } from '../support/stores.ts'

async function query(text: string): Promise<void> {
  const client = new pg.Client(POSTGRES)
  await client.connect()
  try {
    await client.query(text)
  } finally {
    await client.end()
  }
}

/** A database of its own: the size is that of the stores made here, and no view of another test keeps what is freed. */
async function newDatabase(options = ''): Promise<(store: string) => Promise<Persistence>> {
  const database = `compact_${randomUUID().slice(0, 8)}`
  await query(`CREATE DATABASE ${database}`)
  onTestFinished(() => query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`))
  const url = new URL(POSTGRES + options)
  url.pathname = `/${database}`
  return async store => {
    const state = await createPersistence({ engine: postgres({ connectionString: url.href, store }) })
    onTestFinished(() => state.close())
    return state
  }
}

/** Writes 40 keys again and again, a snapshot each time, with values of 4 kB that nothing compresses. */
async function fill(state: Persistence, rounds: number): Promise<void> {
  const base = randomBytes(3000).toString('base64')
  for (let round = 0; round < rounds; round++) {
    await state.setMany(
      Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`key ${i}`, { base, round }])),
    )
    await state.createSnapshot()
  }
}

describe.skipIf(POSTGRES === '')('compact() on postgres', () => {
  it('gives the system back what packing has freed, and keeps every version', async () => {
    const open = await newDatabase()
    const [state, other] = [await open('one'), await open('other')]
    await other.set('a', 'b')
    await fill(state, 40)
    const before = await state.getSnapshotData('v20')
    const seen: CompactProgress[] = []
    const { bytesBefore, bytesAfter } = await state.compact({
      onProgress: progress => progress.phase === 'rewrite' && seen.push(progress),
    })
    expect(bytesAfter).toBeLessThan(bytesBefore / 3)
    expect(seen.length).toBeGreaterThan(1)
    // Tables without room to give back are passed over; the end is told all the same.
    expect(seen.at(-1)?.entries).toBe(seen.at(-1)?.entriesTotal)
    expect(await state.getSnapshotData('v20')).toEqual(before)
    expect(await state.verify()).toMatchObject({ ok: true })
    expect(await other.load()).toEqual({ a: 'b' })
  })

  it('moves nothing where little is free, and can be called beside writers and readers', async () => {
    const open = await newDatabase()
    const state = await open('one')
    await fill(state, 10)
    await state.compact()
    const moved: number[] = []
    await state.compact({ onProgress: ({ phase, entries }) => phase === 'rewrite' && moved.push(entries) })
    expect(moved).toEqual([])
    await Promise.all([
      state.compact(),
      ...Array.from({ length: 20 }, (_, i) => state.set(`key ${i}`, i)),
      ...Array.from({ length: 20 }, () => state.getMany(['key 1', 'key 30'])),
    ])
    expect(await state.getMany(['key 19', 'key 0'])).toEqual([19, 0])
  })

  it('takes its time where the server limits statements', async () => {
    const open = await newDatabase(`?options=${encodeURIComponent('-c statement_timeout=1s')}`)
    const state = await open('one')
    await fill(state, 10)
    await expect(state.compact()).resolves.toMatchObject({ bytesAfter: expect.any(Number) })
  })
})
