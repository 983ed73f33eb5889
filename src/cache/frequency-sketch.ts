/** Counters for a key, each of its own row and by its own hash. */
const ROWS = 4
/** The most that a counter of four bits holds. */
export const MAX_FREQUENCY = 15

/**
 * About how often keys were used lately, in a few bytes a key: the count-min sketch of Cormode and Muthukrishnan
 * (2005) with conservative update. It may count too much where keys collide, and never too little, but for what
 * {@link FrequencySketch.halve} forgets.
 */
export class FrequencySketch {
  readonly #mask: number
  /** Two counters a byte. */
  readonly #counters: Uint8Array

  /** @param entries For about so many keys that matter. */
  constructor(entries: number) {
    // The power of two that is nearest to four columns a key.
    const columns = 2 ** Math.max(4, Math.round(Math.log2(entries * 4)))
    this.#mask = columns - 1
    this.#counters = new Uint8Array((columns * ROWS) / 2)
  }

  estimate(key: string): number {
    const hash = hashOf(key)
    let least = MAX_FREQUENCY
    for (let row = 0; row < ROWS; row++) {
      const at = this.#position(hash, row)
      least = Math.min(least, ((this.#counters[at >>> 1] as number) >>> ((at & 1) * 4)) & MAX_FREQUENCY)
    }
    return least
  }

  /** Raises the estimate of a key to `frequency`, if it is below. */
  raise(key: string, frequency: number): void {
    const hash = hashOf(key)
    for (let row = 0; row < ROWS; row++) {
      const at = this.#position(hash, row)
      const shift = (at & 1) * 4
      const pair = this.#counters[at >>> 1] as number
      if (((pair >>> shift) & MAX_FREQUENCY) < frequency) {
        this.#counters[at >>> 1] = (pair & ~(MAX_FREQUENCY << shift)) | (frequency << shift)
      }
    }
  }

  /** Halves all estimates. */
  halve(): void {
    for (let i = 0; i < this.#counters.length; i++) {
      this.#counters[i] = ((this.#counters[i] as number) >>> 1) & 0x77
    }
  }

  #position(hash: number, row: number): number {
    // Each row mixes the hash with an odd number of its own; the rows take turns within a byte.
    let mixed = Math.imul(hash ^ (row * 0x9e3779b9), 0x85ebca6b + row * 2)
    mixed ^= mixed >>> 15
    return (mixed & this.#mask) * ROWS + row
  }
}

/** The hash FNV-1a of Fowler, Noll and Vo over UTF-16 units, with a last mixing, in which each bit reaches all. */
function hashOf(key: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  return hash ^ (hash >>> 13)
}
