import { KeyObject } from 'node:crypto'
import { InvalidArgumentError } from '../core/errors.ts'
import { invalidOption } from '../core/options.ts'

/** The length of a key, in bytes. */
export const KEY_BYTES = 32

/**
 * What a store is encrypted with: a secret of 32 bytes, as bytes, as a `KeyObject`, or as text in hexadecimal (64
 * characters) or Base64 (44); or a passphrase, from which scrypt makes one.
 */
export type EncryptionKey = string | Uint8Array | KeyObject | { readonly passphrase: string }

/** A key in the form in which it is used. A passphrase still takes a salt, and time. */
export type Secret =
  | { readonly kind: 'key'; readonly bytes: Uint8Array }
  | { readonly kind: 'passphrase'; readonly text: string }

const EXPECTED =
  'a key of 32 bytes (a Buffer, a KeyObject, or text in hexadecimal or Base64) or { passphrase: string }'

/**
 * Checks an {@link EncryptionKey} and copies it.
 *
 * @throws {InvalidArgumentError} if it is not one. The message never shows what was given.
 */
export function toSecret(value: unknown, name: string): Secret {
  const bytes = keyBytes(value)
  if (bytes !== undefined) {
    if (bytes.byteLength === KEY_BYTES) return { kind: 'key', bytes }
    throw new InvalidArgumentError(
      `Option "${name}" must be ${EXPECTED}; this key has ${bytes.byteLength} bytes. crypto.randomBytes(32) makes one.`,
    )
  }
  if (typeof value === 'string') {
    throw new InvalidArgumentError(
      `Option "${name}" must be ${EXPECTED}; this text is neither 64 hexadecimal digits nor Base64 of 32 bytes. Give a passphrase as { passphrase }.`,
    )
  }
  if (typeof value !== 'object' || value === null) throw invalidOption(name, EXPECTED, typeof value)
  const { passphrase } = value as { readonly passphrase?: unknown }
  if (typeof passphrase === 'string' && passphrase !== '' && Object.keys(value).length === 1) {
    // The same text typed on two keyboards may differ in how its accents are composed.
    return { kind: 'passphrase', text: passphrase.normalize('NFKC') }
  }
  throw new InvalidArgumentError(`Option "${name}" must be ${EXPECTED}.`)
}

function keyBytes(value: unknown): Uint8Array | undefined {
  if (value instanceof Uint8Array) return Uint8Array.prototype.slice.call(value)
  if (value instanceof KeyObject) return value.type === 'secret' ? value.export() : new Uint8Array(0)
  if (typeof value !== 'string') return undefined
  if (/^[\da-f]{64}$/i.test(value)) return Buffer.from(value, 'hex')
  if (/^[\w+/-]{43}=?$/.test(value)) return Buffer.from(value, 'base64')
  return undefined
}

/** An option check for an {@link EncryptionKey}, which is left as it was given. */
export function encryptionKey(value: unknown, name: string): EncryptionKey {
  toSecret(value, name)
  return value as EncryptionKey
}
