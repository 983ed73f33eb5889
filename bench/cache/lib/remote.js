// @ts-check
import { setTimeout as delay } from 'node:timers/promises'

/** Bytes that a network of 1 Gbit/s carries in a millisecond. */
const BYTES_PER_MS = 125_000
const ROUND_TRIP_MS = 1

/** @typedef {{ near: boolean, reads: number, bytes: number }} Network `near` for one that takes no time; the others count */

/**
 * An engine behind a network: each answer takes a round trip, and longer the larger it is.
 *
 * @param {import('varve').Engine} engine
 * @param {Network} network
 * @returns {import('varve').Engine}
 */
export function remote(engine, network) {
  /**
   * @template T
   * @param {() => T | PromiseLike<T>} call
   */
  const answer = async call => {
    const found = await call()
    const bytes = bytesOf(found)
    network.reads++
    network.bytes += bytes
    if (!network.near) await delay(ROUND_TRIP_MS + bytes / BYTES_PER_MS)
    return found
  }
  /** @param {ReturnType<typeof engine.read>} view */
  const far = view => ({
    /** @type {typeof view.get} */
    get: (table, key) => answer(() => view.get(table, key)),
    /** @type {typeof view.getMany} */
    getMany: (table, keys) => answer(() => view.getMany(table, keys)),
    /** @type {typeof view.seek} */
    seek: (table, query) => answer(() => view.seek(table, query)),
    /** @type {typeof view.seekMany} */
    seekMany: (table, queries) => answer(() => view.seekMany(table, queries)),
    /** @type {typeof view.scan} */
    scan: (table, range) => answer(() => view.scan(table, range)),
    close: () => view.close(),
  })
  return {
    ...engine,
    get: (table, key) => answer(() => engine.get(table, key)),
    read: () => far(engine.read()),
  }
}

/** @param {unknown} found @returns {number} */
function bytesOf(found) {
  if (found instanceof Uint8Array) return found.byteLength
  if (Array.isArray(found)) return found.reduce((sum, item) => sum + bytesOf(item), 0)
  if (typeof found !== 'object' || found === null) return 0
  return 'rows' in found ? bytesOf(found.rows) : 'value' in found ? bytesOf(found.value) : 0
}
