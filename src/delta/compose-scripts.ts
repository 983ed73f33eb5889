import { partitionPoint } from '../core/partition-point.ts'
import { VarintReader } from '../core/varint.ts'
import type { Script } from './binary-body.ts'
import { ByteWriter, unfoldSign } from './byte-writer.ts'
import { checkEdits, writeEdit } from './edit-codec.ts'

/** A run of the bytes that a script makes: copied from its base, or inserted by it. */
interface Piece {
  readonly length: number
  readonly inserted: boolean
  /** Where the run is, in the base or in the script's literals. */
  readonly at: number
}

/** More pieces than the scripts have together, by this factor: composing does not pay. */
const MAX_GROWTH = 4

/**
 * The script that does what `first` and then `second` do, without their base at hand.
 *
 * @param lengths The lengths of the base of the first, of its result, and of the result of the second.
 * @returns `undefined` where the composed script would be far longer than both: when the second copies much of what the
 * first has cut to pieces, again and again.
 * @throws {DataIntegrityError} if a script does not fit the lengths
 */
export function composeScripts(
  first: Script,
  second: Script,
  lengths: readonly [base: number, middle: number, result: number],
): Script | undefined {
  const [base, middle, result] = lengths
  const middlePieces = piecesOf(first, base, middle)
  const starts = startsOf(middlePieces)
  const pieces: (Piece & { readonly literals: Uint8Array })[] = []
  const limit = MAX_GROWTH * (first.edits + second.edits + 16)
  for (const piece of piecesOf(second, middle, result)) {
    if (piece.inserted) pieces.push({ ...piece, literals: second.literals })
    else {
      for (const part of cut(middlePieces, starts, piece.at, piece.at + piece.length)) {
        pieces.push({ ...part, literals: first.literals })
      }
    }
    if (pieces.length > limit) return undefined
  }
  return toScript(pieces, base)
}

/** The result of a script, in pieces. */
function piecesOf(script: Script, baseLength: number, length: number): Piece[] {
  const numbers = new VarintReader(script.numbers)
  checkEdits(numbers, script.edits, baseLength, length)
  numbers.offset = 0
  const pieces: Piece[] = []
  let from = 0
  let literal = 0
  const push = (length: number, inserted: boolean, at: number): void => {
    if (length > 0) pieces.push({ length, inserted, at })
  }
  for (let i = 0; i < script.edits; i++) {
    const copy = numbers.next()
    const insert = numbers.next()
    const growth = unfoldSign(numbers.next())
    push(copy, false, from)
    push(insert, true, literal)
    from += copy + insert - growth
    literal += insert
  }
  push(baseLength - from, false, from)
  return pieces
}

function startsOf(pieces: readonly Piece[]): number[] {
  let start = 0
  return pieces.map(({ length }) => {
    start += length
    return start - length
  })
}

/** The pieces, or parts of them, that make up `[start … end)`. */
function* cut(
  pieces: readonly Piece[],
  starts: readonly number[],
  start: number,
  end: number,
): Generator<Piece> {
  const first = partitionPoint(starts.length, i => (starts[i] as number) <= start) - 1
  for (let i = first, at = start; at < end; i++) {
    const piece = pieces[i] as Piece
    const skipped = at - (starts[i] as number)
    const length = Math.min(piece.length - skipped, end - at)
    yield { length, inserted: piece.inserted, at: piece.at + skipped }
    at += length
  }
}

/** Edits that make the pieces, one after the other. */
function toScript(
  pieces: readonly (Piece & { readonly literals: Uint8Array })[],
  baseLength: number,
): Script {
  const literals = new ByteWriter()
  const numbers = new ByteWriter()
  let edits = 0
  // An edit is written when the next copy does not simply go on: it copies `copy` bytes up to `position`.
  let copy = 0
  let position = 0
  let inserted = 0
  const write = (next: number): void => {
    writeEdit(numbers, copy, inserted, next - position)
    edits++
    position = next
    copy = 0
    inserted = 0
  }
  for (const piece of pieces) {
    if (piece.inserted) {
      literals.bytes(piece.literals, piece.at, piece.at + piece.length)
      inserted += piece.length
    } else {
      if (inserted > 0 || piece.at !== position) write(piece.at)
      copy += piece.length
      position += piece.length
    }
  }
  // What is left of the base after the last edit is copied, so that must be nothing, unless the last copy ends there.
  if (inserted > 0 || position !== baseLength) write(baseLength)
  return { edits, literals: literals.view(), numbers: numbers.view() }
}
