import { InvalidArgumentError } from '../core/errors.ts'
import { looksLikeVersion } from '../snapshot/version-name.ts'

/**
 * Tags for a snapshot, as they were given on the command line.
 *
 * @throws {InvalidArgumentError} for one that could not be used as a name afterwards: `v3` is the snapshot of that number.
 */
export function checkTags(tags: readonly string[]): readonly string[] {
  const taken = tags.find(looksLikeVersion)
  if (taken === undefined) return tags
  throw new InvalidArgumentError(
    `The tag ${JSON.stringify(taken)} would be taken for another version: v3, head, head~1 and @2026-01-31 have a ` +
      'meaning of their own. Choose another word.',
  )
}
