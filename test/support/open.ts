import { SILENT_LOGGER } from '../../src/core/logger.ts'
import type { MaybePromise } from '../../src/core/maybe-promise.ts'
import type { Engine } from '../../src/engine/engine.ts'
import { History } from '../../src/history/history.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { PackerOptions } from '../../src/history/packer.ts'
import { type CachedReads, uncachedReads } from '../../src/persistence/cached-reads.ts'
import { Persistence } from '../../src/persistence/persistence.ts'

interface OpenOptions {
  /** Whether commits wait until they are on disk. */
  readonly flush?: boolean
  readonly compression?: boolean
  /** How current records are read. */
  readonly openReads?: (history: History) => MaybePromise<CachedReads>
}

/** A store whose limits are so low that a few keys reach what otherwise takes many. */
export async function openWithLimits(
  engine: Engine,
  limits: Partial<HistoryLimits>,
  packing: Partial<PackerOptions> = {},
  { flush = false, compression = true, openReads = uncachedReads }: OpenOptions = {},
): Promise<{ persistence: Persistence; history: History }> {
  const history = await History.open(engine, { limits, packing, flush })
  const persistence = new Persistence({
    history,
    compression,
    reads: await openReads(history),
    delta: 'auto',
    logger: SILENT_LOGGER,
    autoSnapshotInterval: undefined,
  })
  return { persistence, history }
}
