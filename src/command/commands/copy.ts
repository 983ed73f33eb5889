import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InvalidArgumentError } from '../../core/errors.ts'
import { KEY_BYTES } from '../../crypto/encryption-key.ts'
import type { Persistence } from '../../persistence/persistence.ts'
import { readKeyFile } from '../encryption-key.ts'
import { counted, humanCount } from '../human-units.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'

/** `varve copy FROM TO`: all snapshots and the current state of a store, to a new one. */
export async function copy(
  session: Session,
  [from, to]: readonly [string, string],
  flags: { readonly toKeyFile?: string },
): Promise<void> {
  const { output, host } = session
  const encryptionKey =
    flags.toKeyFile === undefined ? undefined : await readKeyFile(host.cwd, flags.toKeyFile)
  const isEncrypted = (encryptionKey ?? (await session.encryptionKey())) !== undefined
  await session.withStore(
    source =>
      session.withStore(
        async target => {
          await refuseUsed(target, to)
          const snapshots = await copySnapshots(session, source, target, isEncrypted)
          const keys = await target.size()
          await session.result({ from, to, snapshots, keys }, () =>
            output.line(
              `Copied ${counted(snapshots, 'snapshot')} and ${counted(keys, 'key')} to ${safeText(to)}`,
            ),
          )
        },
        { create: true, encryptionKey },
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
async function copySnapshots(
  session: Session,
  source: Persistence,
  target: Persistence,
  isEncrypted: boolean,
): Promise<number> {
  const { signal } = session
  const snapshots = await source.listSnapshots()
  // What lies in the temporary folder meanwhile is nobody's to read.
  const encryptionKey = randomBytes(KEY_BYTES)
  const folder = await mkdtemp(join(tmpdir(), 'varve-copy-'))
  try {
    await session.withProgress('Copying', humanCount, async progress => {
      const file = join(folder, 'part')
      let base: string | undefined
      for (const [done, { version }] of snapshots.entries()) {
        await source.exportSnapshot(version, file, { base, signal, encryptionKey })
        await target.importSnapshot(file, { signal, encryptionKey })
        progress.update(done + 1, snapshots.length + 1)
        base = version
      }
      if (isEncrypted) {
        // Of one moment, and in memory: JSON files are not encrypted.
        await target.save(await source.load(), { signal })
        return
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
