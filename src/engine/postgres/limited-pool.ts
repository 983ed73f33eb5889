import type { DriverClient, PostgresPool } from './driver.ts'

/** What the pools of the driver say when no connection became free in time. */
const TIMED_OUT = 'timeout exceeded when trying to connect'

/**
 * A part of a pool: as many connections at a time as are left when others have to be left over. Whoever waits for more than
 * `timeout` milliseconds is refused.
 */
export function limitedPool(pool: PostgresPool, max: number, timeout: number): PostgresPool {
  let free = max
  /** Those who wait, in order. */
  const waiting = new Set<() => void>()

  function giveBack(): void {
    const [next] = waiting
    if (next === undefined) free++
    else {
      waiting.delete(next)
      next()
    }
  }

  function takeOne(): Promise<void> | undefined {
    if (free > 0) {
      free--
      return undefined
    }
    return new Promise((resolve, reject) => {
      const go = (): void => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(() => {
        waiting.delete(go)
        reject(new Error(TIMED_OUT))
      }, timeout)
      waiting.add(go)
    })
  }

  return {
    async connect(): Promise<DriverClient> {
      await takeOne()
      let client: DriverClient
      try {
        client = await pool.connect()
      } catch (error) {
        giveBack()
        throw error
      }
      // The pool gives a client a function of its own each time it hands it out.
      const { release } = client
      client.release = destroy => {
        giveBack()
        release.call(client, destroy)
      }
      return client
    },
  }
}
