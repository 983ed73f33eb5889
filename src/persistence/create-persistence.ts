import { InvalidArgumentError } from '../core/errors.ts'
import { SILENT_LOGGER } from '../core/logger.ts'
import type { Engine } from '../engine/engine.ts'
import { lmdb } from '../engine/lmdb.ts'
import { History } from '../history/history.ts'
import { SnapshotManager } from '../snapshot/snapshot-manager.ts'
import { debugLogger } from './debug-logger.ts'
import { openCache } from './open-cache.ts'
import { checkPersistenceOptions, type PersistenceOptions } from './options.ts'
import { Persistence } from './persistence.ts'

/**
 * Opens a durable state, and creates it where there is none.
 *
 * @typeParam S The keys of the state and the types of their values.
 * @throws {InvalidArgumentError} for an option that is unknown or not as it should be.
 * @throws {EngineError} if the store cannot be opened.
 * @throws {EncryptionError} if it is encrypted and the key is wrong or missing, or a key is given and it is not.
 *
 * @example
 * ```ts
 * import { createPersistence } from 'varve'
 *
 * interface AppState { user: { name: string }; visits: number }
 *
 * await using state = await createPersistence<AppState>({ basePath: './state' })
 * await state.set('user', { name: 'Ada' })
 * const before = await state.createSnapshot({ tag: 'initial' })
 * await state.set('user', { name: 'Grace' })
 * await state.restoreSnapshot(before)
 * ```
 */
export async function createPersistence<S = Record<string, unknown>>(
  options: PersistenceOptions = {},
): Promise<Persistence<S>> {
  const checked = checkPersistenceOptions(options)
  const { basePath, delta = 'auto', compression = true, retention, maxSnapshots } = checked
  const logger = checked.logger ?? debugLogger() ?? SILENT_LOGGER
  const place = checked.engine ?? (basePath === undefined ? await inMemory() : lmdb(basePath))
  const engine = await withEncryption(place, checked)
  const history = await History.open(engine, {
    flush: checked.durability === 'power',
    logger,
    packing: {
      strategy: delta === 'auto' ? 'binary' : delta,
      ...(checked.maxChainLength !== undefined && { maxChainLength: checked.maxChainLength }),
    },
  })
  const reads = await openCache(history, checked, logger).catch(async error => {
    await history.close()
    throw error
  })
  const persistence = new Persistence<S>({
    history,
    compression,
    reads,
    delta,
    logger,
    autoSnapshotInterval: checked.autoSnapshotInterval,
  })
  const policy = retention ?? (maxSnapshots === undefined ? undefined : { keepLast: maxSnapshots })
  if (policy !== undefined) {
    try {
      await new SnapshotManager(history).setRetention(policy)
    } catch (error) {
      await persistence.close()
      throw error
    }
  }
  return persistence
}

/** Loaded only when it is wanted, too. */
async function withEncryption(
  engine: Engine,
  { encryptionKey, encryptKeys }: PersistenceOptions,
): Promise<Engine> {
  if (encryptionKey === undefined) {
    if (encryptKeys !== true) return engine
    throw new InvalidArgumentError('Option "encryptKeys" needs the option "encryptionKey".')
  }
  const { encrypted } = await import('../encryption/encrypted.ts')
  return encrypted(engine, { key: encryptionKey, ...(encryptKeys !== undefined && { encryptKeys }) })
}

/** Loaded only when it is wanted: the command never needs it, and starts sooner without. */
async function inMemory(): Promise<Engine> {
  const { memory } = await import('../engine/memory.ts')
  return memory()
}
