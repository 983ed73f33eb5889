import type { Engine, View } from '../../src/engine/engine.ts'

/** What has been asked of a {@link remoteEngine}. */
export interface Traffic {
  /** Calls that read. */
  reads: number
  /** Bytes of values that were answered. */
  bytes: number
}

/** The same engine behind a network: every answer takes a round trip. */
export function remoteEngine(
  engine: Engine,
  roundTrip: () => Promise<void> = nextTurn,
  traffic: Traffic = { reads: 0, bytes: 0 },
): Engine {
  async function answer<T>(call: () => T | PromiseLike<T>): Promise<T> {
    traffic.reads++
    await roundTrip()
    const found = await call()
    traffic.bytes += bytesOf(found)
    return found
  }
  const far = (view: View): View => ({
    get: (table, key) => answer(() => view.get(table, key)),
    getMany: (table, keys) => answer(() => view.getMany(table, keys)),
    seek: (table, query) => answer(() => view.seek(table, query)),
    seekMany: (table, queries) => answer(() => view.seekMany(table, queries)),
    scan: (table, range) => answer(() => view.scan(table, range)),
    close: () => view.close(),
  })
  return {
    ...engine,
    get: (table, key) => answer(() => engine.get(table, key)),
    read: () => far(engine.read()),
    commit: (build, options) => engine.commit((view, batch) => build(far(view), batch), options),
  }
}

function nextTurn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

function bytesOf(found: unknown): number {
  if (found instanceof Uint8Array) return found.byteLength
  if (Array.isArray(found)) return found.reduce((sum: number, item) => sum + bytesOf(item), 0)
  if (typeof found !== 'object' || found === null) return 0
  return 'rows' in found ? bytesOf(found.rows) : 'value' in found ? bytesOf(found.value) : 0
}
