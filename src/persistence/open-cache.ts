import { join } from 'node:path'
import type { Cache } from '../cache/cache.ts'
import { MemoryCache } from '../cache/memory-cache.ts'
import { PersistentCache } from '../cache/persistent-cache.ts'
import { TieredCache } from '../cache/tiered-cache.ts'
import { InvalidArgumentError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { isPromiseLike } from '../core/maybe-promise.ts'
import { isEncrypted } from '../encryption/is-encrypted.ts'
import { HEAD_KEY } from '../history/head.ts'
import type { History } from '../history/history.ts'
import { cacheSeal } from './cache-seal.ts'
import { type CachedReads, uncachedReads } from './cached-reads.ts'
import { inflatedValues } from './inflated-values.ts'
import type { PersistenceOptions } from './options.ts'
import { ReadCache } from './read-cache.ts'

const MEMORY_BYTES = 64 * 1024 * 1024
/** What an entry takes besides its bytes, about. */
const ENTRY_BYTES = 150

/** Puts the cache in front of a store that the options ask for. */
export async function openCache(
  history: History,
  options: PersistenceOptions,
  logger: Logger,
): Promise<CachedReads> {
  const { cache = 'memory', cacheMode = 'strong' } = options
  if (cache === 'none') return uncachedReads(history)
  const head = history.engine.get('meta', HEAD_KEY)
  // An engine that answers at once is not far away.
  const embedded = !isPromiseLike(head)
  await head
  if (embedded && typeof cache === 'string') return inflatedValues(history, cache)
  return ReadCache.open({
    history,
    cache: typeof cache === 'string' ? makeCache(cache, options) : cache,
    kind: typeof cache === 'string' ? cache : 'custom',
    mode: embedded ? 'strong' : cacheMode,
    logger,
    seal: isEncrypted(history.engine) ? cacheSeal(history.engine.keyRing(), history.keys) : undefined,
  })
}

function makeCache(kind: 'memory' | 'persistent' | 'tiered', options: PersistenceOptions): Cache {
  if (kind === 'persistent') return new PersistentCache({ path: cacheFolder(options) })
  const memory = new MemoryCache<Uint8Array>({
    maxBytes: MEMORY_BYTES,
    policy: 'tinylfu',
    sizeOf: (value, key) => ENTRY_BYTES + 2 * key.length + value.byteLength,
  })
  return kind === 'memory'
    ? (memory as MemoryCache<unknown> as Cache)
    : new TieredCache({ memory: memory as MemoryCache<unknown>, disk: { path: cacheFolder(options) } })
}

function cacheFolder({ cachePath, basePath, cache }: PersistenceOptions): string {
  if (cachePath !== undefined) return cachePath
  if (basePath !== undefined) return join(basePath, 'cache')
  throw new InvalidArgumentError(`The cache '${String(cache)}' needs a folder: give the option "cachePath".`)
}
