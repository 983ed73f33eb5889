import { encodeValue } from '../core/value-codec.ts'
import { decodePayload, type Payload, toPayload } from '../history/record.ts'
import type { SnapshotRow } from '../history/snapshot-table.ts'
import { formatVersion, type VersionId } from './version.ts'

/** What is kept with a snapshot. */
export interface SnapshotMetadata {
  /** A random UUID: what tells this snapshot from all others, also in other stores that import it. */
  readonly id: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly tags: readonly string[]
  readonly description: string
  /** Any value the caller gave. */
  readonly userInfo?: unknown
  readonly kind: 'full' | 'delta'
  /** Of a delta snapshot. */
  readonly baseVersion?: VersionId
  /** Of a delta snapshot: what it cost against its base. */
  readonly changes?: number
  readonly bytes?: number
}

/** What `listSnapshots()` says of a snapshot. */
export interface SnapshotInfo {
  /** Its name in this store: `v1`, `v2`, … */
  readonly version: VersionId
  /** The same in every store that has this snapshot, where the version may be another. */
  readonly id: string
  /** When it was taken, also where it was imported since. */
  readonly createdAt: Date
  readonly tags: readonly string[]
  readonly description: string
  /** What was given as `userInfo`; `undefined` for nothing. */
  readonly userInfo: unknown
  /** `delta` where it was measured against a base. Both hold the whole state. */
  readonly kind: 'full' | 'delta'
  /** The snapshot a delta snapshot was measured against; it may have been deleted since. */
  readonly baseVersion?: VersionId
  /**
   * Keys written since the previous snapshot on the list, those written back to what they were included; of the oldest,
   * once an older one was deleted: in its own epoch, as far back as is known. Of a delta snapshot: since its base, as it
   * was found when the snapshot was taken.
   */
  readonly changes: number
  /**
   * Bytes that the values written since the previous snapshot on the list take in the store now, with their records;
   * one that is packed with others counts with its equal share of them. The oldest snapshot counts all that was written
   * before it, so that over all snapshots, and the current state since the newest, every record is counted once. Packing
   * makes this smaller, and so does what was written over and is not seen by any snapshot any more. Of a delta snapshot:
   * the same since its base, as it was found when the snapshot was taken.
   */
  readonly bytes: number
}

export function encodeMetadata(metadata: SnapshotMetadata): Payload {
  return toPayload(encodeValue(metadata), true)
}

export function decodeMetadata(payload: Payload): SnapshotMetadata {
  return decodePayload(payload) as SnapshotMetadata
}

/** The public form of a snapshot's record. */
export function toSnapshotInfo(
  row: SnapshotRow,
  metadata: SnapshotMetadata,
  cost: { readonly changes: number; readonly bytes: number },
): SnapshotInfo {
  return {
    version: formatVersion(row.version),
    id: metadata.id,
    createdAt: new Date(metadata.createdAt),
    tags: metadata.tags,
    description: metadata.description,
    userInfo: metadata.userInfo,
    kind: metadata.kind,
    ...(metadata.baseVersion !== undefined && { baseVersion: metadata.baseVersion }),
    changes: metadata.changes ?? cost.changes,
    bytes: metadata.bytes ?? cost.bytes,
  }
}
