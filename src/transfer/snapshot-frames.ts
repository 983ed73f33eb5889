import { createHash, type Hash } from 'node:crypto'
import { promisify } from 'node:util'
import { crc32, deflateRaw, inflateRaw } from 'node:zlib'
import { importError } from './import-error.ts'

/**
 * The outer layer of a snapshot file: frames, each with its own checksums, and a digest of the whole. What the frames
 * hold is the business of `snapshot-file.ts`, where the format is described.
 */

/** What a frame holds. The numbers are written to disk. */
export const FRAME = { header: 1, rows: 2, end: 3 } as const
export type FrameType = (typeof FRAME)[keyof typeof FRAME]

/** A frame, checked, as it stands in the file. */
export interface Frame {
  readonly type: FrameType
  /** Its place in the file, from 0. */
  readonly index: number
  /** Bytes of its content. */
  readonly length: number
  /** The content, deflated unless these are as many bytes as the content has. */
  readonly stored: Buffer
}

const FORMAT_VERSION = 1
/** The first byte is no ASCII, so that nothing takes the file for text. */
const MAGIC = Buffer.from([0x89, 0x56, 0x41, 0x52, 0x56, 0x45, 0x0a]) // \x89VARVE\n
const CHECKSUM_BYTES = 4
/** Type, length of the content, length as stored. */
const FIELDS_BYTES = 1 + 4 + 4
const DIGEST_BYTES = 32

/** No stream of deflate makes more of a byte: 258 of them take two bits at least. */
const MAX_INFLATION = 1032
const MIN_COMPRESSIBLE = 64
const MAX_INFLATE_CHUNK = 1024 * 1024

const deflate = promisify(deflateRaw)
const inflate = promisify(inflateRaw)

/** Makes the bytes of a file, which are to be written in the order in which they are made. */
export class FrameWriter {
  readonly #hash: Hash = createHash('sha256')

  /** What a file begins with. */
  preamble(): Uint8Array {
    return this.#hashed(Buffer.concat([MAGIC, Buffer.of(FORMAT_VERSION)]))
  }

  /** A frame. `content` is not to be changed until it is there. */
  async frame(type: FrameType, content: Uint8Array): Promise<Uint8Array> {
    const deflated = content.byteLength < MIN_COMPRESSIBLE ? content : await deflate(content)
    const stored = deflated.byteLength < content.byteLength ? deflated : content
    const frame = Buffer.allocUnsafe(FIELDS_BYTES + CHECKSUM_BYTES + stored.byteLength + CHECKSUM_BYTES)
    frame.writeUInt8(type, 0)
    frame.writeUInt32LE(content.byteLength, 1)
    frame.writeUInt32LE(stored.byteLength, 5)
    frame.writeUInt32LE(crc32(frame.subarray(0, FIELDS_BYTES)), FIELDS_BYTES)
    frame.set(stored, FIELDS_BYTES + CHECKSUM_BYTES)
    frame.writeUInt32LE(crc32(stored), frame.byteLength - CHECKSUM_BYTES)
    return this.#hashed(frame)
  }

  /** What a file ends with: the digest of all before. */
  digest(): Uint8Array {
    return this.#hash.digest()
  }

  #hashed(bytes: Uint8Array): Uint8Array {
    this.#hash.update(bytes)
    return bytes
  }
}

/** Which frames are allowed to be how long. */
export type FrameLimits = Readonly<Record<FrameType, number>>

/**
 * Takes a file apart, frame by frame. At most one frame is in memory, and no more than its checked length says.
 *
 * Every problem is an {@link ImportError} that names the file, and the frame where it is one of a frame.
 */
export class FrameReader {
  readonly file: string
  readonly #source: AsyncIterator<Uint8Array>
  readonly #limits: FrameLimits
  readonly #hash: Hash = createHash('sha256')
  /** What has been read of the source's last chunk and not yet been taken. */
  #pending: Uint8Array = Buffer.alloc(0)
  #position = 0
  #index = 0

  constructor(chunks: AsyncIterable<Uint8Array>, file: string, limits: FrameLimits) {
    this.#source = chunks[Symbol.asyncIterator]()
    this.file = file
    this.#limits = limits
  }

  /** Reads what a file begins with. */
  async begin(): Promise<void> {
    const magic = await this.#read(MAGIC.byteLength)
    if (!magic.equals(MAGIC.subarray(0, magic.byteLength))) {
      throw this.error(
        'it is not a snapshot file of exportSnapshot(). Files of exportData() are for importData().',
      )
    }
    if (magic.byteLength < MAGIC.byteLength) throw this.#truncated()
    const version = (await this.#take(1)).readUInt8()
    if (version === FORMAT_VERSION) return
    if (version > FORMAT_VERSION) {
      throw this.error(
        `it has format ${version}, and this varve reads formats up to ${FORMAT_VERSION}. Upgrade varve to import it.`,
      )
    }
    throw this.error(`it has the unknown format ${version}: it is damaged. Get a whole copy of it.`)
  }

  /** The next frame. */
  async next(): Promise<Frame> {
    const index = this.#index++
    const fields = await this.#take(FIELDS_BYTES)
    const checksum = await this.#take(CHECKSUM_BYTES)
    if (crc32(fields) !== checksum.readUInt32LE())
      throw this.damaged(index, 'its lengths do not match their checksum')
    const type = fields.readUInt8()
    const length = fields.readUInt32LE(1)
    const storedLength = fields.readUInt32LE(5)
    const limit = this.#limits[type as FrameType]
    if (limit === undefined) throw this.damaged(index, `it is of the unknown type ${type}`)
    if (length > limit) {
      throw this.damaged(
        index,
        `it declares ${length} bytes, more than the ${limit} that one of its type may have`,
      )
    }
    if (storedLength > length || length > storedLength * MAX_INFLATION) {
      throw this.damaged(
        index,
        `${storedLength} bytes cannot be the deflated form of the ${length} it declares`,
      )
    }
    const stored = await this.#take(storedLength)
    if (crc32(stored) !== (await this.#take(CHECKSUM_BYTES)).readUInt32LE()) {
      throw this.damaged(index, 'it does not match its checksum')
    }
    return { type: type as FrameType, index, length, stored }
  }

  /** The content of a frame, inflated. Never more bytes than it declares. */
  async content({ index, length, stored }: Frame): Promise<Uint8Array> {
    if (stored.byteLength === length) return stored
    try {
      const chunkSize = Math.max(64, Math.min(length, MAX_INFLATE_CHUNK))
      const content = await inflate(stored, { maxOutputLength: length, chunkSize })
      if (content.byteLength === length) return content
    } catch (cause) {
      throw this.damaged(index, 'it cannot be inflated to what it declares', cause)
    }
    throw this.damaged(index, 'it holds less than it declares')
  }

  /** Reads what a file ends with: the digest of all before, which is compared and returned, and nothing after it. */
  async end(): Promise<Buffer> {
    const expected = this.#hash.copy().digest()
    const digest = await this.#take(DIGEST_BYTES)
    if (!digest.equals(expected)) {
      throw this.error('it does not match the digest at its end: it is damaged. Get a whole copy of it.')
    }
    if ((await this.#read(1)).byteLength > 0) {
      throw this.error(
        `something follows its end, at byte ${this.#position - 1}: it is damaged. Get a whole copy of it.`,
      )
    }
    return digest
  }

  /** Ends the source, where it has not ended by itself. */
  async close(): Promise<void> {
    await this.#source.return?.()
  }

  /** The error of a frame. @param reason A clause. */
  damaged(index: number, reason: string, cause?: unknown): Error {
    return this.error(`block ${index} is damaged: ${reason}. Get a whole copy of the file.`, cause)
  }

  error(problem: string, cause?: unknown): Error {
    return importError(this.file, undefined, problem, cause)
  }

  async #take(length: number): Promise<Buffer> {
    const bytes = await this.#read(length)
    if (bytes.byteLength < length) throw this.#truncated()
    return bytes
  }

  #truncated(): Error {
    return this.error(`it is truncated: it ends after ${this.#position} bytes. Get a whole copy of it.`)
  }

  /** The next `length` bytes, or those that are left. */
  async #read(length: number): Promise<Buffer> {
    const parts: Uint8Array[] = []
    let missing = length
    while (missing > 0) {
      if (this.#pending.byteLength === 0) {
        const { done, value } = await this.#source.next()
        if (done) break
        this.#pending = value
        continue
      }
      const part = this.#pending.subarray(0, missing)
      this.#pending = this.#pending.subarray(part.byteLength)
      missing -= part.byteLength
      parts.push(part)
    }
    const bytes = Buffer.concat(parts)
    this.#hash.update(bytes)
    this.#position += bytes.byteLength
    return bytes
  }
}
