import { copyBytes } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import type { VarintReader } from '../core/varint.ts'
import { type ByteWriter, foldSign, unfoldSign } from './byte-writer.ts'

/*
 * The stored form of an edit script: three numbers an edit, apart from the bytes that it inserts, since both compress
 * better among their own kind. The numbers are how much is copied, how much is inserted, and by how much the edit
 * makes the result longer: zero for a value that changed in place, whatever its length.
 */

/** Appends the numbers of one edit. The inserted bytes are kept elsewhere. */
export function writeEdit(numbers: ByteWriter, copy: number, inserted: number, skip: number): void {
  numbers.varint(copy)
  numbers.varint(inserted)
  numbers.varint(foldSign(inserted - skip))
}

/** What a script makes of its base. */
export interface EditTotals {
  /** Length of the result in bytes. */
  readonly length: number
  /** Bytes taken from the literals. */
  readonly inserted: number
}

/**
 * Reads past the numbers of `count` edits and checks every one, without touching any other bytes.
 *
 * @param maxLength The longest result to allow, in bytes.
 * @throws {DataIntegrityError} when an edit reaches outside the base, or the result would be too long.
 */
export function checkEdits(
  numbers: VarintReader,
  count: number,
  baseLength: number,
  maxLength: number,
): EditTotals {
  let position = 0
  let length = 0
  let inserted = 0
  for (let i = 0; i < count; i++) {
    const copy = numbers.next()
    const insert = numbers.next()
    const skip = insert - unfoldSign(numbers.next())
    position += copy
    if (position > baseLength) throw outside()
    position += skip
    if (position < 0 || position > baseLength) throw outside()
    inserted += insert
    length += copy + insert
    if (length > maxLength) throw tooLong(maxLength)
  }
  length += baseLength - position
  if (length > maxLength) throw tooLong(maxLength)
  return { length, inserted }
}

/**
 * Applies a script that {@link checkEdits} has passed to the first `baseLength` bytes of `base`; the result fills the
 * start of `target`, which must have room for it and share no memory with `base`.
 */
export function applyEdits(
  base: Uint8Array,
  baseLength: number,
  numbers: VarintReader,
  count: number,
  literals: Uint8Array,
  target: Uint8Array,
): void {
  let from = 0
  let literal = 0
  let to = 0
  for (let i = 0; i < count; i++) {
    const copy = numbers.next()
    const insert = numbers.next()
    const skip = insert - unfoldSign(numbers.next())
    copyBytes(base, from, from + copy, target, to)
    copyBytes(literals, literal, literal + insert, target, to + copy)
    from += copy + skip
    literal += insert
    to += copy + insert
  }
  copyBytes(base, from, baseLength, target, to)
}

/**
 * As {@link applyEdits} for a script of one edit, in place: of the base only what comes after the edit moves, and that
 * only when lengths change.
 */
export function applyEditInPlace(
  bytes: Uint8Array,
  baseLength: number,
  numbers: VarintReader,
  literals: Uint8Array,
): void {
  const copy = numbers.next()
  const insert = numbers.next()
  const growth = unfoldSign(numbers.next())
  if (growth !== 0) bytes.copyWithin(copy + insert, copy + insert - growth, baseLength)
  copyBytes(literals, 0, insert, bytes, copy)
}

function outside(): DataIntegrityError {
  return new DataIntegrityError(
    'A stored edit reaches outside of its base; the record that holds it is damaged.',
  )
}

function tooLong(maxLength: number): DataIntegrityError {
  return new DataIntegrityError(
    `Stored edits would make a result of more than the ${maxLength} bytes declared or allowed; their record is damaged.`,
  )
}
