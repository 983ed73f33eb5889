import { humanBytes, humanCount } from '../human-units.ts'
import type { Session } from '../session.ts'

/** `varve compact`: packs the history now, and gives file space back. */
export async function compact(session: Session): Promise<void> {
  const { signal, output } = session
  const summary = await session.withStore(store =>
    session.withProgress('Compacting', humanCount, progress =>
      store.compact({
        signal,
        onProgress: ({ entries, entriesTotal }) => progress.update(entries, entriesTotal),
      }),
    ),
  )
  await session.result(summary, () =>
    output.line(`${humanBytes(summary.bytesBefore)} before, ${humanBytes(summary.bytesAfter)} after`),
  )
}
