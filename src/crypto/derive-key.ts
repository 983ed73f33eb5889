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

/** Bounds of what is done for a derivation that was read, before anything is authenticated: four times the memory of ours, … */
const MAX_BLOCKS = 4 * SCRYPT.n * SCRYPT.r
/** … and eight times the work. */
const MAX_WORK = 8 * SCRYPT.n * SCRYPT.r * SCRYPT.p

/** Whether a derivation that was read is one, and takes no more than half a gigabyte and some seconds. */
export function isAllowedDerivation(value: unknown): value is KeyDerivation {
  const { name, salt, n, r, p } = (value ?? {}) as Record<string, unknown>
  if (typeof salt !== 'string') return false
  if (name === 'hkdf') return true
  const isPositive = (number: unknown): number is number => Number.isSafeInteger(number) && Number(number) > 0
  if (name !== 'scrypt' || !isPositive(n) || !isPositive(r) || !isPositive(p)) return false
  // RFC 7914: n is a power of two, and less than 2 to the power of 16 r.
  const isPower = n > 1 && Number.isInteger(Math.log2(n)) && Math.log2(n) < 16 * r
  return isPower && n * r <= MAX_BLOCKS && n * r * p <= MAX_WORK
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
  const { N, r, p } = parameters
  const maxmem = 256 * r * (N + p + 2)
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
