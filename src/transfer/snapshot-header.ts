import { asBuffer } from '../core/bytes.ts'
import { decodeValue, encodeValue } from '../core/value-codec.ts'

/** What tells one snapshot from all others, in every store. */
export interface SnapshotIdentity {
  /** A random UUID, minted with the snapshot and kept by every copy of it. */
  readonly id: string
  /** What the exporting store calls it, such as `v7`: a name for people; other stores give it another. */
  readonly version: string
}

/** What a snapshot file says of its snapshot. */
export interface SnapshotFileHeader extends SnapshotIdentity {
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly tags: readonly string[]
  readonly description: string
  /** Any storable value; `undefined` for none. */
  readonly userInfo: unknown
  /** Of a file that holds a difference: the snapshot it starts from. */
  readonly base: SnapshotIdentity | undefined
  /** What the exporter says: whether the file was written encrypted. An import does not look at it. */
  readonly encrypted?: boolean
}

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/
const VERSION = /^v[1-9]\d{0,14}$/
/** The last millisecond that a Date can be. */
const MAX_TIME = 8.64e15

/** The header as JSON text in UTF-8. */
export function encodeSnapshotHeader({ userInfo, ...header }: SnapshotFileHeader): Uint8Array {
  return Buffer.from(JSON.stringify({ ...header, ...(userInfo !== undefined && encodeUserInfo(userInfo)) }))
}

function encodeUserInfo(value: unknown): { userInfo: { codec: number; data: string } } {
  const { codec, bytes } = encodeValue(value)
  return { userInfo: { codec, data: asBuffer(bytes).toString('base64') } }
}

/**
 * The inverse of {@link encodeSnapshotHeader}. Properties that are not known are left aside.
 *
 * @throws {Error} saying what is wrong with it: a clause for the error of whoever reads the file.
 */
export function decodeSnapshotHeader(text: Uint8Array): SnapshotFileHeader {
  const header = record(JSON.parse(asBuffer(text).toString('utf8')), 'the header')
  const { createdAt, tags, description, userInfo, base } = header
  require(Number.isSafeInteger(createdAt) && Math.abs(createdAt as number) <= MAX_TIME, 'createdAt')
  require(Array.isArray(tags) && tags.every(isTag), 'tags')
  require(typeof description === 'string', 'description')
  return {
    ...identity(header),
    createdAt: createdAt as number,
    tags: tags as string[],
    description: description as string,
    userInfo: userInfo === undefined ? undefined : decodeUserInfo(record(userInfo, 'userInfo')),
    base: base === undefined ? undefined : identity(record(base, 'base')),
  }
}

function isTag(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.isWellFormed()
}

function identity({ id, version }: Record<string, unknown>): SnapshotIdentity {
  require(typeof id === 'string' && UUID.test(id), 'id')
  require(typeof version === 'string' && VERSION.test(version), 'version')
  return { id: id as string, version: version as string }
}

function decodeUserInfo({ codec, data }: Record<string, unknown>): unknown {
  require(typeof codec === 'number' && typeof data === 'string', 'userInfo')
  return decodeValue(codec as number, Buffer.from(data as string, 'base64'))
}

function record(value: unknown, name: string): Record<string, unknown> {
  require(typeof value === 'object' && value !== null && !Array.isArray(value), name)
  return value as Record<string, unknown>
}

function require(holds: boolean, name: string): void {
  if (!holds) throw new Error(`${name} is not as it should be`)
}
