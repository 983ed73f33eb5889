import { copyStore } from '../../history/copy-store.ts'
import { counted, humanCount } from '../human-units.ts'
import { shownPlace } from '../postgres-place.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { engineAt } from '../store-place.ts'

/** `varve copy FROM TO`: a whole store, to the byte, to a new place of any engine. */
export async function copy(session: Session, [from, to]: readonly [string, string]): Promise<void> {
  const { output, signal, host } = session
  const source = await engineAt(from, host.cwd, false)
  const target = await engineAt(to, host.cwd, true)
  const { records, written } = await session.withProgress('Copying', humanCount, progress =>
    copyStore(source, target, {
      signal,
      onProgress: ({ records, recordsTotal }) => progress.update(records, recordsTotal),
    }),
  )
  const { snapshots, keys } = await session.withStore(
    async store => ({ snapshots: (await store.listSnapshots()).length, keys: await store.size() }),
    {},
    to,
  )
  const places = { from: shownPlace(from), to: shownPlace(to) }
  await session.result({ ...places, snapshots, keys, records, written }, () =>
    output.line(
      `Copied ${counted(snapshots, 'snapshot')} and ${counted(keys, 'key')} to ${safeText(places.to)}`,
    ),
  )
}
