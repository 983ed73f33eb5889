import { humanCount } from '../human-units.ts'
import { resolveSnapshot } from '../resolve-snapshot.ts'
import type { Session } from '../session.ts'
import { writeSummary } from '../write-summary.ts'

/** `varve restore VERSION`: makes the current state equal a snapshot's. */
export async function restore(session: Session, [name]: readonly [string]): Promise<void> {
  const { output, signal } = session
  await session.withStore(async store => {
    const version = await resolveSnapshot(store, name)
    const summary = await session.withProgress('Restoring', humanCount, progress =>
      store.restoreSnapshot(version, {
        signal,
        onProgress: ({ entries, entriesTotal }) => progress.update(entries, entriesTotal),
      }),
    )
    await session.result({ version, ...summary }, async () => {
      await output.write(`Restored ${version}: `)
      await writeSummary(output, summary)
    })
  })
}
