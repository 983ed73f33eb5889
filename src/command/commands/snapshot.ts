import { checkTags } from '../check-tags.ts'
import { resolveSnapshot } from '../resolve-snapshot.ts'
import type { Session } from '../session.ts'

/** `varve snapshot`: takes one of the current state, and prints its version. */
export async function snapshot(
  session: Session,
  _args: readonly [],
  flags: { readonly tag?: readonly string[]; readonly description?: string; readonly base?: string },
): Promise<void> {
  const { description = '', base } = flags
  const tags = checkTags(flags.tag ?? [])
  const version = await session.withStore(async store => {
    if (base === undefined) return store.createSnapshot({ tags, description })
    const baseVersion = await resolveSnapshot(store, base)
    return store.createDeltaSnapshot({ tags, description, baseVersion })
  })
  await session.result({ version }, () => session.output.line(version))
}
