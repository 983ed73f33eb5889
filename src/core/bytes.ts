/** An empty byte string, shared. */
export const EMPTY_BYTES: Uint8Array = new Uint8Array(0)

/** A `Buffer` over the same memory, for Node's decoding and comparing methods. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * The bytes as a string of one character a byte.
 *
 * Such strings are equal and ordered exactly as the bytes are, and make fast map keys.
 */
export function toByteString(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('latin1')
}

/** The inverse of {@link toByteString}. */
export function fromByteString(text: string): Uint8Array {
  return Buffer.from(text, 'latin1')
}

/** Whether two byte strings are the same. */
export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && asBuffer(a).equals(b)
}

/** Up to so many bytes are copied sooner one by one. */
const FEW_BYTES = 48

/** Copies all bytes to a place in others, which have room for them. */
export function copyBytes(bytes: Uint8Array, target: Uint8Array, at: number): void {
  const { length } = bytes
  if (length > FEW_BYTES) target.set(bytes, at)
  else for (let i = 0; i < length; i++) target[at + i] = bytes[i] as number
}

/** Bytewise order: negative, zero or positive; a prefix comes before what it begins. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}
