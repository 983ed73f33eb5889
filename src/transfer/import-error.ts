import { ImportError } from '../core/errors.ts'

/**
 * An {@link ImportError} whose message begins with the place.
 *
 * @param line 1-based, or `undefined` where the problem is the file as a whole.
 * @param problem Whole sentences: what is wrong, and what to do.
 */
export function importError(
  file: string,
  line: number | undefined,
  problem: string,
  cause?: unknown,
): ImportError {
  const place = line === undefined ? '' : `, line ${line}`
  return new ImportError(`Cannot import ${JSON.stringify(file)}${place}: ${problem}`, {
    file,
    ...(line === undefined ? {} : { line }),
    ...(cause === undefined ? {} : { cause }),
  })
}
