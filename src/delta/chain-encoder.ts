import { crc32 } from 'node:zlib'
import { bytesEqual } from '../core/bytes.ts'
import { InvalidArgumentError } from '../core/errors.ts'
import { ByteWriter } from './byte-writer.ts'
import {
  AFTER_CHECKSUM,
  CHAIN_FORMAT,
  CHECKSUM_AT,
  EDITED_RANKS,
  MAX_LENGTH,
  REPEATED_RANKS,
  ROW,
  touchRecent,
} from './chain-format.ts'
import { compressBytes } from './compression.ts'
import { writeEdit } from './edit-codec.ts'
import { commonPrefix, commonSuffix, diffBytes } from './edit-script.ts'

/** The codec of a version without a payload: the key was deleted. */
export const TOMBSTONE_CODEC = 0

/** One version of a key. */
export interface ChainVersion {
  /** The epoch the version was written in: a non-negative safe integer. */
  readonly birth: number
  /** How the payload encodes its value, 1 to 255; 0 for a deletion, whose payload is empty. */
  readonly codec: number
  readonly payload: Uint8Array
}

/** Bounds of one chain record. */
export interface ChainBounds {
  /** At most so many versions. */
  readonly maxVersions: number
  /** At most so many bytes, before compression, that a read decompresses beyond the newest payload. */
  readonly maxEditBytes: number
  /** At most so many bytes of payloads in all, unless there are only two: what taking the record apart costs. */
  readonly maxPayloadBytes: number
}

/** A base at most so much worse than the best is taken without looking at others. */
const GOOD_ENOUGH = 32
/** Changed parts shorter than this go in whole: the compressor finds what they repeat, and reads get simpler. */
const MIN_MIDDLE = 512
/** The most edits scripts a read may have to apply one after the other. */
const MAX_DEPTH = 64
/** The most bytes it may have to touch in doing so, unless the scripts are few. */
const MAX_PATH_BYTES = 1 << 18
const FEW_SCRIPTS = 8

/** A distinct payload of the chain. */
interface Value {
  readonly codec: number
  readonly payload: Uint8Array
  /** The number of the value it is made of; -1 for the first. */
  readonly base: number
  /** How many scripts make it, counted from the first value. */
  readonly depth: number
  /** The bytes of all results on that way. */
  readonly pathBytes: number
}

/** Where a payload comes from, and what that shares with it. */
interface Base {
  readonly value: number
  readonly prefix: number
  readonly suffix: number
}

/** Takes the versions of one key, newest first, until a bound is reached, and makes a record of them. */
export class ChainEncoder {
  private readonly bounds: ChainBounds
  private readonly table = new ByteWriter()
  private readonly literals = new ByteWriter(4096)
  private readonly numbers = new ByteWriter(512)
  private readonly values: Value[] = []
  /** The values by checksum of their payload. */
  private readonly known = new Map<number, number[]>()
  private readonly recent: number[] = []
  private versions = 0
  private newest = 0
  private oldest = 0
  private payloadBytes = 0

  constructor(bounds: ChainBounds) {
    this.bounds = bounds
  }

  /** Birth of the oldest version taken. */
  get firstBirth(): number {
    return this.oldest
  }

  /**
   * Takes a version, unless the record is full without it. A record takes at least one.
   *
   * @throws {InvalidArgumentError} when the version is not older than the one before it, or makes no sense.
   */
  add(version: ChainVersion): boolean {
    checkVersion(version)
    if (this.versions > 0 && version.birth >= this.oldest) {
      throw new InvalidArgumentError(
        `The births of a chain's versions must ascend, but ${version.birth} comes before ${this.oldest}.`,
      )
    }
    if (this.versions >= this.bounds.maxVersions && this.versions > 0) return false
    if (version.codec === TOMBSTONE_CODEC) this.row(version, ROW.tombstone)
    else {
      const checksum = crc32(version.payload)
      if (!this.repeat(version, checksum) && !this.append(version, checksum)) return false
    }
    if (this.versions === 0) this.newest = version.birth
    this.oldest = version.birth
    this.versions++
    return true
  }

  /**
   * The record of all versions taken.
   *
   * @throws {InvalidArgumentError} when what they do not have in common is longer than a record may be.
   */
  finish(): Uint8Array {
    if (this.literals.length + this.numbers.length > MAX_LENGTH) {
      throw new InvalidArgumentError(
        `The ${this.versions} versions do not fit into one chain record: they need more than ${MAX_LENGTH} bytes.`,
      )
    }
    const body = new ByteWriter(this.literals.length + this.numbers.length)
    body.bytes(this.literals.view())
    body.bytes(this.numbers.view())
    const { compression, bytes } = compressBytes(body.view())
    const record = new ByteWriter(bytes.length + this.table.length + 40)
    record.byte(CHAIN_FORMAT)
    record.byte(compression)
    record.uint32(0)
    record.varint(this.versions)
    record.varint(this.newest)
    record.byte(this.values[0]?.codec ?? TOMBSTONE_CODEC)
    record.varint(body.length)
    record.varint(this.literals.length)
    record.bytes(this.table.view())
    record.bytes(bytes)
    const view = record.view()
    view.writeUInt32LE(chainChecksum(view), CHECKSUM_AT)
    return view
  }

  /** Takes a version whose payload, of that checksum, the chain holds already; `false` if it does not. */
  private repeat(version: ChainVersion, checksum: number): boolean {
    const value = this.known.get(checksum)?.find(number => isSame(this.values[number] as Value, version))
    if (value === undefined) return false
    const rank = this.recent.indexOf(value)
    if (rank >= REPEATED_RANKS.first && rank <= REPEATED_RANKS.last) {
      this.row(version, ROW.repeated + rank - REPEATED_RANKS.first)
    } else {
      this.row(version, ROW.named)
      this.table.varint(2 * value)
    }
    touchRecent(this.recent, value)
    return true
  }

  /** Takes a version with a payload of its own; `false` if that would pass a bound. */
  private append(version: ChainVersion, checksum: number): boolean {
    const { payload, codec } = version
    const number = this.values.length
    if (number === 0) {
      this.literals.bytes(payload)
      this.numbers.varint(payload.length)
      this.row(version, ROW.edited)
      this.values.push({ codec, payload, base: -1, depth: 0, pathBytes: payload.length })
    } else {
      const { maxPayloadBytes, maxEditBytes } = this.bounds
      if (number > 1 && this.payloadBytes + payload.length > maxPayloadBytes) return false
      const literalsBefore = this.literals.length
      const numbersBefore = this.numbers.length
      const base = this.chooseBase(payload)
      this.writeScript(base, payload)
      const keyframe = (this.values[0] as Value).payload.length
      if (this.literals.length + this.numbers.length - keyframe > maxEditBytes) {
        this.literals.truncate(literalsBefore)
        this.numbers.truncate(numbersBefore)
        return false
      }
      const from = this.values[base.value] as Value
      const rank = this.recent.indexOf(base.value)
      if (rank >= 0 && rank < EDITED_RANKS && from.codec === codec) {
        this.row(version, ROW.edited + rank)
      } else {
        this.row(version, ROW.named)
        this.table.varint(2 * base.value + 1)
        this.table.byte(codec)
      }
      const pathBytes = from.pathBytes + payload.length
      this.values.push({ codec, payload, base: base.value, depth: from.depth + 1, pathBytes })
    }
    this.payloadBytes += payload.length
    touchRecent(this.recent, number)
    const known = this.known.get(checksum)
    if (known === undefined) this.known.set(checksum, [number])
    else known.push(number)
    return true
  }

  private row(version: ChainVersion, source: number): void {
    if (this.versions === 0) {
      this.table.byte(source)
      return
    }
    const gap = this.oldest - version.birth
    if (gap < 32) this.table.byte((gap << 3) | source)
    else {
      this.table.byte(source)
      this.table.varint(gap)
    }
  }

  private writeScript(base: Base, payload: Uint8Array): void {
    const from = (this.values[base.value] as Value).payload
    const { prefix, suffix } = base
    const end = payload.length - suffix
    if (end - prefix < MIN_MIDDLE) {
      const skip = from.length - prefix - suffix
      const edits = end > prefix || skip > 0 ? 1 : 0
      this.numbers.varint(edits)
      if (edits === 1) this.writeEdit(payload, prefix, prefix, end, skip)
      return
    }
    const script: number[] = []
    diffBytes(from, payload, (copy, insertStart, insertEnd, skip) => {
      script.push(copy, insertStart, insertEnd, skip)
    })
    this.numbers.varint(script.length / 4)
    for (let i = 0; i < script.length; i += 4) {
      const [copy, insertStart, insertEnd, skip] = script.slice(i, i + 4) as [number, number, number, number]
      this.writeEdit(payload, copy, insertStart, insertEnd, skip)
    }
  }

  private writeEdit(payload: Uint8Array, copy: number, start: number, end: number, skip: number): void {
    this.literals.bytes(payload, start, end)
    writeEdit(this.numbers, copy, end - start, skip)
  }

  /**
   * Of the recent values the one most like `payload`, by what is neither common prefix nor suffix. Branches that
   * alternate in a history are told apart by this.
   */
  private chooseBase(payload: Uint8Array): Base {
    let best: Base | undefined
    let least = Number.POSITIVE_INFINITY
    for (const value of this.recent.slice(0, EDITED_RANKS)) {
      if (!this.mayFollow(value, payload.length)) continue
      const base = this.compare(value, payload)
      const middle = payload.length - base.prefix - base.suffix
      if (middle < least) {
        best = base
        least = middle
      }
      if (least <= GOOD_ENOUGH) break
    }
    return best ?? this.compare(this.ancestor(payload.length), payload)
  }

  private compare(value: number, payload: Uint8Array): Base {
    const from = (this.values[value] as Value).payload
    const prefix = commonPrefix(from, payload)
    const suffix = commonSuffix(from, payload, Math.min(from.length, payload.length) - prefix)
    return { value, prefix, suffix }
  }

  /** Whether a script on top of `value` keeps reads within their bounds. */
  private mayFollow(value: number, length: number): boolean {
    const { depth, pathBytes } = this.values[value] as Value
    return depth < FEW_SCRIPTS || (depth < MAX_DEPTH && pathBytes + length <= MAX_PATH_BYTES)
  }

  /** Of the values the most recent one is made of, the one halfway: near enough, and with room above it. */
  private ancestor(length: number): number {
    let value = this.recent[0] as number
    const half = Math.floor((this.values[value] as Value).depth / 2)
    while ((this.values[value] as Value).depth > half || !this.mayFollow(value, length)) {
      value = (this.values[value] as Value).base
    }
    return value
  }
}

/** The checksum a record should have: of all its bytes but the checksum's own. */
export function chainChecksum(record: Uint8Array): number {
  return crc32(record.subarray(AFTER_CHECKSUM), crc32(record.subarray(0, CHECKSUM_AT)))
}

function isSame(value: Value, version: ChainVersion): boolean {
  return value.codec === version.codec && bytesEqual(value.payload, version.payload)
}

function checkVersion({ birth, codec, payload }: ChainVersion): void {
  if (!Number.isSafeInteger(birth) || birth < 0) {
    throw new InvalidArgumentError(`A version's birth must be a non-negative safe integer, not ${birth}.`)
  }
  if (!Number.isInteger(codec) || codec < 0 || codec > 255) {
    throw new InvalidArgumentError(`A version's codec must be a byte, not ${codec} (birth ${birth}).`)
  }
  if (payload.length > MAX_LENGTH) {
    throw new InvalidArgumentError(
      `A version has at most ${MAX_LENGTH} bytes, but that of birth ${birth} has ${payload.length}.`,
    )
  }
  if (codec === TOMBSTONE_CODEC && payload.length > 0) {
    throw new InvalidArgumentError(
      `A deletion has no payload, but that of birth ${birth} has ${payload.length} bytes.`,
    )
  }
}
