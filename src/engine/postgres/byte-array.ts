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

const HEX = '\\x'
const BACKSLASH = 0x5c

/**
 * The bytes of a value of the type `bytea`, as text: in the form `hex`, which connections are set to. A pooler may hand out
 * one that is not, where the server is set to the form `escape`: there a backslash stands before another one, or before
 * three octal digits.
 */
export function decodeBytes(text: string): Uint8Array {
  if (text.startsWith(HEX)) return Buffer.from(text.slice(HEX.length), 'hex')
  const escaped = Buffer.from(text, 'latin1')
  let length = 0
  for (let at = 0; at < escaped.length; at++) {
    let byte = escaped[at] as number
    if (byte === BACKSLASH && escaped[at + 1] === BACKSLASH) at += 1
    else if (byte === BACKSLASH) {
      byte = Number.parseInt(text.slice(at + 1, at + 4), 8)
      at += 3
    }
    escaped[length++] = byte
  }
  return escaped.subarray(0, length)
}
