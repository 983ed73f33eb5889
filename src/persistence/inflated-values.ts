import { MemoryCache } from '../cache/memory-cache.ts'
import { bytesEqual } from '../core/bytes.ts'
import { decodeValue, type EncodedValue } from '../core/value-codec.ts'
import type { History } from '../history/history.ts'
import { decodePayload, fromPayload, isDeflated, type Payload } from '../history/record.ts'
import { directReads } from '../snapshot/state-reader.ts'
import type { CachedReads } from './cached-reads.ts'

const MAX_BYTES = 32 * 1024 * 1024
/** What an entry takes besides its bytes, about. */
const ENTRY_BYTES = 250

interface Inflated {
  /** What was inflated, as it is stored. */
  readonly stored: Uint8Array
  readonly value: EncodedValue
}

/**
 * The cache in front of an embedded engine.
 *
 * Such an engine answers from memory itself: a cache of its records would be asked as long as it takes to look them up.
 * What is dear is to inflate them. So each read looks the record up, and only what inflating it gave is kept, under the
 * bytes that it was made from: it is used for exactly these bytes, so that nothing in it can be stale.
 */
export function inflatedValues(history: History, kind: string): CachedReads {
  let hits = 0
  let misses = 0
  const cache = new MemoryCache<Inflated>({
    maxBytes: MAX_BYTES,
    policy: 'tinylfu',
    sizeOf: ({ stored, value }, key) =>
      ENTRY_BYTES + 2 * key.length + stored.byteLength + value.bytes.byteLength,
  })
  return {
    ...directReads(history),

    decode(key: string, payload: Payload): unknown {
      if (!isDeflated(payload.codec)) return decodePayload(payload)
      const known = cache.get(key)
      if (known !== undefined && bytesEqual(known.stored, payload.bytes)) {
        hits++
        return decodeValue(known.value.codec, known.value.bytes)
      }
      misses++
      const value = fromPayload(payload)
      cache.set(key, { stored: payload.bytes, value })
      return decodeValue(value.codec, value.bytes)
    },

    metrics() {
      const hitRatio = hits === 0 ? 0 : hits / (hits + misses)
      return { ...cache.stats(), kind, mode: 'strong', hits, misses, hitRatio }
    },

    close: () => cache.close(),
  }
}
