import { isUtf8 } from 'node:buffer'
import { asBuffer } from './bytes.ts'
import { DataIntegrityError, InvalidKeyError } from './errors.ts'

/** The longest key, in bytes of its UTF-8 form. */
export const MAX_KEY_BYTES = 1024

/** Epochs, versions and sequence numbers are stored in so many bytes, big-endian, so that they order as numbers. */
const COUNTER_BYTES = 6
const MAX_COUNTER = 2 ** 48 - 1

/**
 * A key as its UTF-8 bytes, checked.
 *
 * @throws {InvalidKeyError} unless `key` is a non-empty, well-formed string of at most 1,024 UTF-8 bytes. Lone
 * surrogates are refused because all of them become the same three bytes, so that distinct keys would collide.
 */
export function encodeKey(key: unknown): Uint8Array {
  if (typeof key !== 'string') {
    throw new InvalidKeyError(
      `A key must be a string, not ${key === null ? 'null' : `a value of type ${typeof key}`}.`,
    )
  }
  if (key.length === 0) throw new InvalidKeyError('A key must not be empty.')
  // Each UTF-16 unit takes at least one byte, so this refuses huge strings before encoding them.
  if (key.length > MAX_KEY_BYTES) throw tooLong(key)
  if (!key.isWellFormed()) {
    throw new InvalidKeyError(
      `The key ${JSON.stringify(key)} is not well-formed: it holds a lone surrogate. Use String.prototype.toWellFormed().`,
    )
  }
  const bytes = Buffer.from(key, 'utf8')
  if (bytes.byteLength > MAX_KEY_BYTES) throw tooLong(key)
  return bytes
}

/** By their length: what {@link encodeKeyBriefly} and {@link briefKey} write to. */
const BRIEF_KEYS = Array.from({ length: 65 }, (_, length) => Buffer.alloc(length))

/** {@link encodeKey} for a lookup that is answered at once: the next call may write over the bytes. */
function encodeKeyBriefly(key: unknown): Uint8Array {
  if (typeof key !== 'string' || key.length === 0) return encodeKey(key)
  const bytes = BRIEF_KEYS[key.length]
  if (bytes === undefined) return encodeKey(key)
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i)
    if (unit >= 0x80) return encodeKey(key)
    bytes[i] = unit
  }
  return bytes
}

/** Some of the bytes as a key, for who is done with it at once: the next call may write over them. */
export function briefKey(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const key = BRIEF_KEYS[end - start]
  if (key === undefined) return Buffer.from(bytes.subarray(start, end))
  for (let i = start, j = 0; i < end; i++, j++) key[j] = bytes[i] as number
  return key
}

/** @throws {InvalidKeyError} where {@link encodeKey} does; bytes are made only of keys that may be too long. */
export function assertKey(key: string): void {
  if (key.length === 0 || 3 * key.length > MAX_KEY_BYTES || !key.isWellFormed()) encodeKey(key)
}

function tooLong(key: string): InvalidKeyError {
  const start = JSON.stringify(key.slice(0, 32).toWellFormed())
  return new InvalidKeyError(
    `The key that begins ${start} takes more than ${MAX_KEY_BYTES} bytes in UTF-8. Use a shorter key, or a digest of it.`,
  )
}

/** The string whose {@link encodeKey} form these bytes are. */
export function decodeKey(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('utf8')
}

/** UTF-16 units from here on do not order as their UTF-8 does: surrogates stand for characters above all others. */
const FIRST_SURROGATE = 0xd800
const LAST_SURROGATE = 0xdfff

/** Compares keys as their {@link encodeKey} forms compare: negative, zero or positive. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const one = a.charCodeAt(i)
    const other = b.charCodeAt(i)
    if (one !== other) return rank(one) - rank(other)
  }
  return a.length - b.length
}

function rank(unit: number): number {
  return unit >= FIRST_SURROGATE && unit <= LAST_SURROGATE ? unit + 0x10000 : unit
}

/** A key as it is stored, for messages and logs: its text, or hexadecimal where it is encrypted. */
export function keyText(stored: Uint8Array): string {
  const bytes = asBuffer(stored)
  return isUtf8(bytes) ? decodeKey(bytes) : bytes.toString('hex')
}

/** How the keys of a state are stored. */
export interface KeyCodec {
  /** Whether stored keys order as the keys do. */
  readonly ordered: boolean
  /** @throws {InvalidKeyError} as {@link encodeKey} does. */
  encode(key: unknown): Uint8Array
  /** The same for a lookup that is answered at once, where that is cheaper: the next call may write over the bytes. */
  encodeBriefly?(key: unknown): Uint8Array
  /** The inverse. @throws {DataIntegrityError} if no key is stored so. */
  decode(stored: Uint8Array): string
}

/** Keys as they are. */
export const PLAIN_KEYS: KeyCodec = {
  ordered: true,
  encode: encodeKey,
  encodeBriefly: encodeKeyBriefly,
  decode: decodeKey,
}

/** A counter as a key of its own: six bytes, big-endian. */
export function counterKey(counter: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(COUNTER_BYTES)
  bytes.writeUIntBE(counter, 0, COUNTER_BYTES)
  return bytes
}

/** Several counters after another, ordered as tuples. */
export function counterTupleKey(...counters: readonly number[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(COUNTER_BYTES * counters.length)
  for (const [i, counter] of counters.entries()) bytes.writeUIntBE(counter, i * COUNTER_BYTES, COUNTER_BYTES)
  return bytes
}

/** The `index`-th counter of a {@link counterKey} or {@link counterTupleKey}. */
export function counterAt(bytes: Uint8Array, index = 0): number {
  if (bytes.byteLength < (index + 1) * COUNTER_BYTES) {
    throw new DataIntegrityError('A stored counter key is too short; the store is damaged. Run verify().')
  }
  return asBuffer(bytes).readUIntBE(index * COUNTER_BYTES, COUNTER_BYTES)
}

/**
 * The key (`key`, `birth`) of the history table, ordered bytewise as the pair is.
 *
 * UTF-8 never holds a byte above 0xf4, so every byte can be raised by one, which frees 0x00 as a terminator below
 * all of them: `a` sorts before `a\0`, whose own bytes cannot be mistaken for a terminator. That costs one byte a key,
 * whatever it holds, where escaping NULs costs up to twice the key, and groups of eight with markers an eighth.
 */
export function versionKey(key: Uint8Array, birth: number): Uint8Array {
  const length = key.byteLength
  const bytes = Buffer.allocUnsafe(length + 1 + COUNTER_BYTES)
  for (let i = 0; i < length; i++) bytes[i] = (key[i] as number) + 1
  bytes[length] = 0
  bytes.writeUIntBE(birth, length + 1, COUNTER_BYTES)
  return bytes
}

/** The {@link versionKey}s of one key differ in so many last bytes. */
export const VERSION_SUFFIX_BYTES: number = COUNTER_BYTES

/** Below every {@link versionKey} of `key`. */
export function firstVersionKey(key: Uint8Array): Uint8Array {
  return versionKey(key, 0)
}

/** Above every {@link versionKey} of `key`, and below those of the next key. */
export function lastVersionKey(key: Uint8Array): Uint8Array {
  return versionKey(key, MAX_COUNTER)
}

/** The second part of a {@link versionKey} whose first one is known. */
export function birthIn(bytes: Uint8Array): number {
  let birth = 0
  for (let i = bytes.byteLength - COUNTER_BYTES; i < bytes.byteLength; i++)
    birth = birth * 256 + (bytes[i] as number)
  return birth
}

/** The two parts of a {@link versionKey}. */
export function splitVersionKey(bytes: Uint8Array): { readonly key: Uint8Array; readonly birth: number } {
  const length = bytes.byteLength - COUNTER_BYTES - 1
  if (length < 1 || bytes[length] !== 0) {
    throw new DataIntegrityError('A history key is malformed; the store is damaged. Run verify().')
  }
  const key = Buffer.allocUnsafe(length)
  for (let i = 0; i < length; i++) key[i] = (bytes[i] as number) - 1
  return { key, birth: asBuffer(bytes).readUIntBE(length + 1, COUNTER_BYTES) }
}
