import { MAX_VALUE_DEPTH } from '../core/json-exact.ts'

/**
 * The deepest nesting of arrays and objects that is read.
 *
 * JSON sets no bound, and `JSON.parse` needs none; but what comes after it recurses: comparing, encoding, cloning. A
 * stored value is at most `MAX_VALUE_DEPTH` deep. As typed JSON each of its levels takes up to three, those of a Map,
 * and a few more are what a file wraps around it.
 */
const MAX_JSON_DEPTH = 3 * MAX_VALUE_DEPTH + 10

/** What a scan returns where the bytes end before the thing scanned does. */
export const INCOMPLETE = -1

export const QUOTE = 0x22
export const COMMA = 0x2c
export const COLON = 0x3a
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
export const OPEN_BRACE = 0x7b
export const CLOSE_BRACE = 0x7d
export const NEWLINE = 0x0a
const BACKSLASH = 0x5c

/** The white space of JSON: tab, newline, carriage return, space; nothing else. */
const SPACE = byteSet('\t\n\r ')
/** What ends a number, `true`, `false` or `null`. */
const DELIMITER = byteSet('\t\n\r ,:"[]{}')

function byteSet(characters: string): Uint8Array {
  const set = new Uint8Array(256)
  for (const byte of Buffer.from(characters, 'latin1')) set[byte] = 1
  return set
}

const STRING = 1
const OPEN = 2
const CLOSE = 3
const LINE = 4
/** What a byte means inside an array or object, outside of its strings. */
const NESTED = new Uint8Array(256)
NESTED[QUOTE] = STRING
NESTED[OPEN_BRACKET] = OPEN
NESTED[OPEN_BRACE] = OPEN
NESTED[CLOSE_BRACKET] = CLOSE
NESTED[CLOSE_BRACE] = CLOSE
NESTED[NEWLINE] = LINE

/** Inside a string only these are of interest: its end, an escape, and control characters, which are not allowed. */
const STRING_SPECIAL = byteSet('"\\').fill(1, 0, 0x20)

/** A count of lines that scans move on as they pass newlines. */
export interface LineCounter {
  line: number
}

/** The offset of the first byte from `from` on that is not white space, else `end`. */
export function skipSpace(bytes: Uint8Array, from: number, end: number, counter: LineCounter): number {
  let at = from
  while (at < end && SPACE[bytes[at] as number] === 1) {
    if (bytes[at] === NEWLINE) counter.line++
    at++
  }
  return at
}

/**
 * The offset after the string whose opening quote lies just before `from`, or {@link INCOMPLETE}.
 *
 * A raw control character ends the scan as a quote does. No JSON string holds one, so `JSON.parse` refuses what was
 * cut there; and a string that lacks its closing quote does not swallow the rest of a file first.
 */
export function scanString(bytes: Uint8Array, from: number, end: number): number {
  let at = from
  while (at < end) {
    const byte = bytes[at++] as number
    if (STRING_SPECIAL[byte] === 0) continue
    if (byte !== BACKSLASH) return at
    at++
  }
  return INCOMPLETE
}

/**
 * The offset after the value that begins at `from`, or {@link INCOMPLETE}. A number or a name such as `true` is complete
 * once its delimiter is in sight.
 *
 * It finds the extent of a valid value, and counts its lines; it is not a check. What it returns for anything else is
 * an extent that `JSON.parse` refuses: brackets are only counted, and the scan of what is nested too deeply, or of a
 * string with a control character, stops there and then, in the middle of the value.
 */
export function scanValue(bytes: Uint8Array, from: number, end: number, counter: LineCounter): number {
  const first = bytes[from]
  if (first === QUOTE) return scanString(bytes, from + 1, end)
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    let at = from
    while (at < end && DELIMITER[bytes[at] as number] === 0) at++
    return at === end ? INCOMPLETE : at
  }
  let at = from
  let depth = 0
  while (at < end) {
    switch (NESTED[bytes[at++] as number]) {
      case STRING:
        at = scanString(bytes, at, end)
        if (at === INCOMPLETE) return INCOMPLETE
        if (bytes[at - 1] !== QUOTE) return at
        break
      case OPEN:
        if (++depth > MAX_JSON_DEPTH) return at
        break
      case CLOSE:
        if (--depth === 0) return at
        break
      case LINE:
        counter.line++
        break
    }
  }
  return INCOMPLETE
}

/** The first thing that is wrong in some bytes that should be JSON. */
export interface JsonError {
  readonly offset: number
  /** A sentence without its end, such as `expected a value, found ","`. */
  readonly problem: string
  /** Nothing is wrong but that the bytes end. */
  readonly truncated: boolean
}

/** A number, or one of the three names: RFC 8259, sections 3 and 6. */
const SCALAR = /^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/
/** What may follow a backslash: RFC 8259, section 7. */
const ESCAPE = /^(?:["\\/bfnrt]|u[\dA-Fa-f]{4})/

/**
 * Where and why bytes are not JSON: a whole check by RFC 8259, for saying what `JSON.parse` refused. (Its own messages
 * differ between versions and often name no place.) It is a pushdown automaton, so nesting costs no stack.
 *
 * @param bytes Valid UTF-8.
 * @param context What the bytes from `start` on are to be. `document`: one value, and nothing but white space after it.
 * `value`: one value, whatever follows. `members`: members of an object whose opening brace lies before them, up to its
 * closing one, whatever follows.
 * @returns `undefined` where nothing is wrong.
 */
export function findJsonError(
  bytes: Buffer,
  start: number,
  end: number,
  context: 'document' | 'value' | 'members',
): JsonError | undefined {
  const counter = { line: 0 }
  // The closing byte of each array and object that is open.
  const open: number[] = context === 'members' ? [CLOSE_BRACE] : []
  const maxOpen = MAX_JSON_DEPTH + open.length
  let expected: 'value' | 'first element' | 'name' | 'first name' | 'colon' | 'separator' =
    context === 'members' ? 'name' : 'value'

  const wrong = (offset: number, what: string): JsonError =>
    offset < end
      ? {
          offset,
          problem: `expected ${what}, found ${describeToken(bytes, offset, end)}`,
          truncated: false,
        }
      : { offset: end, problem: `expected ${what}, found the end`, truncated: true }

  for (let at = skipSpace(bytes, start, end, counter); ; at = skipSpace(bytes, at, end, counter)) {
    const byte = at < end ? (bytes[at] as number) : undefined
    const closing = open.at(-1)
    switch (expected) {
      case 'separator':
        if (closing === undefined) {
          return context === 'document' && byte !== undefined
            ? wrong(at, 'nothing after the value')
            : undefined
        }
        if (byte === COMMA) {
          expected = closing === CLOSE_BRACE ? 'name' : 'value'
          at++
        } else if (byte === closing) {
          open.pop()
          at++
        } else {
          return wrong(
            at,
            closing === CLOSE_BRACE ? '"," or "}" after a member' : '"," or "]" after an element',
          )
        }
        break
      case 'colon':
        if (byte !== COLON) return wrong(at, '":" after the name of a member')
        expected = 'value'
        at++
        break
      case 'first name':
      case 'name':
        if (byte === QUOTE) {
          const error = findStringError(bytes, at, end)
          if (error !== undefined) return error
          at = scanString(bytes, at + 1, end)
          expected = 'colon'
        } else if (byte === CLOSE_BRACE && expected === 'first name') {
          open.pop()
          at++
          expected = 'separator'
        } else {
          return wrong(at, 'the name of a member, in double quotes')
        }
        break
      case 'first element':
      case 'value':
        if (byte === QUOTE) {
          const error = findStringError(bytes, at, end)
          if (error !== undefined) return error
          at = scanString(bytes, at + 1, end)
          expected = 'separator'
        } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
          if (open.length === maxOpen) {
            const problem = `arrays and objects are nested more than ${MAX_JSON_DEPTH} levels deep, which varve does not read`
            return { offset: at, problem, truncated: false }
          }
          open.push(byte === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET)
          expected = byte === OPEN_BRACE ? 'first name' : 'first element'
          at++
        } else if (byte === CLOSE_BRACKET && expected === 'first element') {
          open.pop()
          at++
          expected = 'separator'
        } else {
          const tokenEnd = scalarEnd(bytes, at, end)
          if (!SCALAR.test(bytes.toString('latin1', at, tokenEnd))) {
            return { ...wrong(at, 'a value'), truncated: tokenEnd === end }
          }
          at = tokenEnd
          expected = 'separator'
        }
        break
    }
  }
}

/** Checks the string whose opening quote is at `start`. */
function findStringError(bytes: Buffer, start: number, end: number): JsonError | undefined {
  for (let at = start + 1; at < end; at++) {
    const byte = bytes[at] as number
    if (byte === QUOTE) return undefined
    if (byte < 0x20) {
      const problem = `expected the closing quote of a string, found ${describeToken(bytes, at, end)}, which must be escaped inside of strings`
      return { offset: at, problem, truncated: false }
    }
    if (byte !== BACKSLASH) continue
    const sequence = bytes.toString('latin1', at + 1, Math.min(at + 6, end))
    const length = ESCAPE.exec(sequence)?.[0].length
    if (length !== undefined) {
      at += length
    } else if (at + 6 > end && /^(?:u[\dA-Fa-f]*)?$/.test(sequence)) {
      break
    } else {
      const problem = `expected an escape sequence of JSON, found "\\${firstCharacters(bytes, at + 1, end, 1)}"`
      return { offset: at, problem, truncated: false }
    }
  }
  return { offset: end, problem: 'expected the closing quote of a string, found the end', truncated: true }
}

function scalarEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = from
  while (at < end && DELIMITER[bytes[at] as number] === 0) at++
  return at
}

/** What stands at `offset`, for a message. */
export function describeToken(bytes: Buffer, offset: number, end: number): string {
  const byte = bytes[offset] as number
  if (byte < 0x20) {
    const code = byte.toString(16).padStart(4, '0').toUpperCase()
    return byte === NEWLINE ? 'the end of the line' : `the control character U+${code}`
  }
  const tokenEnd = Math.max(scalarEnd(bytes, offset, end), offset + 1)
  const text = firstCharacters(bytes, offset, tokenEnd, 24)
  return text === '"' ? 'a string' : `"${text}"`
}

/** At most `count` characters of UTF-8. */
function firstCharacters(bytes: Buffer, from: number, end: number, count: number): string {
  // A character takes at most four bytes; one cut at the end of the slice lies beyond those counted.
  return [...bytes.toString('utf8', from, Math.min(end, from + 4 * count))].slice(0, count).join('')
}
