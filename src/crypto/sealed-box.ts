import { createCipheriv, createDecipheriv, type KeyObject, randomFillSync } from 'node:crypto'

/**
 * AES-256-GCM of one message: nonce (12 bytes), ciphertext, tag (16 bytes). What it is about, the *context*, is
 * authenticated along with it and not stored.
 */
const ALGORITHM = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const OPTIONS = { authTagLength: TAG_BYTES }

/** By so many bytes a sealed message is longer than the message. */
export const SEAL_BYTES: number = NONCE_BYTES + TAG_BYTES

/** Of a nonce, so many bytes are drawn at random; the others count. */
const PREFIX_BYTES = 8
const MAX_COUNT = 2 ** 32

/**
 * Nonces that do not recur: eight random bytes, drawn anew whenever a process begins to seal, and a counter of 32 bits.
 *
 * Two of them are equal only if two prefixes are. After `n` prefixes that has happened with a probability of about
 * `n² / 2⁶⁵`, however many messages each of them was used for; nonces that are random throughout come to that point
 * after so many messages.
 */
const nonces = {
  prefix: Buffer.alloc(PREFIX_BYTES),
  count: MAX_COUNT,
  writeTo(target: Buffer, offset: number): void {
    if (this.count === MAX_COUNT) {
      randomFillSync(this.prefix)
      this.count = 0
    }
    target.set(this.prefix, offset)
    target.writeUInt32BE(this.count++, offset + PREFIX_BYTES)
  },
}

/** Seals a message. The first `header` bytes of the result are left to the caller, and belong to nothing. */
export function seal(key: KeyObject, context: Uint8Array, message: Uint8Array, header = 0): Buffer {
  const length = message.byteLength
  const sealed = Buffer.allocUnsafe(header + SEAL_BYTES + length)
  nonces.writeTo(sealed, header)
  const start = header + NONCE_BYTES
  const cipher = createCipheriv(ALGORITHM, key, sealed.subarray(header, start), OPTIONS)
  cipher.setAAD(context)
  sealed.set(cipher.update(message), start)
  cipher.final()
  sealed.set(cipher.getAuthTag(), start + length)
  return sealed
}

/** The message, or `undefined` if it is not what was sealed with this key in this context. */
export function open(
  key: KeyObject,
  context: Uint8Array,
  sealed: Uint8Array,
  header = 0,
): Buffer | undefined {
  const start = header + NONCE_BYTES
  const end = sealed.byteLength - TAG_BYTES
  if (end < start) return undefined
  const decipher = createDecipheriv(ALGORITHM, key, sealed.subarray(header, start), OPTIONS)
  decipher.setAAD(context)
  decipher.setAuthTag(sealed.subarray(end))
  const message = decipher.update(sealed.subarray(start, end))
  try {
    decipher.final()
    return message
  } catch {
    return undefined
  }
}
