/**
 * Remembers byte strings in a fixed room: it may take one for known that is not, and never the other way round.
 *
 * B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970; two hashes in place of many:
 * A. Kirsch and M. Mitzenmacher, "Less hashing, same performance", 2006.
 */
export class BloomFilter {
  readonly #bits: Uint8Array
  readonly #mask: number
  readonly #probes: number

  /** `bits` is a power of two, up to 2³². */
  constructor(bits: number, probes: number) {
    this.#bits = new Uint8Array(bits / 8)
    this.#mask = bits - 1
    this.#probes = probes
  }

  add(bytes: Uint8Array): void {
    let [position, step] = hashes(bytes)
    for (let i = 0; i < this.#probes; i++, position = (position + step) >>> 0) {
      const bit = (position & this.#mask) >>> 0
      this.#bits[bit >>> 3] = (this.#bits[bit >>> 3] as number) | (1 << (bit & 7))
    }
  }

  mayHave(bytes: Uint8Array): boolean {
    let [position, step] = hashes(bytes)
    for (let i = 0; i < this.#probes; i++, position = (position + step) >>> 0) {
      const bit = (position & this.#mask) >>> 0
      if (((this.#bits[bit >>> 3] as number) & (1 << (bit & 7))) === 0) return false
    }
    return true
  }
}

/** Two hashes of 32 bits: the loop is FNV-1a with two offsets and primes, the end is MurmurHash3's. */
function hashes(bytes: Uint8Array): [number, number] {
  let a = 0x811c9dc5
  let b = 0x9747b28c
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number
    a = Math.imul(a ^ byte, 0x01000193)
    b = Math.imul(b ^ byte, 0x5bd1e995)
  }
  return [mixed(a), mixed(b) | 1]
}

function mixed(hash: number): number {
  let h = hash
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
