/** A generator of numbers in [0, 1) that a seed determines (mulberry32). */
export type Random = () => number

export function seeded(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A whole number below `end`. */
export function below(random: Random, end: number): number {
  return Math.floor(random() * end)
}

/** One of some items. */
export function pick<T>(random: Random, items: readonly T[]): T {
  return items[below(random, items.length)] as T
}
