import { bytesEqual, toByteString } from '../core/bytes.ts'
import type { Chain } from '../delta/chain-record.ts'
import type { Row } from '../engine/engine.ts'
import type { ParsedRecord } from './record.ts'

/**
 * Chains that were opened lately, so that scans and repeated reads check and inflate each of them once.
 *
 * An entry is used only for exactly the bytes it was opened from. It is therefore a memory of a pure function, and
 * may be shared by all stores of the process: nothing in it can be stale.
 */
const entries = new Map<string, KeptChain>()

const MAX_BYTES = 32 * 1024 * 1024
/** What a version takes besides its bytes, about. */
const VERSION_BYTES = 150

/** Of all entries, which are in the order of use: the first is the one used longest ago. */
let bytes = 0

/** A row of the history that holds a chain, opened. */
export class KeptChain {
  /** The key whose versions these are. */
  readonly key: Uint8Array
  readonly chain: Chain
  readonly name: string
  readonly #value: Uint8Array
  /** By their index, once they were read from the cache. Nobody changes their bytes. */
  readonly #versions: ParsedRecord[] = []
  #bytes: number

  constructor(name: string, row: Row, key: Uint8Array, chain: Chain) {
    this.name = name
    this.key = key
    this.chain = chain
    this.#value = row.value
    this.#bytes = chain.memoryBytes + row.key.byteLength + row.value.byteLength
  }

  get memoryBytes(): number {
    return this.#bytes
  }

  isOf(row: Row): boolean {
    return bytesEqual(this.#value, row.value)
  }

  /** A version that may be known; `read` reads it if not. */
  version(index: number, read: (chain: Chain, index: number) => ParsedRecord): ParsedRecord {
    const known = this.#versions[index]
    if (known !== undefined) return known
    const version = read(this.chain, index)
    const size = VERSION_BYTES + version.bytes.byteLength
    // It may have been given up since it was found.
    if (size <= MAX_BYTES / 16 && entries.get(this.name) === this) {
      this.#versions[index] = version
      this.#bytes += size
      bytes += size
    }
    return version
  }
}

/** The chain of a row, if it is known. */
export function knownChain(row: Row): KeptChain | undefined {
  const name = toByteString(row.key)
  const known = entries.get(name)
  if (known === undefined) return undefined
  entries.delete(name)
  if (known.isOf(row)) {
    entries.set(name, known)
    return known
  }
  bytes -= known.memoryBytes
  return undefined
}

/** Keeps the chain of a row that is not known: `key` is the one whose versions it holds. */
export function keepChain(row: Row, key: Uint8Array, chain: Chain): void {
  const name = toByteString(row.key)
  const kept = new KeptChain(name, row, key, chain)
  if (kept.memoryBytes > MAX_BYTES / 4) return
  // Another read may have opened the same one meanwhile.
  bytes -= entries.get(name)?.memoryBytes ?? 0
  entries.delete(name)
  entries.set(name, kept)
  bytes += kept.memoryBytes
  for (const [oldest, entry] of entries) {
    if (bytes <= MAX_BYTES) break
    entries.delete(oldest)
    bytes -= entry.memoryBytes
  }
}
