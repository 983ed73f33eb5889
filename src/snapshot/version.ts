import { InvalidArgumentError, SnapshotNotFoundError } from '../core/errors.ts'

/** The name of a snapshot: `v1`, `v2`, … */
export type VersionId = string

/** The name of the `number`-th snapshot of a store. */
export function formatVersion(number: number): VersionId {
  return `v${number}`
}

/** A version given as an option, checked. */
export function checkVersion(value: unknown): VersionId {
  return formatVersion(parseVersion(value))
}

/**
 * The number in a version's name.
 *
 * @throws {SnapshotNotFoundError} if it is not of the form `v` and a positive number: no snapshot has such a name.
 * Whether there is one of that number is another question.
 * @throws {InvalidArgumentError} if it is not a string, an empty one, or `head`, where only a snapshot will do.
 */
export function parseVersion(version: unknown): number {
  if (typeof version === 'string' && /^v[1-9]\d{0,13}$/.test(version)) return Number(version.slice(1))
  if (typeof version !== 'string' || version === '' || version === 'head') {
    const given = typeof version === 'string' ? JSON.stringify(version) : `a value of type ${typeof version}`
    throw new InvalidArgumentError(
      `A version is written as "v1", "v2", …; this is ${given}. See listSnapshots().`,
    )
  }
  throw new SnapshotNotFoundError(
    `There is no snapshot ${JSON.stringify(version.slice(0, 40))}: a version is written as "v1", "v2", … See listSnapshots(), and for tags restoreSnapshotByTag().`,
  )
}
