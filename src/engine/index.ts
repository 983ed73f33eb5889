export type { ConformanceTest } from './conformance.ts'
export { engineConformance } from './conformance.ts'
export type {
  Batch,
  CommitOptions,
  Engine,
  EngineCompactOptions,
  EngineStats,
  FloorQuery,
  Page,
  Row,
  ScanRange,
  Table,
  View,
} from './engine.ts'
export { MAX_KEY_BYTES, MAX_VALUE_BYTES, TABLES } from './engine.ts'
export { lmdb } from './lmdb.ts'
export { memory } from './memory.ts'
