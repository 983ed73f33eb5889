export {
  applyBinaryDelta,
  type BinaryDeltaOptions,
  type DeltaLimits,
  encodeBinaryDelta,
} from './binary-delta.ts'
export type { Delta, DeltaEnd, DeltaStep } from './delta.ts'
export { type ChainMetrics, DeltaChain, type DeltaChainOptions } from './delta-chain.ts'
export {
  type CompressionStats,
  DeltaCompressor,
  type DeltaCompressorOptions,
  type StrategyStats,
} from './delta-compressor.ts'
export { applyPatch, type CreatePatchOptions, createPatch, type JsonPatchOperation } from './json-patch.ts'
export type { DeltaStrategy, UsedStrategy } from './strategies.ts'
