/**
 * How much work the history does at a time, and when. Tests set them low, to reach with a few keys what otherwise takes
 * many: none of them may change what a caller sees.
 */
export interface HistoryLimits {
  /**
   * Mutations of more keys than this, or of more payload bytes, do not share a commit. It bounds what an engine has to
   * hold of a commit in memory: for LMDB the pages that change, up to two a key.
   */
  readonly groupKeys: number
  readonly groupBytes: number
  /** In a store of few keys neighbours share pages: with at most so many keys, more of them may share a commit. */
  readonly fewKeys: number
  readonly fewGroupKeys: number
  /** Building a commit of more keys lets the event loop turn after so many. */
  readonly sliceKeys: number
  /** A log entry of more keys is cut into parts, so that no record grows with the commit. */
  readonly logPartKeys: number
  /** A patch of more keys or payload bytes is staged in the store instead of kept in memory. */
  readonly patchKeys: number
  readonly patchBytes: number
  /** A state that is saved is compared with so many rows of the store at a time, which are copied into memory. */
  readonly comparedRows: number
  /** Staged rows written, and rolled forward, in one commit. */
  readonly stageRows: number
  readonly stageBytes: number
  /** Keys caught up with in the commit that decides a large one; more of them are a further preparation. */
  readonly catchUpKeys: number
  /** A run of the change lists has at most so many keys, or one commit's, by which folding bounds its memory. */
  readonly runKeys: number
  /** Keys in one row of a run. */
  readonly chunkKeys: number
  /** Distinct keys that a pass over the change lists returns at most; it holds twice as many at a time. */
  readonly pageKeys: number
  /** Encrypted keys that are sorted together; twice as many are in memory at a time. */
  readonly sortKeys: number
  /** Change lists are packed once so many epochs have been sealed. */
  readonly packListEpochs: number
  /** A packed row of change lists holds at most so many lists, and is full with so many keys. */
  readonly packedLists: number
  readonly packedKeys: number
  /** Epochs that touched more keys than this keep rows of their own. */
  readonly listKeys: number
  /** Nor are the rows of an epoch touched that has more of them. */
  readonly epochRows: number
  /** Packing of change lists reads so many rows at a time, and whole epochs. */
  readonly packRows: number
  /** The open epoch is folded as well once the log has grown by so many entries. */
  readonly unfoldedEntries: number
  /** The log keeps at least so many entries, for watchers that lag and for asking after an operation. */
  readonly keptLogEntries: number
  /** Rows of the log, or of a stage left behind, removed in one commit. */
  readonly trimRows: number
  /** Keys whose versions are looked through for freeing in one commit. */
  readonly freeKeys: number
  /** The background packer waits for so many sealed epochs, and for so many loose versions of a key. */
  readonly packEpochs: number
  readonly packVersions: number
  /** Short chains are merged when so many of them stand in a row: each merge lifts a version one tier up. */
  readonly packFanOut: number
  /** At most so many keys that are only in the history make a page of a scan. */
  readonly deadKeys: number
  /** An iteration moves on to a fresh view when its view is older than this, in milliseconds. */
  readonly viewAge: number
}

export const DEFAULT_LIMITS: HistoryLimits = {
  groupKeys: 50_000,
  groupBytes: 64 * 1024 * 1024,
  fewKeys: 1_000_000,
  fewGroupKeys: 200_000,
  sliceKeys: 2048,
  logPartKeys: 4096,
  patchKeys: 20_000,
  patchBytes: 8 * 1024 * 1024,
  comparedRows: 1_000_000,
  stageRows: 2_000,
  stageBytes: 4 * 1024 * 1024,
  catchUpKeys: 5_000,
  runKeys: 25_000,
  chunkKeys: 512,
  pageKeys: 25_000,
  sortKeys: 50_000,
  packListEpochs: 64,
  packedLists: 64,
  packedKeys: 4096,
  listKeys: 2048,
  epochRows: 8,
  packRows: 512,
  unfoldedEntries: 8192,
  keptLogEntries: 1024,
  trimRows: 2_000,
  freeKeys: 250,
  packEpochs: 16,
  packVersions: 32,
  packFanOut: 7,
  deadKeys: 1_000,
  viewAge: 5_000,
}
