/**
 * How much work the history does at a time. Tests set them low, to reach with a few keys what otherwise takes many.
 */
export interface HistoryLimits {
  /** A patch of more keys or payload bytes is staged in the store instead of kept in memory. */
  readonly patchKeys: number
  readonly patchBytes: number
  /** Staged rows written, and rolled forward, in one commit. */
  readonly stageRows: number
  readonly stageBytes: number
  /** Keys whose versions are looked through for freeing in one commit. */
  readonly freeKeys: number
  /** The background packer waits for so many sealed epochs, and for so many loose versions of a key. */
  readonly packEpochs: number
  readonly packVersions: number
  /** Change lists are packed once so many epochs have been sealed. */
  readonly packListEpochs: number
}

export const DEFAULT_LIMITS: HistoryLimits = {
  patchKeys: 20_000,
  patchBytes: 8 * 1024 * 1024,
  stageRows: 2_000,
  stageBytes: 4 * 1024 * 1024,
  freeKeys: 250,
  packEpochs: 16,
  packVersions: 32,
  packListEpochs: 64,
}
