import { hasPropertiesBesideElements, isPlain, MAX_VALUE_DEPTH } from './json-exact.ts'

/** In a for-in loop V8 compiles this call away. */
const isOwn = Object.prototype.hasOwnProperty

const NO_MATCH = -1

const QUOTE = 0x22
const COMMA = 0x2c
const POINT = 0x2e
const MINUS = 0x2d
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const OPEN_LIST = 0x5b
const BACKSLASH = 0x5c
const CLOSE_LIST = 0x5d
const EXPONENT = 0x65
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

/** Up to so many digits make a number that a double holds exactly, as it does the powers of ten to divide it by. */
const EXACT_DIGITS = 15
const POWERS = Array.from({ length: EXACT_DIGITS + 1 }, (_, exponent) => 10 ** exponent)

/** What follows the backslash where `JSON.stringify` escapes a character in two. */
const ESCAPES = new Map([
  [0x08, 0x62],
  [0x09, 0x74],
  [0x0a, 0x6e],
  [0x0c, 0x66],
  [0x0d, 0x72],
  [QUOTE, QUOTE],
  [BACKSLASH, BACKSLASH],
])

/** For each byte, whether it is a character that text neither escapes nor writes as several bytes. */
const STANDS_FOR_ITSELF = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x20 && byte < 0x80 && byte !== QUOTE && byte !== BACKSLASH ? 1 : 0,
)

/**
 * Whether a value is surely what JSON text says, and one that JSON carries without loss. The text is that of the bytes from
 * `start` to `end`; those behind are looked at as well.
 *
 * One walk over value and text, side by side, in place of one over the value that asks whether JSON carries it, a second
 * that makes its text, and a comparison of bytes. It tells that they are the same, not that they differ: `false` for another
 * order of properties, for instance.
 */
export function isSurelyJsonOf(value: unknown, bytes: Uint8Array, start: number, end: number): boolean {
  return match(value, bytes, start, 1) === end
}

/** Where the text of a value that begins at a place ends, or {@link NO_MATCH}. */
function match(value: unknown, bytes: Uint8Array, at: number, depth: number): number {
  // Questions one by one: of a value that may be anything, `switch (typeof value)` is a call.
  if (typeof value === 'string') return matchString(value, bytes, at)
  if (typeof value === 'number') return matchNumber(value, bytes, at)
  if (value === true) return matchWord('true', bytes, at)
  if (value === false) return matchWord('false', bytes, at)
  if (value === null) return matchWord('null', bytes, at)
  return typeof value === 'object' ? matchObject(value, bytes, at, depth) : NO_MATCH
}

function matchObject(value: object, bytes: Uint8Array, at: number, depth: number): number {
  if (depth > MAX_VALUE_DEPTH || !isPlain(value)) return NO_MATCH
  return Array.isArray(value)
    ? matchElements(value, bytes, at, depth)
    : matchProperties(value, bytes, at, depth)
}

function matchElements(array: readonly unknown[], bytes: Uint8Array, at: number, depth: number): number {
  if (bytes[at] !== OPEN_LIST || hasPropertiesBesideElements(array)) return NO_MATCH
  let next = at + 1
  for (let i = 0; i < array.length; i++) {
    if (i > 0 && bytes[next++] !== COMMA) return NO_MATCH
    next = match(array[i], bytes, next, depth + 1)
    if (next === NO_MATCH) return NO_MATCH
  }
  return bytes[next] === CLOSE_LIST ? next + 1 : NO_MATCH
}

function matchProperties(object: object, bytes: Uint8Array, at: number, depth: number): number {
  if (bytes[at] !== OPEN_OBJECT) return NO_MATCH
  let next = at + 1
  let isFirst = true
  for (const key in object) {
    if (!isOwn.call(object, key)) continue
    if (!isFirst && bytes[next++] !== COMMA) return NO_MATCH
    isFirst = false
    next = matchString(key, bytes, next)
    if (next === NO_MATCH || bytes[next] !== COLON) return NO_MATCH
    next = match((object as Record<string, unknown>)[key], bytes, next + 1, depth + 1)
    if (next === NO_MATCH) return NO_MATCH
  }
  return bytes[next] === CLOSE_OBJECT ? next + 1 : NO_MATCH
}

function matchString(text: string, bytes: Uint8Array, at: number): number {
  if (bytes[at] !== QUOTE) return NO_MATCH
  const { length } = text
  let next = at + 1
  for (let i = 0; i < length; i++, next++) {
    const unit = text.charCodeAt(i)
    if (bytes[next] !== unit || STANDS_FOR_ITSELF[unit] === 0) return matchRest(text, i, bytes, next)
  }
  return bytes[next] === QUOTE ? next + 1 : NO_MATCH
}

/** Goes on with a string at one of its characters. */
function matchRest(text: string, from: number, bytes: Uint8Array, at: number): number {
  const { length } = text
  let next = at
  for (let i = from; i < length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) {
      if (unit < 0x20 || unit === QUOTE || unit === BACKSLASH) {
        const escaped = ESCAPES.get(unit)
        if (escaped === undefined || bytes[next++] !== BACKSLASH || bytes[next++] !== escaped) return NO_MATCH
      } else if (bytes[next++] !== unit) return NO_MATCH
    } else if (unit < 0x800) {
      if (bytes[next++] !== (0xc0 | (unit >> 6)) || bytes[next++] !== tail(unit)) return NO_MATCH
    } else if (unit < 0xd800 || unit > 0xdfff) {
      if (bytes[next++] !== (0xe0 | (unit >> 12))) return NO_MATCH
      if (bytes[next++] !== tail(unit >> 6) || bytes[next++] !== tail(unit)) return NO_MATCH
    } else {
      const point = text.codePointAt(i++) as number
      // The text escapes lone surrogates.
      if (point < 0x10000 || bytes[next++] !== (0xf0 | (point >> 18))) return NO_MATCH
      if (bytes[next++] !== tail(point >> 12)) return NO_MATCH
      if (bytes[next++] !== tail(point >> 6) || bytes[next++] !== tail(point)) return NO_MATCH
    }
  }
  return bytes[next] === QUOTE ? next + 1 : NO_MATCH
}

/** A byte of UTF-8 that continues a character. */
function tail(bits: number): number {
  return 0x80 | (bits & 0x3f)
}

/** Reads the digits, which is faster than to write those of the value. */
function matchNumber(value: number, bytes: Uint8Array, at: number): number {
  const isNegative = bytes[at] === MINUS
  const first = isNegative ? at + 1 : at
  let next = first
  let digits = 0
  let number = 0
  let decimals = -1
  for (; ; next++) {
    const byte = bytes[next] as number
    if (byte >= ZERO && byte <= NINE) {
      number = 10 * number + (byte - ZERO)
      digits++
      if (decimals >= 0) decimals++
    } else if (byte === POINT && decimals < 0) decimals = 0
    else break
  }
  // Exponents and more digits are compared by how the value is written.
  if (digits > EXACT_DIGITS || bytes[next] === EXPONENT) return matchOther(value, bytes, at)
  if (digits === 0) return NO_MATCH
  const magnitude = decimals > 0 ? number / (POWERS[decimals] as number) : number
  return Object.is(isNegative ? -magnitude : magnitude, value) ? next : NO_MATCH
}

/** Digits, or an exponent, may be of what stands behind the text: so it may be 0 even here, which is how -0 is written. */
function matchOther(value: number, bytes: Uint8Array, at: number): number {
  return Number.isFinite(value) && !Object.is(value, -0) ? matchWord(String(value), bytes, at) : NO_MATCH
}

function matchWord(word: string, bytes: Uint8Array, at: number): number {
  for (let i = 0; i < word.length; i++) if (bytes[at + i] !== word.charCodeAt(i)) return NO_MATCH
  return at + word.length
}
