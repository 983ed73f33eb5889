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

/** So few bytes are copied sooner one by one than by a call, which takes a view of them. */
const FEW_BYTES = 32

/** Copies the bytes from `start` to `end` to a place in others, which have room for them. */
export function copyBytes(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  at: number,
): void {
  if (end - start > FEW_BYTES) target.set(source.subarray(start, end), at)
  else for (let i = start, j = at; i < end; i++, j++) target[j] = source[i] as number
}

/** The bytes from `start` to `end`, in memory of their own. */
export function copyOfBytes(source: Uint8Array, start: number, end: number): Uint8Array {
  const copy = Buffer.allocUnsafe(end - start)
  copyBytes(source, start, end, copy, 0)
  return copy
}

/** Bytewise order: negative, zero or positive; a prefix comes before what it begins. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}
