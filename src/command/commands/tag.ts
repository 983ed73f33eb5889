import { InvalidArgumentError, SnapshotNotFoundError } from '../../core/errors.ts'
import type { Persistence } from '../../persistence/persistence.ts'
import { checkTags } from '../check-tags.ts'
import { counted } from '../human-units.ts'
import { resolveSnapshot } from '../resolve-snapshot.ts'
import { jsonText, safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { writeTable } from '../table.ts'

/** `varve tag [VERSION TAG...]`: gives a snapshot tags; by itself, lists the tags there are. */
export async function tag(
  session: Session,
  [name, tags]: readonly [string | undefined, readonly string[]],
): Promise<void> {
  await session.withStore(async store => {
    if (name === undefined) return listTags(session, store)
    if (tags.length === 0)
      throw new InvalidArgumentError('Give the tags after the version: varve tag v3 stable')
    const version = await resolveSnapshot(store, name)
    await store.tagSnapshot(version, checkTags(tags))
    await writeTags(session, store, version)
  })
}

/** `varve untag VERSION TAG...`: takes tags from a snapshot. */
export async function untag(
  session: Session,
  [name, tags]: readonly [string, readonly string[]],
): Promise<void> {
  await session.withStore(async store => {
    const version = await resolveSnapshot(store, name)
    await store.untagSnapshot(version, tags)
    await writeTags(session, store, version)
  })
}

async function listTags({ output, json }: Session, store: Persistence): Promise<void> {
  const tags = await store.listTags()
  if (json) return output.line(jsonText(tags))
  const rows = Object.entries(tags).map(([name, count]) => [safeText(name), counted(count, 'snapshot')])
  return writeTable(output, [{ style: output.style.cyan }, {}], rows)
}

async function writeTags(session: Session, store: Persistence, version: string): Promise<void> {
  const info = (await store.listSnapshots()).find(snapshot => snapshot.version === version)
  if (info === undefined) throw new SnapshotNotFoundError(`Snapshot ${version} has been deleted just now.`)
  await session.result({ version, tags: info.tags }, () =>
    session.output.line(
      info.tags.length === 0
        ? `${version} has no tags`
        : `${version} is tagged ${info.tags.map(safeText).join(', ')}`,
    ),
  )
}
