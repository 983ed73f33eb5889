import { InvalidArgumentError } from '../../core/errors.ts'
import { counted } from '../human-units.ts'
import { type RetentionFlags, retentionOf } from '../retention-flags.ts'
import type { Session } from '../session.ts'

/** `varve prune`: deletes the snapshots that the options do not keep. */
export async function prune(
  session: Session,
  _args: readonly [],
  flags: RetentionFlags & { readonly dryRun?: boolean },
): Promise<void> {
  const { output } = session
  const { dryRun = false } = flags
  const policy = retentionOf(flags)
  if (policy === undefined) {
    throw new InvalidArgumentError('Say which snapshots to keep, such as --keep-last 10 or --keep-daily 7.')
  }
  const { kept, removed } = await session.withStore(store => store.pruneSnapshots(policy, { dryRun }))
  await session.result({ dryRun, kept, removed }, async () => {
    const verb = dryRun ? 'Would remove' : 'Removed'
    const names = removed.length === 0 ? '' : `: ${removed.join(', ')}`
    await output.line(`${verb} ${counted(removed.length, 'snapshot')}${names}`)
    await output.line(`${dryRun ? 'Would keep' : 'Kept'} ${counted(kept.length, 'snapshot')}`)
  })
}
