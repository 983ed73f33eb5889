import { bytesEqual, toByteString } from '../core/bytes.ts'
import { type Chain, openChain } from '../delta/chain-record.ts'

/**
 * Chain records that were opened lately, so that scans and repeated reads inflate each of them once.
 *
 * An entry is used only for exactly the bytes it was opened from. It is therefore a memory of a pure function, and
 * may be shared by all stores of the process: nothing in it can be stale.
 */

interface Entry {
  readonly record: Uint8Array
  readonly chain: Chain
  readonly memoryBytes: number
}

const MAX_BYTES = 16 * 1024 * 1024

/** In the order of use: the first is the one used longest ago. */
const entries = new Map<string, Entry>()
let bytes = 0

/** Opens the chain record that stands under a row key of the history. */
export function openCachedChain(rowKey: Uint8Array, record: Uint8Array): Chain {
  const name = toByteString(rowKey)
  const known = entries.get(name)
  if (known !== undefined) {
    entries.delete(name)
    if (bytesEqual(known.record, record)) {
      entries.set(name, known)
      return known.chain
    }
    bytes -= known.memoryBytes
  }
  const chain = openChain(record)
  const memoryBytes = chain.memoryBytes + record.byteLength + name.length
  if (memoryBytes > MAX_BYTES / 4) return chain
  entries.set(name, { record, chain, memoryBytes })
  bytes += memoryBytes
  for (const [oldest, entry] of entries) {
    if (bytes <= MAX_BYTES) break
    entries.delete(oldest)
    bytes -= entry.memoryBytes
  }
  return chain
}
