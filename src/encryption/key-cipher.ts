import { createCipheriv, createDecipheriv, createHmac, type KeyObject } from 'node:crypto'
import { DataIntegrityError } from '../core/errors.ts'
import { decodeKey, encodeKey, type KeyCodec } from '../core/key.ts'
import { subkey } from '../crypto/derive-key.ts'

const ALGORITHM = 'aes-256-ctr'
/** The synthetic IV: the beginning of a HMAC of the key. It is the checksum as well. */
const IV_BYTES = 16

/**
 * Encrypts the keys of the state, deterministically, so that a key can be looked up: equal keys become equal bytes, and
 * nothing else is told but their lengths.
 *
 * Like AES-SIV (RFC 5297), with HMAC-SHA-256 for its CMAC: the IV of AES in counter mode is made of the whole key, so that
 * it recurs only with the key itself.
 */
export function keyCipher(keysKey: KeyObject): KeyCodec {
  const ivKey = subkey(keysKey, 'varve keys: synthetic IV')
  const cipherKey = subkey(keysKey, 'varve keys: AES-CTR')
  const ivOf = (key: Uint8Array): Buffer =>
    createHmac('sha256', ivKey).update(key).digest().subarray(0, IV_BYTES)
  return {
    ordered: false,
    encode(key) {
      const plain = encodeKey(key)
      const iv = ivOf(plain)
      return withoutFF(Buffer.concat([iv, createCipheriv(ALGORITHM, cipherKey, iv).update(plain)]))
    },
    decode(bytes) {
      const sealed = restoreFF(bytes)
      const iv = sealed.subarray(0, IV_BYTES)
      if (iv.byteLength === IV_BYTES) {
        const plain = createDecipheriv(ALGORITHM, cipherKey, iv).update(sealed.subarray(IV_BYTES))
        if (ivOf(plain).equals(iv)) return decodeKey(plain)
      }
      throw new DataIntegrityError(
        'An encrypted key of the store is not as it was written: the store is damaged. Run verify().',
      )
    },
  }
}

// Keys of the history are raised by one in every byte (see `versionKey`), so that none may have the byte 0xff. Consistent
// overhead byte stuffing takes it out at the price of one byte in 254: the text is cut at each 0xff, and before each piece
// stands its length. A length of 254 says that the piece is full and no 0xff follows it.

const FULL = 0xfe

function withoutFF(bytes: Uint8Array): Buffer {
  const stuffed = Buffer.allocUnsafe(bytes.byteLength + Math.floor(bytes.byteLength / FULL) + 1)
  let start = 0
  let length = 1
  const end = (): void => {
    stuffed[start] = length - 1
    start += length
    length = 1
  }
  for (const byte of bytes) {
    if (byte === 0xff) {
      end()
      continue
    }
    stuffed[start + length++] = byte
    if (length > FULL) end()
  }
  end()
  return stuffed.subarray(0, start)
}

function restoreFF(stuffed: Uint8Array): Buffer {
  const bytes: Buffer = Buffer.allocUnsafe(stuffed.byteLength)
  let at = 0
  for (let start = 0; start < stuffed.byteLength; ) {
    const length = stuffed[start] as number
    const piece = stuffed.subarray(start + 1, start + 1 + length)
    bytes.set(piece, at)
    at += piece.byteLength
    start += 1 + length
    if (length < FULL && start < stuffed.byteLength) bytes[at++] = 0xff
  }
  return bytes.subarray(0, at)
}
