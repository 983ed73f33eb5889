import type { SnapshotInfo } from '../snapshot/metadata.ts'
import { toTypedJson } from '../transfer/typed-json.ts'

/** What is known of a snapshot, as `--json` writes it: `listSnapshots()` with the time in ISO 8601. */
export function snapshotJson({ userInfo, createdAt, ...info }: SnapshotInfo): object {
  return {
    ...info,
    createdAt: createdAt.toISOString(),
    ...(userInfo !== undefined && { userInfo: toTypedJson(userInfo) }),
  }
}
