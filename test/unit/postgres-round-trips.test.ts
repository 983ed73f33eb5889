import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type PostgresPool, postgres } from '../../src/engine/postgres.ts'
import { createPersistence, type Persistence } from '../../src/index.ts'
import { POSTGRES, toArray } from '../support/stores.ts'

/**
 * Counts round trips by what waited for what, not by the clock: a query that is sent after the answer of another has come
 * is one trip later than that one; queries sent together are one trip. What nobody waits for does not count.
 */
class Trips {
  #answered = 0
  #underWay = 0

  /** The trips that a call waits for. */
  async of(call: () => Promise<unknown>): Promise<number> {
    // What earlier calls and the background have left to do would count.
    for (let quiet = 0; quiet < 20; quiet = this.#underWay === 0 ? quiet + 1 : 0) await delay(5)
    const before = this.#answered
    await call()
    return this.#answered - before
  }

  /** The least of three times, for calls that change nothing: background work may come in between. */
  async ofRead(call: () => Promise<unknown>): Promise<number> {
    const counts: number[] = []
    for (let i = 0; i < 3; i++) counts.push(await this.of(call))
    return Math.min(...counts)
  }

  pool(): PostgresPool {
    const pool = new pg.Pool({ connectionString: POSTGRES, pipeline: true, max: 10 })
    onTestFinished(() => pool.end())
    return {
      connect: async () => {
        const client = await pool.connect()
        return new Proxy(client, {
          get: (target, name) => {
            const value: unknown = Reflect.get(target, name)
            if (typeof value !== 'function') return value
            if (name !== 'query') return value.bind(target)
            return (query: never) => {
              const trip = this.#answered + 1
              this.#underWay++
              const result = target.query(query) as unknown as Promise<unknown>
              return result
                .then(answer => {
                  // Nobody waits for the end of a transaction that has only read.
                  if ((query as { text: string }).text !== 'ROLLBACK')
                    this.#answered = Math.max(this.#answered, trip)
                  return answer
                })
                .finally(() => {
                  this.#underWay--
                })
            }
          },
        })
      },
    }
  }
}

async function openCounted(): Promise<{ state: Persistence; trips: Trips }> {
  const trips = new Trips()
  const engine = postgres({ pool: trips.pool(), store: randomUUID() })
  // A cache asks for the log as well, where somebody has committed since.
  const state = await createPersistence({ engine, cache: 'none' })
  onTestFinished(() => state.close())
  return { state, trips }
}

const numbered = (count: number, from = 0): Record<string, number> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`key ${from + i}`, i]))

describe.skipIf(POSTGRES === '')('round trips', () => {
  it('are one for a lookup, and one for any number of them', async () => {
    const { state, trips } = await openCounted()
    await state.setMany(numbered(3_000))
    const keys = Object.keys(numbered(3_000))
    expect(await trips.ofRead(() => state.get('key 1'))).toBe(1)
    expect(await trips.ofRead(() => state.has('absent'))).toBeLessThanOrEqual(2)
    expect(await trips.ofRead(() => state.getMany(keys))).toBe(1)
    expect(await trips.ofRead(() => Promise.all(keys.slice(0, 200).map(key => state.get(key))))).toBe(1)
  })

  it('are two for a commit, of one key or of many', async () => {
    const { state, trips } = await openCounted()
    expect(await trips.of(() => state.set('a', 1))).toBe(2)
    expect(await trips.of(() => state.setMany(numbered(2_000)))).toBe(2)
    const sets = (): Promise<unknown> =>
      Promise.all(Object.entries(numbered(500, 100)).map(([key, value]) => state.set(key, value)))
    expect(await trips.of(sets)).toBe(2)
    expect(await trips.of(() => state.update('a', (n: unknown) => Number(n) + 1))).toBe(2)
    expect(await trips.of(() => state.transaction(async t => t.set('a', await t.get('key 1'))))).toBe(3)
  })

  it('are few at a snapshot', async () => {
    const { state, trips } = await openCounted()
    await state.setMany(numbered(300))
    expect(await trips.of(() => state.createSnapshot())).toBeLessThanOrEqual(3)
    await state.setMany(numbered(150, 50))
    await state.createSnapshot()
    await state.delete('key 0')
    await state.compact()
    const old = state.at('v1')
    const keys = Object.keys(numbered(100))
    expect(await trips.ofRead(async () => old.getMany(keys))).toBeLessThanOrEqual(2)
    expect(await old.getMany(keys)).toEqual(Object.values(numbered(100)))
    expect(await trips.ofRead(async () => old.get('key 60'))).toBeLessThanOrEqual(2)
    expect(await trips.ofRead(() => toArray(old.entries()))).toBeLessThanOrEqual(4)
    expect(await old.load()).toEqual(numbered(300))
  })

  it('are at most ten to compare, and to restore, a thousand changes', async () => {
    const { state, trips } = await openCounted()
    await state.setMany(numbered(2_000))
    await state.createSnapshot()
    await state.setMany(numbered(900, 500))
    for (const key of Object.keys(numbered(100))) void state.delete(key)
    await state.createSnapshot()
    await state.compact()
    expect(await trips.ofRead(() => state.compareSnapshots('v1', 'v2'))).toBeLessThanOrEqual(10)
    expect(await trips.ofRead(() => toArray(state.diff('v1', 'head')))).toBeLessThanOrEqual(10)
    expect(await trips.of(() => state.restoreSnapshot('v1'))).toBeLessThanOrEqual(10)
    expect(await state.load()).toEqual(numbered(2_000))
  })
})
