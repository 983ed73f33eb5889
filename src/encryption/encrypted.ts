import { bytesEqual, EMPTY_BYTES } from '../core/bytes.ts'
import { DataIntegrityError, EncryptionError, InvalidArgumentError } from '../core/errors.ts'
import { type KeyCodec, PLAIN_KEYS } from '../core/key.ts'
import { type MaybePromise, whenReady } from '../core/maybe-promise.ts'
import { boolean, checkOptions } from '../core/options.ts'
import { type EncryptionKey, encryptionKey, type Secret, toSecret } from '../crypto/encryption-key.ts'
import {
  type Damage,
  type Engine,
  type EngineCompactOptions,
  type EngineStats,
  type FloorQuery,
  type Page,
  type Row,
  type SalvageOptions,
  type SalvageView,
  type ScanRange,
  type StrayPage,
  TABLES,
  type Table,
  type View,
} from '../engine/engine.ts'
import { createLifecycle } from '../engine/lifecycle.ts'
import { withView } from '../engine/with-view.ts'
import { createWriteBatch } from '../engine/write-batch.ts'
import { ENCRYPTION_KEY } from '../history/format.ts'
import { HEAD_KEY } from '../history/head.ts'
import { type EncryptedEngine, isEncrypted } from './is-encrypted.ts'
import { keyCipher } from './key-cipher.ts'
import { decodeKeyRecord, encodeKeyRecord, type KeyMode, type KeyRecord } from './key-record.ts'
import { KeyRing, ROW_OVERHEAD } from './key-ring.ts'
import { rotateKey } from './rotate-key.ts'

/** What {@link encrypted} is given. */
export interface EncryptionOptions {
  /** The key, or a passphrase. */
  readonly key: EncryptionKey
  /**
   * Encrypt the keys of the state too. Decided when the store is made; left out, it stays as it is. Default for a new
   * store: `false`.
   */
  readonly encryptKeys?: boolean
}

/**
 * An engine that keeps what another one keeps, encrypted: each row is sealed by AES-256-GCM together with its table and
 * its key. `createPersistence({ encryptionKey })` makes one; by itself it serves {@link copyStore} and `SnapshotManager`.
 *
 * The first `open` of an empty engine makes it an encrypted store. `docs/encryption.md` says what that protects, and what it
 * does not.
 *
 * @throws {InvalidArgumentError} if an option is not as it should be. `open` rejects with an {@link EncryptionError} if it is
 * not the key of the store, or the store is not encrypted.
 *
 * @example
 * ```ts
 * import { randomBytes } from 'node:crypto'
 * import { copyStore, createPersistence, encrypted, memory } from 'varve'
 *
 * const plain = memory()
 * const state = await createPersistence({ engine: plain })
 * await state.set('user', 'Ada')
 *
 * const key = randomBytes(32)
 * const engine = encrypted(memory(), { key })
 * await copyStore(plain, engine)
 * await using copy = await createPersistence({ engine })
 * console.log(await copy.get('user')) // → Ada
 * await state.close()
 * ```
 */
export function encrypted(engine: Engine, options: EncryptionOptions): EncryptedEngine {
  const { key, encryptKeys } = checkOptions<EncryptionOptions>(
    options,
    { key: encryptionKey, encryptKeys: boolean },
    'encrypted()',
  )
  if (key === undefined) throw new InvalidArgumentError('encrypted() needs the option "key".')
  if (isEncrypted(engine)) throw new InvalidArgumentError('The engine is encrypted already.')
  const secret = toSecret(key, 'key')
  const wanted = encryptKeys === undefined ? undefined : encryptKeys ? 'encrypted' : 'plain'
  const opened = createLifecycle<SealedStore>(
    async () => {
      await engine.open()
      try {
        return new SealedStore(engine, await unlock(engine, secret, wanted))
      } catch (error) {
        await engine.close()
        throw error
      }
    },
    () => engine.close(),
  )
  /** What a damaged store is read with, which need not be open. */
  let salvaged: SealedStore | undefined
  const keyCodec = (): KeyCodec => {
    const store = opened.users === 0 ? salvaged : undefined
    return (store ?? opened.get()).keyCodec
  }
  return {
    ...passedOn(engine),
    keyCodec: {
      get ordered() {
        return keyCodec().ordered
      },
      encode: name => keyCodec().encode(name),
      decode: stored => keyCodec().decode(stored),
    },
    ...(engine.salvage && {
      salvage: async (salvageOptions?: SalvageOptions) => {
        const view = await (engine.salvage as NonNullable<Engine['salvage']>)(salvageOptions)
        try {
          // While it is open its keys are at hand, and the one it was opened with may have been replaced since.
          if (opened.users > 0) return new SealedSalvageView(view, opened.get())
          salvaged ??= new SealedStore(engine, await salvageKeys(view, secret))
          return new SealedSalvageView(view, salvaged)
        } catch (error) {
          view.close()
          throw error
        }
      },
    }),
    open: opened.open,
    close: opened.close,
    get: (table, rowKey) => opened.get().get(table, rowKey),
    read: () => {
      const store = opened.get()
      return new SealedView(engine.read(), store)
    },
    commit: async (build, commitOptions) => {
      const store = opened.get()
      return engine.commit((inner, batch) => {
        const view = new SealedView(inner, store)
        const writes = createWriteBatch()
        return whenReady(build(view, writes), value => {
          if (writes.operations.length === 0) return value
          return whenReady(view.follow(), () => {
            for (const { table, key, value } of writes.operations) {
              if (isHidden(table, key)) throw new InvalidArgumentError('This row belongs to the encryption.')
              if (value === undefined) batch.delete(table, key)
              else batch.put(table, key, store.seal(table, key, value))
            }
            return value
          })
        })
      }, commitOptions)
    },
    keyRing: () => opened.get().ring,
    rotateKey: async (newKey, rotateOptions) => rotateKey(engine, opened.get().ring, newKey, rotateOptions),
  }
}

/** What has nothing to do with the contents of rows. The engine may be an object of a class: it is not taken apart. */
function passedOn(engine: Engine): Omit<Engine, 'open' | 'close' | 'get' | 'read' | 'commit'> {
  return {
    name: engine.name,
    stats: () => whenReady(engine.stats(), withoutHidden),
    storedBytes: bytes => engine.storedBytes?.(bytes + ROW_OVERHEAD) ?? bytes + ROW_OVERHEAD,
    ...(engine.remote !== undefined && { remote: engine.remote }),
    ...(engine.subscribe && {
      subscribe: (listener: () => void) => engine.subscribe?.(listener) ?? (() => undefined),
    }),
    ...(engine.compact && { compact: async (options?: EngineCompactOptions) => engine.compact?.(options) }),
    ...(engine.announce && { announce: () => engine.announce?.() }),
    ...(engine.trim && { trim: () => engine.trim?.() }),
  }
}

function withoutHidden({ tables, ...stats }: EngineStats): EngineStats {
  const { meta } = tables
  return { ...stats, tables: meta ? { ...tables, meta: { ...meta, entries: meta.entries - 1 } } : tables }
}

/** Reads the keys of the store, or makes some for a new one. */
async function unlock(engine: Engine, secret: Secret, wanted: KeyMode | undefined): Promise<KeyRing> {
  const record = await withView(engine, view => readKeyRecord(view, wanted))
  if (record !== undefined) return KeyRing.unlock(record, secret)
  const ring = KeyRing.create(wanted ?? 'plain')
  const made = (await ring.wrapper(secret))([ring.generation])
  // Decided under the write exclusion: two processes may make the store at once.
  const other = await engine.commit(
    async (view, batch) => {
      const now = await readKeyRecord(view, wanted)
      if (now === undefined) batch.put('meta', ENCRYPTION_KEY, encodeKeyRecord(made))
      return now
    },
    { flush: true },
  )
  return other === undefined ? ring : KeyRing.unlock(other, secret)
}

/** The keys of a store of which anything may be damaged. */
async function salvageKeys(view: SalvageView, secret: Secret): Promise<KeyRing> {
  const stored = await view.get('meta', ENCRYPTION_KEY)
  if (stored !== undefined || view.damage.length === 0) {
    const record = stored === undefined ? await readKeyRecord(view, undefined) : decodeKeyRecord(stored)
    if (record !== undefined) return KeyRing.unlock(record, secret)
  }
  throw new DataIntegrityError(
    'The record of the encryption keys of the store is lost. Without it nothing can be decrypted: take the store from a backup.',
  )
}

/** @throws {EncryptionError} if there is data that is not encrypted, or not in the mode that is wanted. */
async function readKeyRecord(view: View, wanted: KeyMode | undefined): Promise<KeyRecord | undefined> {
  const stored = await view.get('meta', ENCRYPTION_KEY)
  if (stored !== undefined) {
    const record = decodeKeyRecord(stored)
    if (wanted === undefined || record.keys === wanted) return record
    throw new EncryptionError(
      `The keys of this store are ${record.keys === 'plain' ? 'not ' : ''}encrypted, and "encryptKeys" says otherwise. Leave it out, or copy the store with copyStore() to one made as you want it.`,
      { code: 'ENCRYPTION_OTHER_MODE' },
    )
  }
  for (const table of TABLES) {
    if ((await view.scan(table, { limit: 1, keysOnly: true })).rows.length === 0) continue
    throw new EncryptionError(
      'The store is not encrypted, and an encryption key was given. Open it without one, or copy it with copyStore() to an encrypted store; it was left as it is.',
      { code: 'ENCRYPTION_NOT_ENCRYPTED' },
    )
  }
  return undefined
}

function isHidden(table: Table, key: Uint8Array): boolean {
  return table === 'meta' && bytesEqual(key, ENCRYPTION_KEY)
}

function isHead(table: Table, key: Uint8Array): boolean {
  return table === 'meta' && bytesEqual(key, HEAD_KEY)
}

/** Tables whose every value is checked where it is read: there a damaged one is reported along with what it concerns. */
const CHECKED_TABLES: ReadonlySet<Table> = new Set(['live', 'history', 'log', 'changes', 'snapshots'])

/** An engine and the keys to its rows, while it is open. */
class SealedStore {
  readonly keyCodec: KeyCodec
  readonly ring: KeyRing
  readonly #engine: Engine
  /** The head is read by every commit and many reads, and mostly is what it was. */
  #head: { readonly sealed: Uint8Array; readonly value: Uint8Array } | undefined

  constructor(engine: Engine, ring: KeyRing) {
    this.#engine = engine
    this.ring = ring
    this.keyCodec = ring.keysKey === undefined ? PLAIN_KEYS : keyCipher(ring.keysKey)
  }

  get(table: Table, key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    return whenReady(this.#engine.get(table, key), sealed => {
      if (sealed === undefined || isHidden(table, key)) return undefined
      if (this.ring.knows(sealed)) return this.open(table, key, sealed)
      return whenReady(this.#engine.get('meta', ENCRYPTION_KEY), record => {
        this.adopt(record)
        return this.open(table, key, sealed)
      })
    })
  }

  /** Takes up keys that another process has added to the record. */
  adopt(record: Uint8Array | undefined): void {
    if (record !== undefined) this.ring.adopt(decodeKeyRecord(record))
  }

  open(table: Table, key: Uint8Array, sealed: Uint8Array): Uint8Array {
    if (!isHead(table, key)) return this.#open(table, key, sealed)
    if (this.#head === undefined || !bytesEqual(this.#head.sealed, sealed)) {
      this.#head = { sealed, value: this.#open(table, key, sealed) }
    }
    return Buffer.from(this.#head.value)
  }

  #open(table: Table, key: Uint8Array, sealed: Uint8Array): Uint8Array {
    const value = this.ring.open(table, key, sealed)
    if (value !== undefined) return value
    // No value there is empty, so that whoever reads it finds it damaged, and says so in its own words.
    if (CHECKED_TABLES.has(table)) return EMPTY_BYTES
    throw new DataIntegrityError(
      `A record of the table ${table} is not as it was encrypted: the stored data is damaged, or was tampered with. Run verify() to see how far the damage goes.`,
    )
  }

  seal(table: Table, key: Uint8Array, value: Uint8Array): Uint8Array {
    const sealed = this.ring.seal(table, key, value)
    if (isHead(table, key)) this.#head = { sealed, value: Buffer.from(value) }
    return sealed
  }
}

/** A view that opens what it is asked for. */
class SealedView implements View {
  readonly leap?: NonNullable<View['leap']>
  readonly #view: View
  readonly #store: SealedStore
  /** Whether it has read a head, and so a row that is sealed with the newest key. */
  #sawHead = false

  constructor(view: View, store: SealedStore) {
    this.#view = view
    this.#store = store
    const { leap } = view
    if (leap !== undefined) this.leap = (table, range, suffix) => leap.call(view, table, range, suffix)
  }

  get(table: Table, key: Uint8Array): MaybePromise<Uint8Array | undefined> {
    if (isHidden(table, key)) return undefined
    return whenReady(this.#view.get(table, key), sealed => {
      if (sealed === undefined) return undefined
      return whenReady(this.#prepare([sealed]), () => {
        if (isHead(table, key)) this.#sawHead = true
        return this.#store.open(table, key, sealed)
      })
    })
  }

  getMany(table: Table, keys: readonly Uint8Array[]): MaybePromise<(Uint8Array | undefined)[]> {
    return whenReady(this.#view.getMany(table, keys), found =>
      whenReady(this.#prepare(found), () =>
        found.map((sealed, i) => {
          const key = keys[i] as Uint8Array
          return sealed === undefined || isHidden(table, key)
            ? undefined
            : this.#store.open(table, key, sealed)
        }),
      ),
    )
  }

  seek(table: Table, query: FloorQuery): MaybePromise<Row | undefined> {
    return whenReady(this.#view.seek(table, query), row => this.#openFloor(table, query, row))
  }

  seekMany(table: Table, queries: readonly FloorQuery[]): MaybePromise<(Row | undefined)[]> {
    if (table === 'meta') return Promise.all(queries.map(query => this.seek(table, query)))
    return whenReady(this.#view.seekMany(table, queries), rows =>
      whenReady(this.#prepare(rows.map(row => row?.value)), () =>
        rows.map(row => row && this.#openRow(table, row)),
      ),
    )
  }

  #openFloor(table: Table, { min }: FloorQuery, row: Row | undefined): MaybePromise<Row | undefined> {
    if (row === undefined) return undefined
    if (!isHidden(table, row.key)) {
      return whenReady(this.#prepare([row.value]), () => this.#openRow(table, row))
    }
    const below = this.#view.scan(table, { gte: min, lt: row.key, reverse: true, limit: 1 })
    return whenReady(below, ({ rows }) => this.#openFloor(table, { key: row.key, min }, rows[0]))
  }

  scan(table: Table, range: ScanRange): MaybePromise<Page> {
    return whenReady(this.#view.scan(table, range), page => this.#openPage(table, range, page))
  }

  #openPage(table: Table, range: ScanRange, { rows, more }: Page): MaybePromise<Page> {
    const shown = table === 'meta' ? rows.filter(row => !isHidden(table, row.key)) : rows
    const last = rows.at(-1)
    if (shown.length === 0 && last !== undefined && more) {
      const rest =
        range.reverse === true ? { lt: last.key, lte: undefined } : { gt: last.key, gte: undefined }
      return this.scan(table, { ...range, ...rest })
    }
    if (range.keysOnly === true) return { rows: shown, more }
    return whenReady(this.#prepare(shown.map(row => row.value)), () => ({
      rows: shown.map(row => this.#openRow(table, row)),
      more,
    }))
  }

  #openRow(table: Table, { key, value }: Row): Row {
    return { key, value: this.#store.open(table, key, value) }
  }

  /** Sees to it that the keys of rows are there. */
  #prepare(rows: readonly (Uint8Array | undefined)[]): MaybePromise<void> {
    const { ring } = this.#store
    for (const sealed of rows) {
      if (sealed !== undefined && !ring.knows(sealed)) return this.#adopt()
    }
    return undefined
  }

  #adopt(): MaybePromise<void> {
    return whenReady(this.#view.get('meta', ENCRYPTION_KEY), record => this.#store.adopt(record))
  }

  /**
   * Sees to it that what a commit writes is sealed with the newest key. Whoever adds one seals the head with it before
   * anything else; so a builder that has read the head has met it.
   */
  follow(): MaybePromise<void> {
    return this.#sawHead ? undefined : this.#adopt()
  }

  close(): void {
    this.#view.close()
  }
}

/** A view of a damaged store. */
class SealedSalvageView extends SealedView implements SalvageView {
  readonly damage: readonly Damage[]
  readonly mayStraysBeOutdated: boolean
  readonly #salvage: SalvageView
  readonly #sealed: SealedStore

  constructor(view: SalvageView, store: SealedStore) {
    super(view, store)
    this.#salvage = view
    this.#sealed = store
    this.damage = view.damage
    this.mayStraysBeOutdated = view.mayStraysBeOutdated
  }

  *strays(): Generator<StrayPage, void, undefined> {
    for (const { rows, written } of this.#salvage.strays()) {
      yield { written, rows: rows.map(row => this.#openStray(row)) }
    }
  }

  /** Nothing tells of which table it is, but which key opens it. */
  #openStray({ key, value }: Row): Row {
    for (const table of TABLES) {
      const opened = this.#sealed.ring.open(table, key, value)
      if (opened !== undefined) return { key, value: opened }
    }
    return { key, value: EMPTY_BYTES }
  }
}
