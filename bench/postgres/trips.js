// @ts-check
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'

/** @typedef {import('varve/postgres').PostgresPool} PostgresPool */

/**
 * A pool that counts round trips by what waited for what, not by the clock: a query that is sent after the answer of another has
 * come is one trip later than that one; queries sent together are one trip.
 *
 * @param {string} connectionString
 */
export function countedPool(connectionString) {
  const pool = new pg.Pool({ connectionString, pipeline: true, max: 10 })
  let answered = 0
  let underWay = 0
  return {
    /** @type {PostgresPool} */
    pool: {
      async connect() {
        const client = await pool.connect()
        return new Proxy(client, {
          get(target, name) {
            const value = Reflect.get(target, name)
            if (typeof value !== 'function') return value
            if (name !== 'query') return value.bind(target)
            return async (/** @type {{ text: string }} */ query) => {
              const trip = answered + 1
              underWay++
              try {
                const answer = await target.query(query)
                // Nobody waits for the end of a transaction that has only read.
                if (query.text !== 'ROLLBACK') answered = Math.max(answered, trip)
                return answer
              } finally {
                underWay--
              }
            }
          },
        })
      },
    },
    /**
     * The trips that a call waits for.
     *
     * @param {() => Promise<unknown>} call
     */
    async of(call) {
      // What earlier calls and the background have left to do would count.
      for (let quiet = 0; quiet < 20; quiet = underWay === 0 ? quiet + 1 : 0) await delay(5)
      const before = answered
      await call()
      return answered - before
    },
    end: () => pool.end(),
  }
}
