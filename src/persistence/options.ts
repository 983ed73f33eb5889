import type { Cache } from '../cache/cache.ts'
import { isCache } from '../cache/is-cache.ts'
import type { Logger } from '../core/logger.ts'
import {
  boolean,
  checkOptions,
  invalidOption,
  nonEmptyString,
  nonNegativeInteger,
  oneOf,
  positiveInteger,
} from '../core/options.ts'
import { type EncryptionKey, encryptionKey } from '../crypto/encryption-key.ts'
import type { Engine } from '../engine/engine.ts'
import { type RetentionPolicy, validateRetention } from '../snapshot/retention.ts'
import type { CacheMode } from './cached-reads.ts'

const CACHES = ['memory', 'persistent', 'tiered', 'none'] as const
const CACHE_MODES = ['strong', 'bounded'] as const
const DELTAS = ['auto', 'dict', 'binary', 'compress', 'none'] as const
const DURABILITIES = ['process', 'power'] as const

/** The longest delay of a timer. */
const MAX_INTERVAL = 2 ** 31 - 1

/** How superseded values are stored. */
export type DeltaStrategy = (typeof DELTAS)[number]

/** Which kind of read cache stands in front of the engine. */
export type CacheKind = (typeof CACHES)[number]

/** The options of `createPersistence()`. */
export interface PersistenceOptions {
  /** Folder of the embedded default engine (LMDB); created if absent. */
  readonly basePath?: string
  /**
   * Where data lives: `lmdb(basePath)` by default, and `memory()` without a `basePath`. The store owns the engine from
   * then on and closes it.
   */
  readonly engine?: Engine
  /**
   * A read cache in front of the engine: in memory, on disk, in memory over disk, or one of your own, which the store
   * then owns and closes. Embedded engines answer from memory as fast as a cache would: there each of the named kinds
   * keeps, in memory, what it takes time to inflate. Default `'memory'`.
   */
  readonly cache?: CacheKind | Cache
  /**
   * How fresh cached reads are: `'strong'`, never stale, at the price of a short question to the engine at each; or
   * `'bounded'`, where what others commit may be seen up to 100 ms late, and one's own writes at once. Embedded engines
   * are always strong. Default `'strong'`.
   */
  readonly cacheMode?: CacheMode
  /** Folder of a cache on disk. Default: the folder `cache` in `basePath`. */
  readonly cachePath?: string
  /**
   * Encrypts the store, and everything in it: 32 bytes (a Buffer, a `KeyObject`, or text in hexadecimal or Base64), or
   * `{ passphrase }`. A new store becomes an encrypted one; a store that is there opens with its own key and no other. See
   * `docs/encryption.md`.
   */
  readonly encryptionKey?: EncryptionKey
  /**
   * With `encryptionKey`: encrypt keys as well as values, at the price of slower ranges. Decided when the store is made, and
   * kept in it. Default `false`.
   */
  readonly encryptKeys?: boolean
  /** How superseded values are stored. Default `'auto'`: the smallest form that pays. */
  readonly delta?: DeltaStrategy
  /** Compress values where that saves space. Default `true`. */
  readonly compression?: boolean
  /** Bound on the versions packed into one record of the history. */
  readonly maxChainLength?: number
  /**
   * Keep the newest N untagged snapshots; 0 for all. Stored in the store: left out, what is stored goes on to apply.
   */
  readonly maxSnapshots?: number
  /** The same in the vocabulary of `restic forget`; given, it replaces `maxSnapshots`. Stored in the store. */
  readonly retention?: RetentionPolicy
  /** Take a snapshot every so many milliseconds if something has changed. Never keeps the process alive. */
  readonly autoSnapshotInterval?: number
  /**
   * What an acknowledged write survives: `'process'`, the death of the process; `'power'`, a loss of power too, as it
   * is flushed to disk before it is acknowledged. Default `'process'`.
   */
  readonly durability?: 'process' | 'power'
  /** Where structured log lines go: an object of the shape of pino or `console`. Default: nowhere, unless `DEBUG=varve`. */
  readonly logger?: Logger
}

/**
 * Checks the options of `createPersistence()`.
 *
 * @throws {InvalidArgumentError} naming the option, and the known one that was most likely meant.
 */
export function checkPersistenceOptions(options: unknown): PersistenceOptions {
  return checkOptions<PersistenceOptions>(
    options,
    {
      basePath: nonEmptyString,
      engine: checkEngine,
      cache: checkCache,
      cacheMode: oneOf(CACHE_MODES),
      cachePath: nonEmptyString,
      encryptionKey,
      encryptKeys: boolean,
      delta: oneOf(DELTAS),
      compression: boolean,
      maxChainLength: positiveInteger,
      maxSnapshots: nonNegativeInteger,
      retention: validateRetention,
      autoSnapshotInterval: checkInterval,
      durability: oneOf(DURABILITIES),
      logger: checkLogger,
    },
    'createPersistence()',
  )
}

function checkEngine(value: unknown, name: string): Engine {
  if (hasMethods(value, ['open', 'get', 'read', 'commit', 'close'])) return value as Engine
  throw invalidOption(name, 'an Engine, such as memory() or lmdb(path)', value)
}

function checkCache(value: unknown, name: string): CacheKind | Cache {
  return isCache(value) ? value : oneOf(CACHES)(value, name)
}

function checkLogger(value: unknown, name: string): Logger {
  if (hasMethods(value, ['debug', 'info', 'warn', 'error'])) return value as Logger
  throw invalidOption(name, 'an object with the methods debug, info, warn and error', value)
}

function checkInterval(value: unknown, name: string): number {
  const interval = positiveInteger(value, name)
  if (interval <= MAX_INTERVAL) return interval
  throw invalidOption(name, `at most ${MAX_INTERVAL} milliseconds`, value)
}

function hasMethods(value: unknown, methods: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false
  return methods.every(method => typeof (value as Record<string, unknown>)[method] === 'function')
}
