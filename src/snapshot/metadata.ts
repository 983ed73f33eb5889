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
  /** Keys changed since the base of a delta snapshot, since the previous snapshot of any other. */
  readonly changes: number
  /** Stored bytes of what those changes wrote. */
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
