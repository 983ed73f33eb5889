import { constants } from 'node:buffer'
import { asBuffer, bytesEqual } from './bytes.ts'
import { fromCloneBytes, toCloneBytes } from './clone-bytes.ts'
import { DataIntegrityError, UnserializableValueError } from './errors.ts'
import { isJsonExact } from './json-exact.ts'
import { assertStorable } from './storable.ts'
import { valuesEqual } from './value-equality.ts'

export { isJsonExact } from './json-exact.ts'

/** The codec of values that JSON carries without loss: JSON text in UTF-8. Written to disk. */
export const JSON_CODEC = 1

/** The codec of all other values: V8's format of structured clone. Written to disk. */
export const V8_CODEC = 2

/** How a value was made into bytes. */
export type ValueCodec = typeof JSON_CODEC | typeof V8_CODEC

/** A value as bytes. */
export interface EncodedValue {
  readonly codec: ValueCodec
  readonly bytes: Uint8Array
}

/** The most bytes a value may take: JSON text of more could be written, but not read back as one string. */
const MAX_VALUE_BYTES = constants.MAX_STRING_LENGTH

/**
 * The value as bytes, from which {@link decodeValue} makes a value that `util.isDeepStrictEqual` calls equal.
 *
 * Takes what structured clone carries, `undefined` included. Shared references and cycles come back as such where
 * JSON cannot carry the value; in a value that it can carry, an object met twice may come back as two. Views that show
 * the same `ArrayBuffer` come back with one each. Getters are read, and more than once.
 *
 * @throws {UnserializableValueError} if a part would be lost or changed, if the value is nested more than 1,000 levels
 * deep, or if it takes more than 512 MiB
 *
 * @example
 * ```ts
 * const { codec, bytes } = encodeValue({ born: new Date(0) })
 * decodeValue(codec, bytes) // { born: 1970-01-01T00:00:00.000Z }
 * ```
 */
export function encodeValue(value: unknown): EncodedValue {
  return encodeWithText(value, exactText(value))
}

/** {@link encodeValue} of a value whose {@link exactText} is known. */
export function encodeWithText(value: unknown, text: string | undefined): EncodedValue {
  const encoded: EncodedValue =
    text === undefined ? encodeAsClone(value) : { codec: JSON_CODEC, bytes: Buffer.from(text) }
  const size = encoded.bytes.byteLength
  if (size > MAX_VALUE_BYTES)
    throw refusal(`it takes ${size} bytes, and at most ${MAX_VALUE_BYTES} can be read back`)
  return encoded
}

/** The JSON text of a value that it carries without loss, which is what {@link encodeValue} stores of it. */
export function exactText(value: unknown): string | undefined {
  if (!isJsonExact(value)) return undefined
  try {
    return JSON.stringify(value)
  } catch (cause) {
    throw refusal(
      `JSON.stringify fails with "${String(cause)}"; a string has at most ${MAX_VALUE_BYTES} characters`,
      cause,
    )
  }
}

function encodeAsClone(value: unknown): EncodedValue {
  assertStorable(value)
  try {
    return { codec: V8_CODEC, bytes: toCloneBytes(value) }
  } catch (cause) {
    throw refusal(`V8 cannot serialize it ("${String(cause)}")`, cause)
  }
}

function refusal(reason: string, cause?: unknown): UnserializableValueError {
  return new UnserializableValueError(
    `Cannot store the value: ${reason}. Divide it among several keys, or store plain data.`,
    '$',
    cause === undefined ? undefined : { cause },
  )
}

/**
 * The value that {@link encodeValue} made into `bytes`. It is the caller's own, and shares no memory with them.
 *
 * The bytes are taken to be whole: records carry a checksum. Bytes damaged all the same give an error or, where they
 * happen to make sense (invalid UTF-8 becomes U+FFFD), another value. V8 does not promise to withstand bytes that were
 * made up to harm it.
 *
 * @throws {DataIntegrityError} if the codec is unknown, or the bytes are not of that codec
 */
export function decodeValue(codec: number, bytes: Uint8Array): unknown {
  if (codec === JSON_CODEC) return decodeText(asBuffer(bytes).toString(), bytes.byteLength)
  if (codec === V8_CODEC) {
    try {
      return fromCloneBytes(bytes)
    } catch (cause) {
      throw undecodable(bytes.byteLength, "V8's structured clone", cause)
    }
  }
  throw new DataIntegrityError(
    `A stored value has the unknown codec ${codec}: the record is damaged, or was written by a newer version of varve.`,
  )
}

/** {@link decodeValue} of JSON text, which took so many bytes. */
export function decodeText(text: string, bytes: number): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw undecodable(bytes, 'JSON', cause)
  }
}

function undecodable(bytes: number, form: string, cause: unknown): DataIntegrityError {
  return new DataIntegrityError(
    `A stored value is damaged, or was written by a newer Node.js: ${bytes} bytes do not decode as ${form}.`,
    { cause },
  )
}

/**
 * Whether two encoded values are equal by `util.isDeepStrictEqual`: the order of properties does not count.
 *
 * Values with shared references or cycles are compared so that it takes linear time; there the order of the entries of
 * maps and sets counts.
 */
export function encodedEqual(a: EncodedValue, b: EncodedValue): boolean {
  if (a.codec === b.codec && bytesEqual(a.bytes, b.bytes)) return true
  if (a.codec === JSON_CODEC && b.codec === JSON_CODEC && !maySpellTheSame(a.bytes, b.bytes)) return false
  return valuesEqual(decodeValue(a.codec, a.bytes), decodeValue(b.codec, b.bytes))
}

/**
 * Whether two JSON texts can be the same but for the order of properties.
 *
 * Every string and number has one spelling in what `JSON.stringify` writes, so another order only permutes the bytes:
 * their number and the sum of their squares remain. A pass over both tells apart most values that differ.
 */
function maySpellTheSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.byteLength !== b.byteLength) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) {
    const one = a[i] as number
    const other = b[i] as number
    difference += one * one - other * other
  }
  return difference === 0
}
