import { humanBytes, humanCount } from '../human-units.ts'
import { shownPlace } from '../postgres-place.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { writeFacts, writeTable } from '../table.ts'

/** `varve stats`: how much is in the store, and the room it takes. */
export async function stats(
  session: Session,
  _args: readonly [],
  flags: { readonly prometheus?: boolean },
): Promise<void> {
  const { output } = session
  const place = shownPlace(session.place)
  const metrics = await session.withStore(store => store.getMetrics())
  if (flags.prometheus === true) {
    const { formatPrometheus } = await import('../../persistence/prometheus.ts')
    await output.write(formatPrometheus(metrics))
    return
  }
  const { keys, snapshotCount, storage, delta } = metrics
  await session.result({ store: place, keys, snapshots: snapshotCount, storage, delta }, async () => {
    await writeFacts(output, [
      ['store', `${safeText(place)} (${storage.engine})`],
      ['keys', humanCount(keys)],
      ['snapshots', humanCount(snapshotCount)],
      ['size', `${humanBytes(storage.bytes)}, of which ${humanBytes(storage.freeBytes)} free for reuse`],
    ])
    await output.line()
    await writeTable(
      output,
      [{ title: 'table' }, { title: 'records', align: 'right' }, { title: 'size', align: 'right' }],
      Object.entries(storage.tables).map(([table, { entries, bytes }]) => [
        table,
        humanCount(entries),
        humanBytes(bytes),
      ]),
    )
  })
}
