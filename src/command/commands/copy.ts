import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InvalidArgumentError } from '../../core/errors.ts'
import { KEY_BYTES } from '../../crypto/encryption-key.ts'
import { hasEncryptedKeys } from '../../encryption/is-encrypted.ts'
import { copyStore } from '../../history/copy-store.ts'
import type { Persistence } from '../../persistence/persistence.ts'
import { readKeyFile } from '../encryption-key.ts'
import { counted, humanCount } from '../human-units.ts'
import { shownPlace } from '../postgres-place.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { engineAt } from '../store-place.ts'

/** What a copy holds. */
interface Copied {
  readonly snapshots: number
  readonly keys: number
  /** Records of the source, and how many of them were written; for a copy to the byte. */
  readonly records?: number
  readonly written?: number
}

/** `varve copy FROM TO`: a whole store, to the byte, to a new place of any engine; or encrypted with another key. */
export async function copy(
  session: Session,
  [from, to]: readonly [string, string],
  flags: { readonly toKeyFile?: string },
): Promise<void> {
  const { output } = session
  const copied =
    flags.toKeyFile === undefined
      ? await copyRecords(session, from, to)
      : await copyEncrypted(session, from, to, flags.toKeyFile)
  const places = { from: shownPlace(from), to: shownPlace(to) }
  await session.result({ ...places, ...copied }, () =>
    output.line(
      `Copied ${counted(copied.snapshots, 'snapshot')} and ${counted(copied.keys, 'key')} to ${safeText(places.to)}`,
    ),
  )
}

async function copyRecords(session: Session, from: string, to: string): Promise<Copied> {
  const { signal, host } = session
  const source = await engineAt(from, host.cwd, false)
  const target = await engineAt(to, host.cwd, true)
  const { records, written } = await session.withProgress('Copying', humanCount, progress =>
    copyStore(source, target, {
      signal,
      onProgress: ({ records, recordsTotal }) => progress.update(records, recordsTotal),
    }),
  )
  return session.withStore(
    async store => ({
      snapshots: (await store.listSnapshots()).length,
      keys: await store.size(),
      records,
      written,
    }),
    {},
    to,
  )
}

/** Under another key no record stays as it is: the copy is made of snapshots, and the current state. */
async function copyEncrypted(session: Session, from: string, to: string, keyFile: string): Promise<Copied> {
  const encryptionKey = await readKeyFile(session.host.cwd, keyFile)
  return session.withStore(
    (source, engine) =>
      session.withStore(
        async target => {
          await refuseUsed(target, to)
          const snapshots = await copySnapshots(session, source, target)
          return { snapshots, keys: await target.size() }
        },
        // A key that was hidden stays so.
        { create: true, encryptionKey, ...(hasEncryptedKeys(engine) && { encryptKeys: true }) },
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
    `The store at ${JSON.stringify(shownPlace(place))} is not empty: copy to a new place, or remove that one first.`,
  )
}

/** Moves snapshot by snapshot, each as the difference from the one before, and then the current state. */
async function copySnapshots(session: Session, source: Persistence, target: Persistence): Promise<number> {
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
      // Of one moment, and in memory: JSON files are not encrypted.
      await target.save(await source.load(), { signal })
    })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return snapshots.length
}
