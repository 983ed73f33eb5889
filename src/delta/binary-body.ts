import { DataIntegrityError } from '../core/errors.ts'
import { MAX_VARINT_BYTES, VarintReader, varintLength } from '../core/varint.ts'
import { ByteWriter, foldSign } from './byte-writer.ts'
import {
  COMPRESSION,
  compressBytes,
  decompressBytes,
  MAX_DICTIONARY_BYTES,
  MIN_COMPRESSIBLE,
} from './compression.ts'
import { applyEdits, checkEdits, writeEdit } from './edit-codec.ts'
import { diffBytes, type EmitEdit } from './edit-script.ts'

/*
 * The body of a binary delta: an edit script, without any word on what it applies to.
 *
 *   byte    compression of the rest
 *   varint  length of the script before compression
 *   varint  with compression `deflate` only: where in the base its dictionary starts
 *   script  varint: edits; varint: bytes inserted; these bytes, one after the other; three numbers an edit
 */

/** An edit script as it is stored. */
export interface Script {
  readonly edits: number
  /** The bytes inserted, one after the other. */
  readonly literals: Uint8Array
  /** The numbers of the edits, as `writeEdit` writes them. */
  readonly numbers: Uint8Array
}

/**
 * How a body is compressed: not at all, by itself, or with part of the base as dictionary. The last is the smallest for
 * short insertions, and the only one that takes the base to be opened.
 */
export type BodyCompression = 'none' | 'alone' | 'with base'

/** Copies shorter than this on average, among mostly new bytes, are not worth it; see {@link isWorthCopying}. */
const SHORT_COPIES = 128

/** The body of the delta that makes `target` of `base`. */
export function encodeBinaryBody(
  base: Uint8Array,
  target: Uint8Array,
  compression: BodyCompression,
): Uint8Array {
  const { script, firstEdit } = findScript(base, target)
  return encodeScript(script, compression, base, firstEdit)
}

/** How long the body is that {@link encodeBinaryBody} makes with the compression `alone`: most are not made for it. */
export function binaryBodyLength(base: Uint8Array, target: Uint8Array): number {
  let edits = 0
  let inserted = 0
  let numbers = 0
  const count: EmitEdit = (copy, insertStart, insertEnd, skip) => {
    const length = insertEnd - insertStart
    edits++
    inserted += length
    numbers += varintLength(copy) + varintLength(length) + varintLength(foldSign(length - skip))
  }
  diffBytes(base, target, count)
  const isWorth = isWorthCopying(target.length, inserted, edits)
  const length = varintLength(edits) + varintLength(inserted) + inserted + numbers
  if (length < MIN_COMPRESSIBLE && isWorth) return 1 + varintLength(length) + length
  const script = isWorth ? writeScript(base, target, inserted, numbers).script : insertion(base, target)
  return encodeScript(script, 'alone', undefined, 0).length
}

/** The body of a script that is known already. */
export function encodeScriptBody(script: Script): Uint8Array {
  return encodeScript(script, 'alone', undefined, 0)
}

/** The script of a body, or `undefined` if that takes the base. @throws {DataIntegrityError} if it is damaged */
export function openBinaryBody(body: Uint8Array): Script | undefined {
  return body[0] === COMPRESSION.deflate ? undefined : decodeScript(body, Number.POSITIVE_INFINITY)
}

/**
 * What the body makes of the base, which must be the one it was made for.
 *
 * @param length The length of the result, which no more memory is taken than for.
 * @throws {DataIntegrityError} if the body is damaged, as far as that shows
 */
export function applyBinaryBody(base: Uint8Array, body: Uint8Array, length: number): Uint8Array {
  const { edits, literals, numbers } = decodeScript(body, scriptBound(base, length), base)
  const reader = new VarintReader(numbers)
  const totals = checkEdits(reader, edits, base.length, length)
  if (totals.length !== length || totals.inserted !== literals.length || !reader.done) {
    throw new DataIntegrityError(
      `A binary delta is damaged: its edits do not make the ${length} bytes declared.`,
    )
  }
  const result = Buffer.allocUnsafeSlow(length)
  reader.offset = 0
  applyEdits(base, base.length, reader, edits, literals, result)
  return result
}

/** No script that makes so long a result is longer: each edit copies or inserts something, or is the only one. */
function scriptBound(base: Uint8Array, length: number): number {
  return 32 * (length + base.length) + 64
}

interface FoundScript {
  readonly script: Script
  /** Where the first edit is in the base. */
  readonly firstEdit: number
}

function findScript(base: Uint8Array, target: Uint8Array): FoundScript {
  const found = writeScript(base, target)
  const { literals, edits } = found.script
  if (isWorthCopying(target.length, literals.length, edits)) return found
  return { script: insertion(base, target), firstEdit: 0 }
}

/** The edits that make the target of the base. Their lengths, where they are known, save memory that grows. */
function writeScript(
  base: Uint8Array,
  target: Uint8Array,
  literalBytes?: number,
  numberBytes?: number,
): FoundScript {
  const literals = new ByteWriter(literalBytes)
  const numbers = new ByteWriter(numberBytes && numberBytes + MAX_VARINT_BYTES)
  let edits = 0
  let firstEdit = 0
  diffBytes(base, target, (copy, insertStart, insertEnd, skip) => {
    if (edits++ === 0) firstEdit = copy
    literals.bytes(target, insertStart, insertEnd)
    writeEdit(numbers, copy, insertEnd - insertStart, skip)
  })
  return { script: { edits, literals: literals.view(), numbers: numbers.view() }, firstEdit }
}

/** The script that copies nothing. */
function insertion(base: Uint8Array, target: Uint8Array): Script {
  const numbers = new ByteWriter(3 * MAX_VARINT_BYTES)
  writeEdit(numbers, 0, target.length, base.length)
  return { edits: 1, literals: target, numbers: numbers.view() }
}

/**
 * Whether copying is better than inserting all of the target: unrelated values of one kind share many short phrases,
 * and a compressor makes more of those than a script that names each.
 */
function isWorthCopying(length: number, inserted: number, edits: number): boolean {
  return inserted * 2 <= length || length - inserted >= edits * SHORT_COPIES
}

function encodeScript(
  { edits, literals, numbers }: Script,
  how: BodyCompression,
  base: Uint8Array | undefined,
  firstEdit: number,
): Uint8Array {
  const script = new ByteWriter(literals.length + numbers.length + 16)
  script.varint(edits)
  script.varint(literals.length)
  script.bytes(literals)
  script.bytes(numbers)

  const dictionaryAt = base === undefined ? 0 : dictionaryStart(base, firstEdit)
  const dictionary = base === undefined || how !== 'with base' ? undefined : dictionaryOf(base, dictionaryAt)
  const { compression, bytes } =
    how === 'none'
      ? { compression: COMPRESSION.stored, bytes: script.view() }
      : compressBytes(script.view(), dictionary)

  const body = new ByteWriter(bytes.length + 16)
  body.byte(compression)
  body.varint(script.length)
  if (compression === COMPRESSION.deflate) body.varint(dictionaryAt)
  body.bytes(bytes)
  return body.view()
}

function decodeScript(body: Uint8Array, maxLength: number, base?: Uint8Array): Script {
  const reader = new VarintReader(body)
  const compression = reader.take(1)[0] as number
  const length = reader.next()
  if (length > maxLength) {
    throw new DataIntegrityError(`A binary delta is damaged: it declares a script of ${length} bytes.`)
  }
  const dictionary =
    compression === COMPRESSION.deflate && base !== undefined ? dictionaryOf(base, reader.next()) : undefined
  const packed = reader.take(reader.end - reader.offset)
  const script = new VarintReader(decompressBytes(compression, packed, length, dictionary))
  const edits = script.next()
  const literals = script.take(script.next())
  return { edits, literals, numbers: script.take(script.end - script.offset) }
}

/** The dictionary: what surrounds the first edit, since inserted bytes mostly resemble their neighbourhood. */
function dictionaryStart(base: Uint8Array, firstEdit: number): number {
  const centred = firstEdit - MAX_DICTIONARY_BYTES / 2
  return Math.max(0, Math.min(centred, base.length - MAX_DICTIONARY_BYTES))
}

function dictionaryOf(base: Uint8Array, start: number): Uint8Array | undefined {
  const dictionary = base.subarray(start, start + MAX_DICTIONARY_BYTES)
  return dictionary.length === 0 ? undefined : dictionary
}
