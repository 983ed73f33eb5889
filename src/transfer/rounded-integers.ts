import { importError } from './import-error.ts'
import { formatPath } from './plain-json.ts'

/**
 * Finds integers of a JSON text that a double does not hold, and that `JSON.parse` therefore rounds: 9007199254740993
 * becomes …992. Who wrote such a number meant each digit of it, as in the ids of databases.
 *
 * What counts is whether the number is still there: a double of just that value (2^60), or one that prints as the same
 * number (1e23), is taken. Fractions are rounded by every reader of JSON, as 0.1 is, and are not looked at.
 */

/** An integer that was rounded, and where it stands. */
interface RoundedInteger {
  readonly text: string
  /** Names of members and indices of elements, from the outermost on. */
  readonly path: readonly (string | number)[]
}

/** Shorter integers fit a double. A quick test of a whole text: most have no number that is worth a closer look. */
const LONG_NUMBER = /(?:^|[:,[\s])-?\d{16}/
const TOKEN = /["[\]{},]|-?\d[\d.eE+-]*/g
const INTEGER = /^(-?\d+)(?:[eE]\+?(\d{1,3}))?$/

/** Where a text comes from. */
export interface TextOrigin {
  readonly file: string
  readonly line: number
  readonly key: string
  /** The text is an object, of which only this member counts. */
  readonly member?: string
}

/** @throws {ImportError} if a text that `JSON.parse` took has an integer in it that became another. */
export function refuseRoundedIntegers(text: string, { file, line, key, member }: TextOrigin): void {
  if (!LONG_NUMBER.test(text)) return
  for (const { text: number, path } of roundedIntegers(text)) {
    if (member !== undefined && path[0] !== member) continue
    const place = formatPath(member === undefined ? path : path.slice(1))
    throw importError(
      file,
      line,
      `the value of ${JSON.stringify(key)} has the integer ${number} at ${place}, which a number cannot hold: it would become ${Number(number)}. Write it as a string.`,
    )
  }
}

/** The first integer of a JSON text that `JSON.parse` takes that became another, and its place, such as `$.ids[2]`. */
export function findRoundedInteger(
  text: string,
): { readonly text: string; readonly path: string } | undefined {
  if (!LONG_NUMBER.test(text)) return undefined
  for (const { text: number, path } of roundedIntegers(text)) return { text: number, path: formatPath(path) }
  return undefined
}

/** The rounded integers of a valid JSON text, in its order. */
function* roundedIntegers(text: string): Generator<RoundedInteger, void, undefined> {
  const path: (string | number)[] = []
  // Whether a name comes next; of each array and object around, whether it is an object.
  let expectsName = false
  const objects: boolean[] = []
  const tokens = new RegExp(TOKEN)
  for (let match = tokens.exec(text); match !== null; match = tokens.exec(text)) {
    const [token] = match
    switch (token[0]) {
      case '{':
      case '[':
        objects.push(token === '{')
        path.push(0)
        expectsName = token === '{'
        break
      case '}':
      case ']':
        objects.pop()
        path.pop()
        expectsName = false
        break
      case ',': {
        const last = path.at(-1)
        expectsName = objects.at(-1) === true
        if (typeof last === 'number' && !expectsName) path[path.length - 1] = last + 1
        break
      }
      case '"':
        tokens.lastIndex = stringEnd(text, match.index)
        if (expectsName)
          path[path.length - 1] = JSON.parse(text.slice(match.index, tokens.lastIndex)) as string
        expectsName = false
        break
      default:
        if (isRounded(token)) yield { text: token, path: [...path] }
    }
  }
}

/** The index after the string that begins at `start`. */
function stringEnd(text: string, start: number): number {
  let end = start
  let escapes = 1
  while (escapes % 2 === 1) {
    end = text.indexOf('"', end + 1)
    escapes = 0
    while (text[end - 1 - escapes] === '\\') escapes++
  }
  return end + 1
}

function isRounded(token: string): boolean {
  const [, digits, exponent = '0'] = INTEGER.exec(token) ?? []
  const read = Number(token)
  // Beyond the range of a double it is Infinity, which is refused elsewhere.
  if (digits === undefined || Number.isSafeInteger(read) || !Number.isFinite(read)) return false
  const meant = BigInt(digits) * 10n ** BigInt(exponent)
  return meant !== BigInt(read) && meant !== printed(read)
}

/** The integer that a double prints as. */
function printed(value: number): bigint {
  const [digits = '0', exponent = '0'] = String(value).split('e+')
  const [whole = '0', fraction = ''] = digits.split('.')
  return BigInt(whole + fraction) * 10n ** BigInt(Number(exponent) - fraction.length)
}
