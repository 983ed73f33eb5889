import { asBuffer, EMPTY_BYTES } from '../core/bytes.ts'
import { DataIntegrityError, InvalidArgumentError } from '../core/errors.ts'
import { checkOptions, positiveInteger } from '../core/options.ts'
import { partitionPoint } from '../core/partition-point.ts'
import { VarintReader } from '../core/varint.ts'
import {
  type ChainBounds,
  ChainEncoder,
  type ChainVersion,
  chainChecksum,
  TOMBSTONE_CODEC,
} from './chain-encoder.ts'
import {
  AFTER_CHECKSUM,
  CHAIN_FORMAT,
  CHECKSUM_AT,
  MAX_LENGTH,
  REPEATED_RANKS,
  ROW,
  touchRecent,
} from './chain-format.ts'
import { COMPRESSION, decompressBytes } from './compression.ts'
import { applyEditInPlace, applyEdits, checkEdits } from './edit-codec.ts'

export { type ChainVersion, TOMBSTONE_CODEC } from './chain-encoder.ts'

/** Bounds of what {@link encodeChains} puts into one record. */
export interface ChainOptions {
  /** At most so many versions a record. Default: 256. */
  readonly maxVersions?: number | undefined
  /**
   * At most so many bytes, beyond the newest payload and before compression, that a read of the record decompresses.
   * Default: 64 KiB.
   */
  readonly maxEditBytes?: number | undefined
  /**
   * At most so many bytes of distinct payloads in all (but two may always meet): the memory it takes to rewrite the
   * record. Default: 32 MiB.
   */
  readonly maxPayloadBytes?: number | undefined
}

/** A record that {@link encodeChains} made. */
export interface EncodedChain {
  /** Birth of the oldest version in the record. */
  readonly firstBirth: number
  readonly record: Uint8Array
}

/** What the index of a chain record says of a version. */
export interface ChainIndexEntry {
  readonly birth: number
  /** Codec of the payload; {@link TOMBSTONE_CODEC} for a deletion. */
  readonly codec: number
  /** Length of the payload in bytes. */
  readonly size: number
}

/**
 * A chain record, opened. Versions are numbered from the oldest, 0.
 *
 * Opening verifies the record and reads its table; the body is decompressed when a payload or a size is first asked
 * for, and kept. So an opened chain is what to cache.
 */
export interface Chain {
  /** Births of the versions, ascending. */
  readonly births: readonly number[]
  /** Codecs of the versions' payloads; {@link TOMBSTONE_CODEC} for a deletion. */
  readonly codecs: readonly number[]
  /** About how many bytes of memory the chain takes once it has been read from. */
  readonly memoryBytes: number
  /** The number of the version with the greatest birth at or below `birth`; -1 if all are younger. */
  indexAt(birth: number): number
  /** Length of the payload of version `index`, in bytes. */
  sizeOf(index: number): number
  /** The payload of version `index`, in memory of its own. */
  payload(index: number): Uint8Array
  /** All versions, oldest first. Equal payloads may share memory. */
  versions(): ChainVersion[]
  /** The body, decompressed: with it, {@link reopenChain} opens the same record in a fraction of the time. */
  body(): Uint8Array
}

const DEFAULT_BOUNDS: ChainBounds = {
  maxVersions: 256,
  maxEditBytes: 1 << 16,
  maxPayloadBytes: 1 << 25,
}
const UNBOUNDED: ChainBounds = {
  maxVersions: Number.POSITIVE_INFINITY,
  maxEditBytes: Number.POSITIVE_INFINITY,
  maxPayloadBytes: Number.POSITIVE_INFINITY,
}

/**
 * Packs versions of one key, oldest first, into one record, however many they are.
 *
 * @throws {InvalidArgumentError} when there is no version, births do not ascend, or the payloads take more than a
 * record can hold (1 GiB, what they have in common counted once).
 */
export function encodeChain(versions: readonly ChainVersion[]): Uint8Array {
  if (versions.length === 0) throw new InvalidArgumentError('A chain record needs at least one version.')
  const encoder = new ChainEncoder(UNBOUNDED)
  for (let i = versions.length - 1; i >= 0; i--) encoder.add(versions[i] as ChainVersion)
  return encoder.finish()
}

/**
 * Packs versions of one key, oldest first, into as few records as the bounds allow, oldest first.
 *
 * Records are filled from the newest version on: what a record must hold anyway is its newest payload.
 *
 * @throws {InvalidArgumentError} when births do not ascend, or an option is not a whole number of at least 1.
 */
export function encodeChains(versions: readonly ChainVersion[], options: ChainOptions = {}): EncodedChain[] {
  const steps = encodeChainsStepwise(versions, options)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** {@link encodeChains} in small steps, for callers that have others to serve: it yields after each version. */
export function* encodeChainsStepwise(
  versions: readonly ChainVersion[],
  options: ChainOptions = {},
): Generator<void, EncodedChain[], undefined> {
  const given = checkOptions<ChainOptions>(
    options,
    { maxVersions: positiveInteger, maxEditBytes: positiveInteger, maxPayloadBytes: positiveInteger },
    'encodeChains()',
  )
  const bounds = { ...DEFAULT_BOUNDS, ...given } as ChainBounds
  const chains: EncodedChain[] = []
  for (let i = versions.length - 1; i >= 0; ) {
    const encoder = new ChainEncoder(bounds)
    while (i >= 0 && encoder.add(versions[i] as ChainVersion)) {
      i--
      yield
    }
    chains.push({ firstBirth: encoder.firstBirth, record: encoder.finish() })
  }
  return chains.reverse()
}

/**
 * Births, codecs and sizes of the versions in a record, oldest first, without building a payload.
 *
 * @throws {DataIntegrityError} when the record is damaged.
 */
export function decodeChainIndex(record: Uint8Array): ChainIndexEntry[] {
  const chain = openChain(record)
  return chain.births.map((birth, i) => ({
    birth,
    codec: chain.codecs[i] as number,
    size: chain.sizeOf(i),
  }))
}

/**
 * The version with the greatest birth at or below `birth`, or `undefined` if all are younger.
 *
 * @throws {DataIntegrityError} when the record is damaged.
 */
export function readChainAt(record: Uint8Array, birth: number): ChainVersion | undefined {
  const chain = openChain(record)
  const index = chain.indexAt(birth)
  if (index < 0) return undefined
  return {
    birth: chain.births[index] as number,
    codec: chain.codecs[index] as number,
    payload: chain.payload(index),
  }
}

/**
 * All versions in a record, oldest first. Equal payloads may share memory.
 *
 * @throws {DataIntegrityError} when the record is damaged.
 */
export function readChain(record: Uint8Array): ChainVersion[] {
  return openChain(record).versions()
}

/**
 * The record without the versions of the given births, or `undefined` when none is left. Births that the record
 * does not hold are passed over; a record that loses nothing is returned as it is.
 *
 * @throws {DataIntegrityError} when the record is damaged.
 */
export function removeFromChain(record: Uint8Array, births: Iterable<number>): Uint8Array | undefined {
  const removed = new Set(births)
  const versions = readChain(record)
  const kept = versions.filter(version => !removed.has(version.birth))
  if (kept.length === versions.length) return record
  return kept.length === 0 ? undefined : encodeChain(kept)
}

/**
 * Opens a record to read from it, once or many times.
 *
 * @throws {DataIntegrityError} when the record is damaged; reading payloads may throw the same.
 */
export function openChain(record: Uint8Array): Chain {
  if (record.length < AFTER_CHECKSUM) throw damaged('it is shorter than its header')
  const bytes = asBuffer(record)
  const format = bytes.readUInt8(0)
  if (format !== CHAIN_FORMAT) throw damaged(`its format is ${format}, and only ${CHAIN_FORMAT} is known`)
  if (bytes.readUInt32LE(CHECKSUM_AT) !== chainChecksum(record)) throw damaged('its checksum is wrong')
  return openChecked(record, undefined)
}

/** Opens a record that {@link openChain} has opened before, and nobody has changed since, with the body that it had. */
export function reopenChain(record: Uint8Array, body: Uint8Array): Chain {
  return openChecked(record, body)
}

function openChecked(record: Uint8Array, decompressed: Uint8Array | undefined): Chain {
  const header = readHeader(record)
  const table = readTable(header)
  let body: Body | undefined
  const loaded = (): Body => {
    body ??= readBody(header, table, decompressed ?? decompressBody(header))
    return body
  }
  const payloadOf = (value: number): Uint8Array =>
    value < 0 ? EMPTY_BYTES : buildValue(loaded(), table, value)
  return {
    births: table.births,
    codecs: table.codecs,
    memoryBytes: header.bodyLength + 48 * (table.births.length + table.bases.length),
    indexAt: birth => floorIndex(table.births, birth),
    sizeOf: index => {
      const value = valueAt(table, index)
      return value < 0 ? 0 : (loaded().sizes[value] as number)
    },
    payload: index => payloadOf(valueAt(table, index)),
    versions: () => {
      const payloads = buildAllValues(loaded(), table)
      return table.births.map((birth, i) => ({
        birth,
        codec: table.codecs[i] as number,
        payload: payloads[table.values[i] as number] ?? EMPTY_BYTES,
      }))
    },
    body: () => loaded().bytes,
  }
}

interface Header {
  readonly count: number
  readonly newest: number
  readonly firstCodec: number
  readonly compression: number
  readonly bodyLength: number
  readonly literalLength: number
  /** Stands at the table, whose end is where the compressed body begins. */
  readonly reader: VarintReader
}

interface Table {
  readonly births: number[]
  readonly codecs: number[]
  /** For each version its value, or -1. */
  readonly values: number[]
  /** For each value the one it is made of; the first has none, and -1 here. */
  readonly bases: number[]
}

interface Body {
  readonly bytes: Uint8Array
  /** For each value: its length, and where its edits and its literals are in the body. */
  readonly sizes: number[]
  readonly edits: number[]
  readonly numbersAt: number[]
  readonly literalsAt: number[]
}

function readHeader(record: Uint8Array): Header {
  const reader = new VarintReader(record, AFTER_CHECKSUM)
  const count = reader.next()
  const newest = reader.next()
  const firstCodec = reader.take(1)[0] as number
  const bodyLength = reader.next()
  const literalLength = reader.next()
  // Each version has a byte in the table at least.
  if (count === 0 || count > reader.end - reader.offset)
    throw damaged('it declares versions it has no room for')
  if (bodyLength > MAX_LENGTH || literalLength > bodyLength) throw damaged('it declares an impossible length')
  return { count, newest, firstCodec, compression: record[1] as number, bodyLength, literalLength, reader }
}

function readTable({ count, newest, firstCodec, reader }: Header): Table {
  const { bytes } = reader
  const births = new Array<number>(count)
  const codecs = new Array<number>(count)
  const values = new Array<number>(count)
  const bases: number[] = []
  const valueCodecs: number[] = []
  const recent: number[] = []
  let birth = newest
  for (let i = count - 1; i >= 0; i--) {
    if (reader.done) throw damaged('its table ends too early')
    const row = bytes[reader.offset++] as number
    const source = row & 7
    if (i < count - 1) {
      const gap = row >>> 3 || reader.next()
      if (gap === 0 || gap > birth) throw damaged('its births do not ascend')
      birth -= gap
    }
    births[i] = birth
    if (source === ROW.tombstone) {
      codecs[i] = TOMBSTONE_CODEC
      values[i] = -1
      continue
    }
    let value: number | undefined
    let base: number | undefined
    let codec: number | undefined
    if (source === ROW.named) {
      const named = reader.next()
      base = Math.floor(named / 2)
      if (base >= bases.length) throw damaged('a version in it names another that is not there')
      if (named % 2 === 0) value = base
      else codec = reader.take(1)[0]
    } else if (source >= ROW.repeated) {
      value = recent[source - ROW.repeated + REPEATED_RANKS.first]
      if (value === undefined) throw damaged('a version in it repeats another that is not there')
    } else if (bases.length === 0) {
      base = -1
      codec = firstCodec
    } else {
      base = recent[source - ROW.edited]
      if (base === undefined) throw damaged('a version in it edits another that is not there')
      codec = valueCodecs[base]
    }
    if (value === undefined) {
      value = bases.length
      bases.push(base as number)
      valueCodecs.push(codec as number)
    }
    touchRecent(recent, value)
    values[i] = value
    codecs[i] = valueCodecs[value] as number
  }
  return { births, codecs, values, bases }
}

/** The reader of the header stands behind the table. */
function decompressBody({ reader, compression, bodyLength }: Header): Uint8Array {
  if (compression === COMPRESSION.deflate) throw damaged('its compression is not one that records have')
  return decompressBytes(compression, reader.bytes.subarray(reader.offset, reader.end), bodyLength)
}

/** Checks every edit in the body, so that building a payload needs no check of its own. */
function readBody({ literalLength }: Header, { bases }: Table, bytes: Uint8Array): Body {
  const numbers = new VarintReader(bytes, literalLength)
  const sizes: number[] = []
  const edits: number[] = []
  const numbersAt: number[] = []
  const literalsAt: number[] = []
  let literal = 0
  for (let value = 0; value < bases.length; value++) {
    const first = numbers.next()
    edits.push(first)
    numbersAt.push(numbers.offset)
    literalsAt.push(literal)
    if (value === 0) {
      sizes.push(first)
      literal += first
    } else {
      const base = bases[value] as number
      const totals = checkEdits(numbers, first, sizes[base] as number, MAX_LENGTH)
      sizes.push(totals.length)
      literal += totals.inserted
    }
    if (literal > literalLength) throw damaged('its edits insert more than it holds')
  }
  if (literal !== literalLength || !numbers.done) throw damaged('it holds more than its versions need')
  return { bytes, sizes, edits, numbersAt, literalsAt }
}

/** Builds one value in memory of its own: the first one's literals, and the scripts that lead from there to it. */
function buildValue(body: Body, { bases }: Table, value: number): Uint8Array {
  const path: number[] = []
  for (let v = value; v > 0; v = bases[v] as number) path.push(v)
  let room = body.sizes[0] as number
  for (const v of path) room = Math.max(room, body.sizes[v] as number)
  let current: Uint8Array = Buffer.allocUnsafeSlow(room)
  let other: Uint8Array | undefined
  current.set(body.bytes.subarray(0, body.sizes[0]))
  const numbers = new VarintReader(body.bytes)
  let length = body.sizes[0] as number
  for (let i = path.length - 1; i >= 0; i--) {
    const step = path[i] as number
    const edits = body.edits[step] as number
    const literals = body.bytes.subarray(body.literalsAt[step])
    numbers.offset = body.numbersAt[step] as number
    if (edits === 1) applyEditInPlace(current, length, numbers, literals)
    else if (edits > 1) {
      other ??= Buffer.allocUnsafeSlow(room)
      applyEdits(current, length, numbers, edits, literals, other)
      const swap = current
      current = other
      other = swap
    }
    length = body.sizes[step] as number
  }
  return current.subarray(0, length)
}

/** Builds every value once, each from its base. */
function buildAllValues(body: Body, { bases }: Table): Uint8Array[] {
  const numbers = new VarintReader(body.bytes)
  const payloads: Uint8Array[] = []
  for (let value = 0; value < bases.length; value++) {
    const payload = Buffer.allocUnsafe(body.sizes[value] as number)
    const literals = body.bytes.subarray(body.literalsAt[value])
    if (value === 0) payload.set(literals.subarray(0, payload.length))
    else {
      const base = payloads[bases[value] as number] as Uint8Array
      numbers.offset = body.numbersAt[value] as number
      applyEdits(base, base.length, numbers, body.edits[value] as number, literals, payload)
    }
    payloads.push(payload)
  }
  return payloads
}

/** The last index whose birth is at or below `birth`, or -1. */
function floorIndex(births: readonly number[], birth: number): number {
  return partitionPoint(births.length, i => (births[i] as number) <= birth) - 1
}

function valueAt(table: Table, index: number): number {
  const value = table.values[index]
  if (value !== undefined) return value
  throw new InvalidArgumentError(`The chain has versions 0 to ${table.values.length - 1}, and no ${index}.`)
}

function damaged(reason: string): DataIntegrityError {
  return new DataIntegrityError(`The chain record is damaged: ${reason}.`)
}
