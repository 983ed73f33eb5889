import { type Payload, TOMBSTONE } from '../history/record.ts'

/** What a cache of records holds for a key: what the key held, and when that was so. */
export interface CachedRecord {
  /** Who read it, see {@link ReadCache}. */
  readonly lineage: number
  /** The commit as of which it was read. */
  readonly sequence: number
  /** Which commit that was: see {@link markOf}. */
  readonly mark: number
  /** `undefined` for a key that was absent. */
  readonly payload: Payload | undefined
}

/*
 * lineage (6 bytes), sequence (6), mark (4), codec (1), payload
 */
const HEADER_BYTES = 17

export function encodeCachedRecord({ lineage, sequence, mark, payload }: CachedRecord): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(HEADER_BYTES + (payload?.bytes.byteLength ?? 0))
  bytes.writeUIntLE(lineage, 0, 6)
  bytes.writeUIntLE(sequence, 6, 6)
  bytes.writeUInt32LE(mark, 12)
  bytes[16] = payload?.codec ?? TOMBSTONE
  if (payload !== undefined) bytes.set(payload.bytes, HEADER_BYTES)
  return bytes
}

/** What {@link encodeCachedRecord} made; `undefined` for anything else. */
export function decodeCachedRecord(value: unknown): CachedRecord | undefined {
  if (!(value instanceof Uint8Array) || value.byteLength < HEADER_BYTES) return undefined
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const codec = bytes[16] as number
  return {
    lineage: bytes.readUIntLE(0, 6),
    sequence: bytes.readUIntLE(6, 6),
    mark: bytes.readUInt32LE(12),
    payload: codec === TOMBSTONE ? undefined : { codec, bytes: bytes.subarray(HEADER_BYTES) },
  }
}
