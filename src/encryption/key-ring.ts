import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { EncryptionError } from '../core/errors.ts'
import { deriveWrappingKey, newDerivation, SALT_BYTES, subkey } from '../crypto/derive-key.ts'
import { KEY_BYTES, type Secret } from '../crypto/encryption-key.ts'
import { open, SEAL_BYTES, seal } from '../crypto/sealed-box.ts'
import { TABLES, type Table } from '../engine/engine.ts'
import type { KeyMode, KeyRecord } from './key-record.ts'

/** A sealed row begins with its generation, one byte. */
const GENERATION_BYTES = 1
/** A sealed row is longer than the row by so many bytes. */
export const ROW_OVERHEAD: number = GENERATION_BYTES + SEAL_BYTES

/** A key of rows, and what is made of it. */
interface DataKey {
  readonly generation: number
  readonly key: KeyObject
  /** One for each table, so that a row cannot be moved to another. */
  readonly tables: Readonly<Record<Table, KeyObject>>
}

/**
 * The keys of one store, unwrapped.
 *
 * Rows are sealed with a random *data key*, which is stored wrapped by the user's key: so that one can be replaced
 * without touching the rows. A row names the generation of its data key in its first byte; at most two generations are in
 * a store at a time.
 */
export class KeyRing {
  readonly mode: KeyMode
  /** Encrypts the keys of the state, in mode `encrypted`. It stays the same for the life of the store. */
  readonly keysKey: KeyObject | undefined
  /** By the byte that rows name them with. */
  readonly #dataKeys = new Map<number, DataKey>()
  #newest: DataKey

  private constructor(mode: KeyMode, keysKey: KeyObject | undefined, dataKeys: readonly DataKey[]) {
    this.mode = mode
    this.keysKey = keysKey
    this.#newest = dataKeys[0] as DataKey
    for (const dataKey of dataKeys) this.#add(dataKey)
  }

  /** The keys of a new store. */
  static create(mode: KeyMode): KeyRing {
    const keysKey = mode === 'encrypted' ? newKey() : undefined
    return new KeyRing(mode, keysKey, [dataKeyOf(1, newKey())])
  }

  /** @throws {EncryptionError} with code `ENCRYPTION_KEY_WRONG` if it is not the key of the store. */
  static async unlock(record: KeyRecord, secret: Secret): Promise<KeyRing> {
    const wrappingKey = await deriveWrappingKey(secret, record.derivation)
    const dataKeys = record.dataKeys.map(({ generation, wrapped }) =>
      dataKeyOf(generation, unwrap(wrappingKey, dataKeyContext(record.keys, generation), wrapped)),
    )
    const keysKey =
      record.keysKey === undefined ? undefined : unwrap(wrappingKey, KEYS_KEY_CONTEXT, record.keysKey)
    return new KeyRing(record.keys, keysKey, dataKeys)
  }

  /** What rows are sealed with now. */
  get generation(): number {
    return this.#newest.generation
  }

  /** Whether a sealed row can be opened, as far as its first byte says. */
  knows(sealed: Uint8Array): boolean {
    return this.#dataKeys.has(sealed[0] as number)
  }

  /** Whether a row is sealed with the newest key. */
  isCurrent(sealed: Uint8Array): boolean {
    return sealed[0] === toByte(this.#newest.generation)
  }

  seal(table: Table, key: Uint8Array, value: Uint8Array): Uint8Array {
    const sealed = seal(this.#newest.tables[table], key, value, GENERATION_BYTES)
    sealed[0] = toByte(this.#newest.generation)
    return sealed
  }

  /** The value of a row, or `undefined` if it is not what was written there. */
  open(table: Table, key: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
    const dataKey = this.#dataKeys.get(sealed[0] as number)
    return dataKey && open(dataKey.tables[table], key, sealed, GENERATION_BYTES)
  }

  /** A key for what is kept beside the store, for as long as the newest data key is. */
  keyFor(purpose: string): KeyObject {
    return subkey(this.#newest.key, purpose)
  }

  /**
   * Takes up a data key that another process has added.
   *
   * @throws {EncryptionError} with code `ENCRYPTION_KEY_OUTDATED` if it takes the user's new key to get at it.
   */
  adopt({ keys, dataKeys, successor }: KeyRecord): void {
    for (const { generation } of dataKeys) {
      if (this.#dataKeys.get(toByte(generation))?.generation === generation) continue
      const added =
        successor === undefined || this.#newest.generation !== generation - 1
          ? undefined
          : open(this.#newest.key, dataKeyContext(keys, generation), Buffer.from(successor, 'base64'))
      if (added === undefined) {
        throw new EncryptionError(
          'The store was encrypted with new keys since it was opened here. Open it again, with the new key.',
          { code: 'ENCRYPTION_KEY_OUTDATED' },
        )
      }
      this.#add(dataKeyOf(generation, createSecretKey(added)))
    }
  }

  /** Makes records of the keys, wrapped by a user's key. */
  async wrapper(secret: Secret): Promise<KeyWrapper> {
    const derivation = newDerivation(secret, randomBytes(SALT_BYTES))
    const wrappingKey = await deriveWrappingKey(secret, derivation)
    const { mode, keysKey } = this
    return (generations, added) => {
      const known = generations.map(generation => this.#dataKeys.get(toByte(generation)) as DataKey)
      const newest = known.at(-1) as DataKey
      const dataKeys = added
        ? [...known, { generation: newest.generation + 1, key: createSecretKey(added) }]
        : known
      const wrapped = (by: KeyObject, { generation, key }: Pick<DataKey, 'generation' | 'key'>): string =>
        wrap(by, dataKeyContext(mode, generation), key)
      const [older, newer] = dataKeys
      return {
        derivation,
        keys: mode,
        dataKeys: dataKeys.map(dataKey => ({
          generation: dataKey.generation,
          wrapped: wrapped(wrappingKey, dataKey),
        })),
        keysKey: keysKey && wrap(wrappingKey, KEYS_KEY_CONTEXT, keysKey),
        successor: older && newer && wrapped(older.key, newer),
      }
    }
  }

  #add(dataKey: DataKey): void {
    this.#dataKeys.set(toByte(dataKey.generation), dataKey)
    if (dataKey.generation > this.#newest.generation) this.#newest = dataKey
  }
}

/** The record with the data keys of these generations, oldest first, and with `added` as the one after them. */
export type KeyWrapper = (generations: readonly number[], added?: Uint8Array) => KeyRecord

function newKey(): KeyObject {
  return createSecretKey(randomBytes(KEY_BYTES))
}

function dataKeyOf(generation: number, key: KeyObject): DataKey {
  const tables = Object.fromEntries(TABLES.map(table => [table, subkey(key, `varve rows of ${table}`)]))
  return { generation, key, tables: tables as Record<Table, KeyObject> }
}

/** Never what a row that is not encrypted begins with: no letter, and no small number. */
function toByte(generation: number): number {
  return 0x80 + (generation % 0x40)
}

// A key is wrapped in the context of what it is for, so that the parts of a record cannot change places. The mode is part
// of it: a record that has been made to say otherwise does not unwrap.

const KEYS_KEY_CONTEXT = Buffer.from('varve keys key')

function dataKeyContext(mode: KeyMode, generation: number): Uint8Array {
  return Buffer.from(`varve data key ${generation}, keys ${mode}`)
}

function wrap(by: KeyObject, context: Uint8Array, key: KeyObject): string {
  return seal(by, context, key.export()).toString('base64')
}

function unwrap(by: KeyObject, context: Uint8Array, wrapped: string): KeyObject {
  const key = open(by, context, Buffer.from(wrapped, 'base64'))
  if (key !== undefined) return createSecretKey(key)
  throw new EncryptionError(
    'This is not the key that the store is encrypted with. The store was left as it is. If the key was replaced, give the new one.',
    { code: 'ENCRYPTION_KEY_WRONG' },
  )
}
