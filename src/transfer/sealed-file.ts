import { createHash, type KeyObject, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { bytesEqual } from '../core/bytes.ts'
import { EncryptionError } from '../core/errors.ts'
import {
  deriveWrappingKey,
  isAllowedDerivation,
  type KeyDerivation,
  newDerivation,
  SALT_BYTES,
  subkey,
} from '../crypto/derive-key.ts'
import type { Secret } from '../crypto/encryption-key.ts'
import { open, SEAL_BYTES, seal } from '../crypto/sealed-box.ts'
import { importError } from './import-error.ts'

/**
 * Encrypted files, format 1: any file in pieces that are encrypted one by one. `docs/snapshot-file.md` says the same at more
 * length.
 *
 * ```
 * file   = head; piece…
 * head   = 89 "VARVS" 0A, format (1 byte); length (2 bytes), JSON, CRC-32 of the JSON
 * JSON   = how the key is derived; a check value that tells whether it is the right one
 * piece  = nonce (12 bytes); 65,536 bytes of the file, encrypted (fewer only in the last piece); tag (16 bytes)
 * ```
 *
 * A piece is authenticated along with the SHA-256 of the head, its number, and whether it is the last: pieces can neither
 * change places nor be left out, nor the file be cut.
 */

const MAGIC = Buffer.from([0x89, 0x56, 0x41, 0x52, 0x56, 0x53, 0x0a]) // \x89VARVS\n
const FORMAT_VERSION = 1
const PIECE_BYTES = 64 * 1024
const SEALED_PIECE_BYTES = PIECE_BYTES + SEAL_BYTES
const CHECK_BYTES = 16
const FIXED_BYTES = MAGIC.byteLength + 1 + 2
const CHECKSUM_BYTES = 4

interface Head {
  readonly derivation: KeyDerivation
  readonly check: string
}

/** A file's contents, encrypted. */
export async function* sealFile(
  chunks: AsyncIterable<Uint8Array>,
  secret: Secret,
): AsyncGenerator<Uint8Array, void, undefined> {
  const derivation = newDerivation(secret, randomBytes(SALT_BYTES))
  const { key, check } = await keysOf(secret, derivation)
  const head = encodeHead({ derivation, check })
  yield head
  let index = 0
  for await (const { bytes, isLast } of pieces(chunks, PIECE_BYTES)) {
    yield seal(key, contextOf(head, index++, isLast), bytes)
  }
}

/**
 * A file's contents, decrypted where it is encrypted. What it yields is authentic; that it is all there is is certain once it
 * has ended.
 *
 * @throws {EncryptionError} if the file is encrypted and there is no key or another one, or a key and it is not encrypted.
 * @throws {ImportError} if it is damaged.
 */
export async function* unsealFile(
  chunks: AsyncIterable<Uint8Array>,
  file: string,
  secret: Secret | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = chunks[Symbol.asyncIterator]()
  try {
    let pending: Buffer = Buffer.alloc(0)
    const gather = async (length: number): Promise<boolean> => {
      while (pending.byteLength < length) {
        const { done, value } = await source.next()
        if (done === true) return false
        pending = Buffer.concat([pending, value])
      }
      return true
    }
    const isSealed =
      (await gather(MAGIC.byteLength)) && bytesEqual(pending.subarray(0, MAGIC.byteLength), MAGIC)
    const rest = { [Symbol.asyncIterator]: () => source }
    if (!isSealed) {
      if (secret !== undefined) throw notEncrypted(file)
      if (pending.byteLength > 0) yield pending
      yield* rest
      return
    }
    if (!(await gather(FIXED_BYTES))) throw damaged(file, 'it ends within its head')
    const version = pending[MAGIC.byteLength] as number
    if (version !== FORMAT_VERSION) {
      throw importError(
        file,
        undefined,
        `it is encrypted in format ${version}, and this varve reads format ${FORMAT_VERSION}. Upgrade varve to import it.`,
      )
    }
    if (secret === undefined) throw keyMissing(file)
    const length = FIXED_BYTES + pending.readUInt16LE(FIXED_BYTES - 2) + CHECKSUM_BYTES
    if (!(await gather(length))) throw damaged(file, 'it ends within its head')
    const head = pending.subarray(0, length)
    const key = await keyOf(file, head, secret)
    const beginning = pending.subarray(length)
    async function* sealed(): AsyncGenerator<Uint8Array> {
      yield beginning
      yield* rest
    }
    let index = 0
    for await (const { bytes, isLast } of pieces(sealed(), SEALED_PIECE_BYTES)) {
      const piece = open(key, contextOf(head, index, isLast), bytes)
      if (piece === undefined) {
        throw damaged(file, `piece ${index} is not as it was encrypted, or is not the one that belongs there`)
      }
      yield piece
      index++
    }
  } finally {
    await source.return?.()
  }
}

async function keyOf(file: string, head: Buffer, secret: Secret): Promise<KeyObject> {
  const { derivation, check } = decodeHead(file, head)
  const keys = await keysOf(secret, derivation)
  if (keys.check === check) return keys.key
  throw new EncryptionError(
    `Cannot import ${JSON.stringify(file)}: this is not the key that the file is encrypted with. Nothing was imported.`,
    { code: 'ENCRYPTION_KEY_WRONG' },
  )
}

/** The salt is drawn for each file, so that no two of them share a key. */
async function keysOf(secret: Secret, derivation: KeyDerivation): Promise<{ key: KeyObject; check: string }> {
  const fileKey = await deriveWrappingKey(secret, derivation)
  const check = subkey(fileKey, 'varve file: check').export().subarray(0, CHECK_BYTES)
  return { key: subkey(fileKey, 'varve file: pieces'), check: check.toString('base64') }
}

function encodeHead(head: Head): Buffer {
  const text = Buffer.from(JSON.stringify(head))
  const bytes = Buffer.alloc(FIXED_BYTES + text.byteLength + CHECKSUM_BYTES)
  bytes.set(MAGIC)
  bytes[MAGIC.byteLength] = FORMAT_VERSION
  bytes.writeUInt16LE(text.byteLength, FIXED_BYTES - 2)
  bytes.set(text, FIXED_BYTES)
  bytes.writeUInt32LE(crc32(text), FIXED_BYTES + text.byteLength)
  return bytes
}

function decodeHead(file: string, bytes: Buffer): Head {
  const text = bytes.subarray(FIXED_BYTES, -CHECKSUM_BYTES)
  if (crc32(text) !== bytes.readUInt32LE(bytes.byteLength - CHECKSUM_BYTES)) {
    throw damaged(file, 'its head does not match its checksum')
  }
  try {
    const head = JSON.parse(text.toString('utf8')) as Head
    if (isAllowedDerivation(head.derivation)) return head
  } catch (cause) {
    throw damaged(file, 'its head cannot be read', cause)
  }
  throw damaged(file, 'its head asks for a derivation of the key that is not allowed')
}

function contextOf(head: Uint8Array, index: number, isLast: boolean): Uint8Array {
  const position = Buffer.alloc(7)
  position.writeUIntBE(index, 0, 6)
  position[6] = isLast ? 1 : 0
  return Buffer.concat([createHash('sha256').update(head).digest(), position])
}

/** Cuts a stream into pieces of a length, the last of which may be shorter; there is one, if need be an empty one. */
async function* pieces(
  chunks: AsyncIterable<Uint8Array>,
  length: number,
): AsyncGenerator<{ readonly bytes: Uint8Array; readonly isLast: boolean }> {
  let pending: Uint8Array = Buffer.alloc(0)
  for await (const chunk of chunks) {
    pending = pending.byteLength === 0 ? chunk : Buffer.concat([pending, chunk])
    while (pending.byteLength > length) {
      yield { bytes: pending.subarray(0, length), isLast: false }
      pending = pending.subarray(length)
    }
  }
  yield { bytes: pending, isLast: true }
}

function keyMissing(file: string): EncryptionError {
  return new EncryptionError(
    `Cannot import ${JSON.stringify(file)}: it is encrypted, and no key was given. Give the option "encryptionKey". Nothing was imported.`,
    { code: 'ENCRYPTION_KEY_MISSING' },
  )
}

function notEncrypted(file: string): EncryptionError {
  return new EncryptionError(
    `Cannot import ${JSON.stringify(file)}: a key was given, and the file is not encrypted. Leave out "encryptionKey" if you trust it. Nothing was imported.`,
    { code: 'ENCRYPTION_NOT_ENCRYPTED' },
  )
}

function damaged(file: string, reason: string, cause?: unknown): Error {
  return importError(file, undefined, `${reason}: it is damaged. Get a whole copy of it.`, cause)
}
