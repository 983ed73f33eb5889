import { inspect } from 'node:util'
import { InvalidArgumentError } from './errors.ts'
import { nearest } from './nearest.ts'

/**
 * What a check of one option is: it returns the value, typed, or throws an {@link InvalidArgumentError} that names
 * the option, what was given and what is allowed.
 */
export type OptionCheck<T> = (value: unknown, name: string) => T

/**
 * Refuses what is not an object, and options that `known` does not list: a misspelt option must not be ignored.
 *
 * @param where Whose options they are, as the message should say it, such as `createPersistence()`.
 * @throws {InvalidArgumentError} naming the known option that was most likely meant, else all of them.
 */
export function checkKnownOptions<K extends string>(
  options: unknown,
  known: readonly K[],
  where: string,
): asserts options is { readonly [P in K]?: unknown } {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new InvalidArgumentError(`The options of ${where} must be an object, not ${describe(options)}.`)
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name as K)) continue
    const meant = nearest(name, known)
    const advice =
      meant === undefined ? `The known ones are ${known.join(', ')}.` : `Did you mean "${meant}"?`
    throw new InvalidArgumentError(`Unknown option ${JSON.stringify(name)} of ${where}. ${advice}`)
  }
}

/**
 * Checks an object of options, one check for each option there is, and returns a copy without those that are
 * `undefined`. An option left out is not checked.
 *
 * @param where Whose options they are, as for {@link checkKnownOptions}.
 * @param prefix What messages put before an option's name, such as `retention.` for the fields of that option.
 * @throws {InvalidArgumentError} for an unknown option, and as the checks do.
 */
export function checkOptions<T extends object>(
  options: unknown,
  checks: { readonly [K in keyof T]-?: OptionCheck<Exclude<T[K], undefined>> },
  where: string,
  prefix = '',
): T {
  const names = Object.keys(checks) as (string & keyof T)[]
  checkKnownOptions(options, names, where)
  const checked: Partial<T> = {}
  for (const name of names) {
    const value = options[name]
    if (value !== undefined) checked[name] = checks[name](value, prefix + name)
  }
  return checked as T
}

/** A safe integer of at least 0. */
export function nonNegativeInteger(value: unknown, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  throw invalidOption(name, 'a whole number, 0 or more', value)
}

/** A safe integer of at least 1. */
export function positiveInteger(value: unknown, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 1) return value as number
  throw invalidOption(name, 'a whole number, 1 or more', value)
}

/** `true` or `false`; nothing that merely counts as one of them. */
export function boolean(value: unknown, name: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalidOption(name, 'true or false', value)
}

/** A string that is not empty. */
export function nonEmptyString(value: unknown, name: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw invalidOption(name, 'a non-empty string', value)
}

/** An `AbortSignal`. */
export function abortSignal(value: unknown, name: string): AbortSignal {
  if (value instanceof AbortSignal) return value
  throw invalidOption(name, 'an AbortSignal', value)
}

/** A function; what it takes and returns cannot be checked. */
export function callback<F extends (...args: never[]) => unknown>(value: unknown, name: string): F {
  if (typeof value === 'function') return value as F
  throw invalidOption(name, 'a function', value)
}

/** A check for exactly the strings of `allowed`. */
export function oneOf<const T extends string>(allowed: readonly T[]): OptionCheck<T> {
  return (value, name) => {
    const found = allowed.find(choice => choice === value)
    if (found !== undefined) return found
    const meant = typeof value === 'string' ? nearest(value, allowed) : undefined
    const advice = meant === undefined ? '' : ` Did you mean ${describe(meant)}?`
    throw invalidOption(name, `one of ${allowed.map(describe).join(', ')}`, value, advice)
  }
}

/** The error of an option that is not `expected`, a noun phrase such as `a whole number, 0 or more`. */
export function invalidOption(
  name: string,
  expected: string,
  value: unknown,
  advice = '',
): InvalidArgumentError {
  return new InvalidArgumentError(`Option "${name}" must be ${expected}, not ${describe(value)}.${advice}`)
}

/** A short form of any value for a message. It runs no code of the value's own. */
function describe(value: unknown): string {
  return inspect(value, {
    depth: 0,
    maxStringLength: 60,
    maxArrayLength: 3,
    breakLength: Number.POSITIVE_INFINITY,
    customInspect: false,
  })
}
