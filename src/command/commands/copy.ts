import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InvalidArgumentError } from '../../core/errors.ts'
import type { Persistence } from '../../persistence/persistence.ts'
import { counted, humanCount } from '../human-units.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'

/** `varve copy FROM TO`: all snapshots and the current state of a store, to a new one. */
export async function copy(session: Session, [from, to]: readonly [string, string]): Promise<void> {
  const { output } = session
  await session.withStore(
    source =>
      session.withStore(
        async target => {
          await refuseUsed(target, to)
          const snapshots = await copySnapshots(session, source, target)
          const keys = await target.size()
          await session.result({ from, to, snapshots, keys }, () =>
            output.line(
              `Copied ${counted(snapshots, 'snapshot')} and ${counted(keys, 'key')} to ${safeText(to)}`,
            ),
          )
        },
        { create: true },
        to,
      ),
    {},
    from,
  )
}

async function refuseUsed(target: Persistence, place: string): Promise<void> {
  const { keys, snapshotCount } = await target.getMetrics()
  if (keys === 0 && snapshotCount === 0) return
  throw new InvalidArgumentError(
    `The store at ${JSON.stringify(place)} is not empty: copy to a new place, or remove that one first.`,
  )
}

/** Moves snapshot by snapshot, each as the difference from the one before, and then the current state. */
async function copySnapshots(session: Session, source: Persistence, target: Persistence): Promise<number> {
  const { signal } = session
  const snapshots = await source.listSnapshots()
  const folder = await mkdtemp(join(tmpdir(), 'varve-copy-'))
  try {
    await session.withProgress('Copying', humanCount, async progress => {
      const file = join(folder, 'part')
      let base: string | undefined
      for (const [done, { version }] of snapshots.entries()) {
        await source.exportSnapshot(version, file, { base, signal })
        await target.importSnapshot(file, { signal })
        progress.update(done + 1, snapshots.length + 1)
        base = version
      }
      const state = join(folder, 'state.jsonl.gz')
      await source.exportData(state, { types: 'tagged', signal })
      await target.importData(state, { signal })
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return snapshots.length
}
