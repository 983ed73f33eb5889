import { InvalidArgumentError } from '../core/errors.ts'
import type { Persistence } from '../persistence/persistence.ts'
import type { VersionId } from '../snapshot/version.ts'

/**
 * The snapshot that a name stands for.
 *
 * @throws {InvalidArgumentError} for `head`, which is the current state and no snapshot.
 */
export async function resolveSnapshot(store: Persistence, name: string): Promise<VersionId> {
  const version = await store.resolveVersion(name)
  if (version !== 'head') return version
  throw new InvalidArgumentError(
    'This takes a snapshot; "head" is the current state. head~1 is the newest snapshot.',
  )
}
