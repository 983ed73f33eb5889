import { bytesEqual } from '../core/bytes.ts'
import { DataIntegrityError, DeltaError } from '../core/errors.ts'
import { decodeValue, encodeValue } from '../core/value-codec.ts'
import { VarintReader } from '../core/varint.ts'
import { ByteWriter } from './byte-writer.ts'
import { compressBytes, decompressBytes } from './compression.ts'
import { applyPatch, createPatch, type JsonPatchOperation } from './json-patch.ts'
import { decodeState, type EncodedState, encodeState, isValue } from './state-codec.ts'

/*
 * The body of a structural delta: a JSON Patch, in few bytes.
 *
 *   byte    codec of the patch, as a value
 *   byte    compression of the rest
 *   varint  length of the patch before compression
 *   patch   an array of operations: ["+", path, value], ["=", path, value], ["-", path] and [">", path], which add,
 *           replace, remove, and make a property the last one of its object
 */

/** The longest patch that is read, in bytes. */
const MAX_PATCH_BYTES = 2 ** 30

type PackedOperation = readonly ['+' | '=', path: string, value: unknown] | readonly ['-' | '>', path: string]

/** The patch that makes the value `target` of the value `base`, or `undefined` where that cannot be had exactly. */
export function encodeStructuralBody(base: EncodedState, target: EncodedState): Uint8Array | undefined {
  if (!isValue(base) || !isValue(target)) return undefined
  const before = decodeState(base)
  const patch = createPatch(before, decodeState(target), { keepOrder: true })
  // A later delta may be made of the very bytes, so they must come back, not only an equal value.
  if (!isSame(encodeState(applyPatch(before, patch)), target)) return undefined
  return encodeStructuralPatch(patch)
}

/** The body of a patch of the operations that `createPatch` makes. */
export function encodeStructuralPatch(patch: readonly JsonPatchOperation[]): Uint8Array {
  const encoded = encodeValue(patch.map(packOperation))
  const { compression, bytes } = compressBytes(encoded.bytes)
  const body = new ByteWriter(bytes.length + 16)
  body.byte(encoded.codec)
  body.byte(compression)
  body.varint(encoded.bytes.length)
  body.bytes(bytes)
  return body.view()
}

/** The patch of a body. @throws {DataIntegrityError} if it is damaged */
export function openStructuralBody(body: Uint8Array): JsonPatchOperation[] {
  const reader = new VarintReader(body)
  const codec = reader.take(1)[0] as number
  const compression = reader.take(1)[0] as number
  const length = reader.next()
  if (length > MAX_PATCH_BYTES) throw damaged(`it declares a patch of ${length} bytes`)
  const packed = reader.take(reader.end - reader.offset)
  const patch = decodeValue(codec, decompressBytes(compression, packed, length))
  if (!Array.isArray(patch)) throw damaged('it holds no list of operations')
  return patch.map(unpackOperation)
}

/** What the body makes of the base. @throws {DataIntegrityError} if it is damaged, as far as that shows */
export function applyStructuralBody(base: EncodedState, body: Uint8Array): EncodedState {
  const patch = openStructuralBody(body)
  try {
    return encodeState(applyPatch(decodeState(base), patch))
  } catch (cause) {
    if (!(cause instanceof DeltaError)) throw cause
    throw new DataIntegrityError('A structural delta is damaged: it does not fit its base.', { cause })
  }
}

function packOperation(operation: JsonPatchOperation): PackedOperation {
  switch (operation.op) {
    case 'add':
      return ['+', operation.path, operation.value]
    case 'replace':
      return ['=', operation.path, operation.value]
    case 'remove':
      return ['-', operation.path]
    case 'move':
      if (operation.from === operation.path) return ['>', operation.path]
  }
  throw new DeltaError(`A structural delta has no operation "${operation.op}".`)
}

function unpackOperation(packed: unknown): JsonPatchOperation {
  const [kind, path, value] = Array.isArray(packed) ? packed : []
  if (typeof path !== 'string') throw damaged('one of its operations has no path')
  switch (kind) {
    case '+':
      return { op: 'add', path, value }
    case '=':
      return { op: 'replace', path, value }
    case '-':
      return { op: 'remove', path }
    case '>':
      return { op: 'move', from: path, path }
    default:
      throw damaged('it has an operation that is not known')
  }
}

function isSame(a: EncodedState, b: EncodedState): boolean {
  return a.codec === b.codec && bytesEqual(a.bytes, b.bytes)
}

function damaged(reason: string): DataIntegrityError {
  return new DataIntegrityError(`A structural delta is damaged: ${reason}.`)
}
