import { InvalidArgumentError } from '../core/errors.ts'
import { findInfinity } from '../transfer/find-infinity.ts'
import { findRoundedInteger } from '../transfer/rounded-integers.ts'

/**
 * The value of a JSON text that a user wrote, with every number as it stands there.
 *
 * @param subject what the text is, such as `The value`
 * @throws {InvalidArgumentError} saying what is wrong with it, without a full stop.
 */
export function parseJson(text: string, subject: string): unknown {
  const value = parse(text, subject)
  const path = findInfinity(value, '$')
  if (path !== undefined) {
    throw new InvalidArgumentError(
      `${subject} has a number at ${path} that is too large: a double holds up to about 1.8e308`,
    )
  }
  const rounded = findRoundedInteger(text)
  if (rounded === undefined) return value
  throw new InvalidArgumentError(
    `${subject} has the integer ${rounded.text} at ${rounded.path}, which a number cannot hold: it would become ` +
      `${Number(rounded.text)}. Write it as a string`,
  )
}

function parse(text: string, subject: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new InvalidArgumentError(`${subject} is not JSON (${(cause as Error).message})`, { cause })
  }
}
