import { createSecretKey, hkdfSync, type KeyObject, scrypt } from 'node:crypto'
import { KEY_BYTES, type Secret } from './encryption-key.ts'

/** How a user's key becomes the one that wraps the keys of a store, as it stands there. */
export type KeyDerivation =
  | { readonly name: 'hkdf'; readonly salt: string }
  | {
      readonly name: 'scrypt'
      readonly salt: string
      readonly n: number
      readonly r: number
      readonly p: number
    }

export const SALT_BYTES = 16

/** 128 MiB and about a third of a second: what a guess costs whoever has the store and not the passphrase. */
const SCRYPT = { n: 2 ** 17, r: 8, p: 1 }

/** Bounds of what is done for a derivation that was read: that is before anything is authenticated. */
const MAX_SCRYPT_N = 2 ** 20
const MAX_SCRYPT_FACTOR = 32

/** Whether a derivation that was read is one, and takes no more than half a gigabyte or so. */
export function isAllowedDerivation(derivation: KeyDerivation): boolean {
  if (typeof derivation?.salt !== 'string') return false
  if (derivation.name === 'hkdf') return true
  const { name, n, r, p } = derivation
  const isFactor = (value: number): boolean =>
    Number.isInteger(value) && value >= 1 && value <= MAX_SCRYPT_FACTOR
  const isCost = Number.isInteger(Math.log2(n)) && n >= 2 && isFactor(r) && isFactor(p)
  return name === 'scrypt' && isCost && n * r <= MAX_SCRYPT_N * SCRYPT.r
}

interface ScryptCost {
  readonly N: number
  readonly r: number
  readonly p: number
}

/** How a new key is to be derived. */
export function newDerivation(secret: Secret, salt: Uint8Array): KeyDerivation {
  const text = Buffer.from(salt).toString('base64')
  return secret.kind === 'key' ? { name: 'hkdf', salt: text } : { name: 'scrypt', salt: text, ...SCRYPT }
}

/**
 * Derives the wrapping key. A passphrase where a store was given a key, or the other way round, makes some key as well:
 * the wrong one.
 */
export async function deriveWrappingKey(secret: Secret, derivation: KeyDerivation): Promise<KeyObject> {
  const salt = Buffer.from(derivation.salt, 'base64')
  const input =
    secret.kind === 'key' ? secret.bytes : await stretch(secret.text, salt, parametersOf(derivation))
  return subkey(createSecretKey(input), 'varve wrapping key', salt)
}

function parametersOf(derivation: KeyDerivation): ScryptCost {
  const { n, r, p } = derivation.name === 'scrypt' ? derivation : SCRYPT
  return { N: n, r, p }
}

function stretch(text: string, salt: Uint8Array, parameters: ScryptCost): Promise<Buffer> {
  const maxmem = 256 * parameters.N * parameters.r
  return new Promise((resolve, reject) => {
    scrypt(text, salt, KEY_BYTES, { ...parameters, maxmem }, (error, key) => {
      if (error === null) resolve(key)
      else reject(error)
    })
  })
}

/** A key for one purpose, made of another. */
export function subkey(key: KeyObject, purpose: string, salt: Uint8Array = Buffer.alloc(0)): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', key, salt, purpose, KEY_BYTES)))
}
