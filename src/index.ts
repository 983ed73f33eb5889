export {
  CHANNELS,
  type OperationEvent,
  type PackEvent,
  type PruneEvent,
  type SnapshotEvent,
} from './core/diagnostics.ts'
export {
  CacheError,
  ConflictError,
  DataIntegrityError,
  DeltaError,
  EncryptionError,
  type EncryptionErrorCode,
  EngineError,
  ExportError,
  ImportError,
  InvalidArgumentError,
  InvalidKeyError,
  PersistenceError,
  SnapshotNotFoundError,
  StoreClosedError,
  UnserializableValueError,
} from './core/errors.ts'
export type { Logger } from './core/logger.ts'
export type { EncryptionKey } from './crypto/encryption-key.ts'
export type { JsonPatchOperation } from './delta/json-patch.ts'
export { type EncryptionOptions, encrypted } from './encryption/encrypted.ts'
export type { EncryptedEngine } from './encryption/is-encrypted.ts'
export type { RotateOptions } from './encryption/rotate-key.ts'
export type { Engine } from './engine/engine.ts'
export { lmdb } from './engine/lmdb.ts'
export { memory } from './engine/memory.ts'
export type { BulkProgress } from './history/bulk-commit.ts'
export { type CopyOptions, type CopyProgress, type CopySummary, copyStore } from './history/copy-store.ts'
export type { CompactOptions, CompactProgress, CompactSummary } from './history/history.ts'
export {
  type LostKey,
  type RepairOptions,
  type RepairProgress,
  type RepairSummary,
  repair,
} from './history/repair.ts'
export { type Problem, type Verification, type VerifyOptions, verify } from './history/verify.ts'
export type { CacheMetrics, CacheMode } from './persistence/cached-reads.ts'
export { createPersistence } from './persistence/create-persistence.ts'
export type { OperationMetrics } from './persistence/operation-metrics.ts'
export type { CacheKind, DeltaStrategy, PersistenceOptions } from './persistence/options.ts'
export type {
  DeltaMetrics,
  Metrics,
  Persistence,
  StorageMetrics,
} from './persistence/persistence.ts'
export { formatPrometheus } from './persistence/prometheus.ts'
export type { Transaction } from './persistence/transaction.ts'
export type { ExportOptions } from './persistence/transfer.ts'
export type { Change, ChangeOf } from './persistence/watch.ts'
export type {
  CancelOptions,
  ChangedKey,
  CommitSummary,
  DeltaInfo,
  DeltaSnapshotOptions,
  Difference,
  ExportSnapshotOptions,
  HistoryEntry,
  ImportSnapshotOptions,
  KeyOf,
  PruneResult,
  Range,
  ReadableState,
  RetentionPolicy,
  SnapshotComparison,
  SnapshotInfo,
  SnapshotOptions,
  ValuesOf,
  VersionId,
} from './snapshot/index.ts'
export type { ExportSummary, TransferOptions, TransferProgress } from './transfer/transfer-options.ts'
