// @ts-check

/**
 * A generator of numbers in [0, 1) that gives the same ones for the same seed: the Mulberry32 of Tommy Ettinger.
 *
 * @param {number} seed
 * @returns {() => number}
 */
export function seededRandom(seed) {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * Distinct integers in [0, limit).
 *
 * @param {() => number} random
 * @param {number} howMany at most `limit`
 * @param {number} limit
 */
export function distinctIntegers(random, howMany, limit) {
  /** @type {Set<number>} */
  const chosen = new Set()
  while (chosen.size < howMany) chosen.add(Math.floor(random() * limit))
  return [...chosen]
}
