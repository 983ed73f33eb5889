import { asBuffer } from '../core/bytes.ts'
import { decodeValue, encodeValue, JSON_CODEC } from '../core/value-codec.ts'

/** What a delta leads from or to, as bytes. */
export interface EncodedState {
  /** A codec of values, or one of {@link BYTES_CODEC} and {@link BUFFER_CODEC}. */
  readonly codec: number
  readonly bytes: Uint8Array
}

/** The codec of a `Uint8Array`, which is its own encoding. Written into serialized deltas. */
const BYTES_CODEC = 8
/** The codec of a `Buffer`. */
const BUFFER_CODEC = 9

/**
 * The state as bytes, the same for the same state. Byte strings are taken as they are and not copied.
 *
 * @throws {UnserializableValueError} if it cannot be encoded
 */
export function encodeState(state: unknown): EncodedState {
  if (state instanceof Uint8Array) {
    const prototype = Object.getPrototypeOf(state)
    if (prototype === Uint8Array.prototype) return { codec: BYTES_CODEC, bytes: state }
    if (prototype === Buffer.prototype) return { codec: BUFFER_CODEC, bytes: state }
  }
  const encoded = encodeValue(state)
  if (encoded.codec === JSON_CODEC) return encoded
  // V8 writes a number or a string by how it happens to be represented. Once read, the representation is settled.
  return encodeValue(decodeValue(encoded.codec, encoded.bytes))
}

/** The inverse of {@link encodeState}. Byte strings are not copied. */
export function decodeState({ codec, bytes }: EncodedState): unknown {
  if (codec === BYTES_CODEC) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (codec === BUFFER_CODEC) return asBuffer(bytes)
  return decodeValue(codec, bytes)
}

/** Whether the state is a value with parts, not a byte string. */
export function isValue({ codec }: EncodedState): boolean {
  return codec !== BYTES_CODEC && codec !== BUFFER_CODEC
}
