import { crc32 } from 'node:zlib'
import { DataIntegrityError, EngineError } from '../core/errors.ts'
import { isAllowedDerivation, type KeyDerivation } from '../crypto/derive-key.ts'

/** Whether the keys of the state are stored as they are, or encrypted as well. */
export type KeyMode = 'plain' | 'encrypted'

/**
 * What an encrypted store says of its keys: the only row of it that is not sealed. Of a key it holds what the user's
 * key wraps, so that this row can be given to anybody, and lost to nobody.
 */
export interface KeyRecord {
  readonly derivation: KeyDerivation
  readonly keys: KeyMode
  /** The keys of the rows, oldest first: one, or two while rows are being encrypted anew. Wrapped, in Base64. */
  readonly dataKeys: readonly { readonly generation: number; readonly wrapped: string }[]
  /** The key of the keys' own encryption, where there is one. */
  readonly keysKey?: string | undefined
  /**
   * Only with two data keys: the newer wrapped by the older, by which processes that have the store open follow. It goes with
   * the older one.
   */
  readonly successor?: string | undefined
}

/** The layout of the record. Raised when an older varve could no longer read it. */
const FORMAT_VERSION = 1

export function encodeKeyRecord(record: KeyRecord): Uint8Array {
  const text = JSON.stringify(record)
  return Buffer.from(JSON.stringify({ format: FORMAT_VERSION, crc32: crc32(text), record: text }))
}

/**
 * @throws {DataIntegrityError} if the record is damaged: that must not be taken for a wrong key.
 * @throws {EngineError} with code `FORMAT_TOO_NEW` if a newer varve wrote it.
 */
export function decodeKeyRecord(stored: Uint8Array): KeyRecord {
  const outer = parse(Buffer.from(stored).toString('utf8'))
  const { format, crc32: checksum, record: text } = outer
  if (typeof format === 'number' && format > FORMAT_VERSION) {
    throw new EngineError(
      `The store is encrypted in format ${format}, and this varve reads formats up to ${FORMAT_VERSION}. Upgrade varve to open it; it was left as it is.`,
      { code: 'FORMAT_TOO_NEW' },
    )
  }
  if (typeof text !== 'string' || crc32(text) !== checksum) throw damaged()
  const record = parse(text)
  if (!isKeyRecord(record)) throw damaged()
  return record
}

/**
 * Whether a record is one that {@link encodeKeyRecord} may have been given. Its checksum is no signature: whoever can write
 * to the store can make up another. Above all the key of the keys must not be gone, else they would be taken for plain, and
 * new ones be written so.
 */
function isKeyRecord(value: object): value is KeyRecord {
  const { derivation, keys, dataKeys, keysKey, successor } = value as Partial<KeyRecord>
  const isAbsentOrText = (text: unknown): boolean => text === undefined || typeof text === 'string'
  return (
    isAllowedDerivation(derivation) &&
    (keys === 'plain' ? keysKey === undefined : keys === 'encrypted' && typeof keysKey === 'string') &&
    Array.isArray(dataKeys) &&
    (dataKeys.length === 1 || dataKeys.length === 2) &&
    dataKeys.every(isDataKey) &&
    isAbsentOrText(successor)
  )
}

function isDataKey(value: Partial<KeyRecord['dataKeys'][number]> | null): boolean {
  return Number.isSafeInteger(value?.generation) && typeof value?.wrapped === 'string'
}

function parse(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw damaged(cause)
  }
  if (typeof value !== 'object' || value === null) throw damaged()
  return value as Record<string, unknown>
}

function damaged(cause?: unknown): DataIntegrityError {
  return new DataIntegrityError(
    'The record of the encryption keys of the store is damaged. Without it nothing can be decrypted: take the store from a backup.',
    { cause },
  )
}
