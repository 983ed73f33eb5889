// @ts-check
import { createPersistence } from 'varve'
import { progress } from './progress.js'
import { untilQuiet } from './quiet.js'

/** @typedef {import('varve').Persistence} Store */

const BATCH = 10_000

/**
 * The key of a record: in no order that follows from the order in which they are written, as with random ids.
 *
 * @param {number} index below 2³²
 */
export function keyOf(index) {
  // Multiplying by an odd number permutes the 32-bit numbers.
  return `user:${(Math.imul(index, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0')}`
}

/**
 * The key of a record where those written together lie together, as with times: large stores are filled faster so.
 *
 * @param {number} index below 2³²
 */
export function orderedKeyOf(index) {
  return `user:${index.toString(16).padStart(8, '0')}`
}

/**
 * A record of about 120 bytes as JSON.
 *
 * @param {number} index
 * @param {number} edition differs from one edition to the next
 */
export function recordOf(index, edition) {
  return {
    id: index,
    name: `user number ${index}`,
    email: `user${index}@example.com`,
    visits: edition,
    score: (index % 1000) / 1000,
    active: index % 3 === 0,
  }
}

/**
 * Entries for `setMany()`.
 *
 * @param {readonly number[]} indices
 * @param {number} edition
 * @returns {[string, unknown][]}
 */
export function entriesOf(indices, edition) {
  return indices.map(index => [keyOf(index), recordOf(index, edition)])
}

/**
 * A store in a folder, filled with so many records, with one snapshot, and with nothing left to do in the background.
 * It is not compacted: most stores never are.
 *
 * @param {string} folder
 * @param {number} keys
 */
export async function openFilled(folder, keys) {
  return fill(await createPersistence({ basePath: folder }), keys)
}

/**
 * The same with a store that is open, and empty.
 *
 * @param {Store} store
 * @param {number} keys
 */
export async function fill(store, keys) {
  const show = progress(`fill ${keys.toLocaleString('en-US')} keys`, keys)
  for (let start = 0; start < keys; start += BATCH) {
    const indices = Array.from({ length: Math.min(BATCH, keys - start) }, (_, i) => start + i)
    await store.setMany(entriesOf(indices, 0))
    show(start + indices.length)
  }
  await store.createSnapshot()
  await untilQuiet()
  return store
}
