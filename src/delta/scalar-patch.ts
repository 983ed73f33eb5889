import { asBuffer } from '../core/bytes.ts'
import { MAX_PATCH_DEPTH } from './create-patch.ts'
import { commonPrefix, commonSuffix } from './edit-script.ts'
import type { JsonPatchOperation } from './json-patch.ts'
import { escapeToken } from './json-pointer.ts'

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSE_BRACKET = 0x5d
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d

/**
 * What `createPatch` answers for two JSON texts, as `JSON.stringify` writes them, that differ in one number, string,
 * boolean or null, with nothing but objects around it: one operation. `undefined` where they have to be parsed to know.
 *
 * Most changes are of this sort: a counter, a state, a time. What the texts have in common at both ends tells where it
 * is, and going through one of them up to there under which names.
 */
export function scalarPatch(before: Uint8Array, after: Uint8Array): JsonPatchOperation[] | undefined {
  if (before[0] !== OPEN_BRACE) return undefined
  const same = commonPrefix(before, after)
  const names: string[] = []
  let at = 1
  for (;;) {
    const nameEnd = before[at] === QUOTE ? stringEnd(before, at) : before.length
    if (nameEnd >= same || before[nameEnd] !== COLON) return undefined
    const start = nameEnd + 1
    if (before[start] === OPEN_BRACE && before[start + 1] === QUOTE && start + 1 < same) {
      names.push(nameAt(before, at, nameEnd))
      if (names.length >= MAX_PATCH_DEPTH) return undefined
      at = start + 1
      continue
    }
    const end = valueEnd(before, start)
    // A number may go on in the other text.
    if (end >= same) {
      names.push(nameAt(before, at, nameEnd))
      return replacement(before, after, names, start, end)
    }
    for (at = end; at < same && before[at] === CLOSE_BRACE; at++) {
      if (names.pop() === undefined) return undefined
    }
    if (at >= same || before[at] !== COMMA) return undefined
    at++
  }
}

/** The operation, if the texts differ in nothing but the value that begins at `start`, and that is a scalar in both. */
function replacement(
  before: Uint8Array,
  after: Uint8Array,
  names: readonly string[],
  start: number,
  end: number,
): JsonPatchOperation[] | undefined {
  if (isOpening(before[start]) || isOpening(after[start])) return undefined
  const afterEnd = valueEnd(after, start)
  const rest = before.length - end
  if (after.length - afterEnd !== rest || commonSuffix(before, after, rest) !== rest) return undefined
  try {
    const value: unknown = JSON.parse(textOf(after, start, afterEnd))
    return [{ op: 'replace', path: names.map(name => `/${escapeToken(name)}`).join(''), value }]
  } catch {
    // Not what was written: parsing all of it tells what is wrong.
    return undefined
  }
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return asBuffer(bytes).toString('utf8', start, end)
}

/** The name between two quotes. */
function nameAt(bytes: Uint8Array, start: number, end: number): string {
  const text = textOf(bytes, start + 1, end - 1)
  return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text
}

/** Past the string that begins with the quote at `start`. */
function stringEnd(bytes: Uint8Array, start: number): number {
  for (let i = start + 1; i < bytes.length; i++) {
    const byte = bytes[i]
    if (byte === QUOTE) return i + 1
    if (byte === BACKSLASH) i++
  }
  return bytes.length
}

/** Past the value that begins at `start`. */
function valueEnd(bytes: Uint8Array, start: number): number {
  const first = bytes[start]
  if (first === QUOTE) return stringEnd(bytes, start)
  if (isOpening(first)) return containerEnd(bytes, start)
  let end = start
  while (end < bytes.length && bytes[end] !== COMMA && !isClosing(bytes[end])) end++
  return end
}

function containerEnd(bytes: Uint8Array, start: number): number {
  let depth = 0
  for (let i = start; i < bytes.length; i++) {
    const byte = bytes[i]
    if (byte === QUOTE) i = stringEnd(bytes, i) - 1
    else if (isOpening(byte)) depth++
    else if (isClosing(byte) && --depth === 0) return i + 1
  }
  return bytes.length
}

function isOpening(byte: number | undefined): boolean {
  return byte === OPEN_BRACE || byte === OPEN_BRACKET
}

function isClosing(byte: number | undefined): boolean {
  return byte === CLOSE_BRACE || byte === CLOSE_BRACKET
}
