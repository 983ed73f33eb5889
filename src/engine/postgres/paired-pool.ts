import type { DriverClient, OwnPool, PostgresPool } from './driver.ts'
import { isOutOfConnections } from './errors.ts'

/**
 * One of two pools on a server. Where that takes no more connections, the other one closes one that nobody uses: whoever
 * tries again finds room. Else those that are kept idle would be in the way until they are closed by the clock.
 */
export function pairedPool(pool: OwnPool, other: OwnPool): PostgresPool {
  return {
    async connect(): Promise<DriverClient> {
      try {
        return await pool.connect()
      } catch (error) {
        if (isOutOfConnections(error) && other.idleCount > 0) await closeOne(other)
        throw error
      }
    },
  }
}

async function closeOne(pool: OwnPool): Promise<void> {
  // An idle one is handed out at once, unless somebody else takes it: then there is nothing to close.
  const client = await pool.connect().catch(() => undefined)
  client?.release(true)
}
