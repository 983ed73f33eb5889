import { SILENT_LOGGER } from '../../src/core/logger.ts'
import type { Engine } from '../../src/engine/engine.ts'
import { History } from '../../src/history/history.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { PackerOptions } from '../../src/history/packer.ts'
import { uncachedReads } from '../../src/persistence/cached-reads.ts'
import { Persistence } from '../../src/persistence/persistence.ts'

/** A store whose limits are so low that a few keys reach what otherwise takes many. */
export async function openWithLimits(
  engine: Engine,
  limits: Partial<HistoryLimits>,
  packing: Partial<PackerOptions> = {},
  { flush = false } = {},
): Promise<{ persistence: Persistence; history: History }> {
  const history = await History.open(engine, { limits, packing, flush })
  const persistence = new Persistence({
    history,
    compression: true,
    reads: uncachedReads(history),
    delta: 'auto',
    logger: SILENT_LOGGER,
    autoSnapshotInterval: undefined,
  })
  return { persistence, history }
}
