// @ts-check
import { isDeepStrictEqual } from 'node:util'

/**
 * Versions as objects in memory, each a deep copy, as if both had been loaded from files. Nothing is stored.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open() {
  /** @type {Record<string, unknown>} */
  const state = Object.create(null)
  /** @type {Map<import('./peer.js').Mark, Record<string, unknown>>} */
  const copies = new Map()
  let marks = 0
  /** @param {Readonly<Record<string, unknown>>} object */
  const copy = object => {
    const clone = Object.create(null)
    for (const key in object) clone[key] = structuredClone(object[key])
    return clone
  }
  return {
    set(key, value) {
      state[key] = value
    },
    setMany(entries) {
      for (const [key, value] of entries) state[key] = value
    },
    get: key => state[key],
    mark() {
      // Two are compared; more would only take memory.
      copies.delete(marks - 1)
      copies.set(++marks, copy(state))
      return marks
    },
    compare(from, to) {
      const [before = {}, after = {}] = [copies.get(from), copies.get(to)]
      let differing = 0
      for (const key in after) {
        if (!(key in before) || !isDeepStrictEqual(before[key], after[key])) differing++
      }
      for (const key in before) if (!(key in after)) differing++
      return differing
    },
    close() {},
  }
}
