/** The type `bytea` among those of the server. */
const BYTEA_OID = 17
const HEADER_BYTES = 20
const LENGTH_BYTES = 4

/**
 * An array of byte strings as a value of the type `bytea[]`, in the server's binary form: the number of dimensions,
 * whether there are NULLs, the type, length and lower bound of the one dimension; then each element after its length.
 * Sent as text it would take more than twice the bytes, and time to write and to parse them.
 */
export function encodeByteArray(items: readonly Uint8Array[]): Buffer {
  let size = HEADER_BYTES
  for (const item of items) size += LENGTH_BYTES + item.byteLength
  const bytes = Buffer.allocUnsafe(size)
  bytes.writeInt32BE(1, 0)
  bytes.writeInt32BE(0, 4)
  bytes.writeInt32BE(BYTEA_OID, 8)
  bytes.writeInt32BE(items.length, 12)
  bytes.writeInt32BE(1, 16)
  let at = HEADER_BYTES
  for (const item of items) {
    at = bytes.writeInt32BE(item.byteLength, at)
    bytes.set(item, at)
    at += item.byteLength
  }
  return bytes
}

/** The bytes of a value of the type `bytea` in the text form `hex`. */
export function decodeBytes(text: string): Uint8Array {
  return Buffer.from(text.slice(2), 'hex')
}
