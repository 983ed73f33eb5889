export type { BulkProgress } from '../history/bulk-commit.ts'
export type { HistoryOptions } from '../history/history.ts'
export type { ExportSummary, TransferOptions, TransferProgress } from '../transfer/transfer-options.ts'
export type { ChangedKey, DeltaInfo, Difference, SnapshotComparison } from './compare.ts'
export type { ExportSnapshotOptions } from './export-snapshot.ts'
export type { ImportSnapshotOptions } from './import-snapshot.ts'
export type { Range } from './key-range.ts'
export type { SnapshotInfo } from './metadata.ts'
export type { RetentionPolicy } from './retention.ts'
export {
  type CancelOptions,
  type CommitSummary,
  type DeltaSnapshotOptions,
  type HistoryEntry,
  type PruneResult,
  SnapshotManager,
  type SnapshotOptions,
} from './snapshot-manager.ts'
export type { KeyOf, ReadableState, ValuesOf } from './state-reader.ts'
export type { VersionId } from './version.ts'
