import { resolve } from 'node:path'
import { InvalidArgumentError } from '../../core/errors.ts'
import type { EncryptionKey } from '../../crypto/encryption-key.ts'
import { hintAtTagged } from '../hint-at-tagged.ts'
import { counted, humanBytes, humanCount } from '../human-units.ts'
import { resolveSnapshot } from '../resolve-snapshot.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'

interface ExportFlags {
  readonly snapshot?: string
  readonly base?: string
  readonly tagged?: boolean
  readonly encrypt?: boolean
}

/** `varve export FILE`: the current state as JSON, or with `--snapshot` one snapshot with all that is known of it. */
export async function exportTo(
  session: Session,
  [file]: readonly [string],
  flags: ExportFlags,
): Promise<void> {
  const { host, output, signal } = session
  const path = resolve(host.cwd, file)
  if (flags.base !== undefined && flags.snapshot === undefined) {
    throw new InvalidArgumentError(
      '--base goes with --snapshot: it says what the snapshot is the difference from.',
    )
  }
  const encryptionKey = flags.encrypt === true ? await keyFor(session, flags) : undefined
  await session.withStore(async store => {
    const total = await store.size()
    const summary = await session.withProgress('Exporting', humanCount, async progress => {
      const options = {
        signal,
        onProgress: ({ entries }: { entries: number }): void => progress.update(entries, total),
      }
      if (flags.snapshot === undefined) {
        const types = flags.tagged === true ? 'tagged' : 'refuse'
        return hintAtTagged(() => store.exportData(path, { ...options, types }))
      }
      const version = await resolveSnapshot(store, flags.snapshot)
      const base = flags.base === undefined ? undefined : await resolveSnapshot(store, flags.base)
      return store.exportSnapshot(version, path, {
        ...options,
        base,
        ...(encryptionKey !== undefined && { encryptionKey }),
      })
    })
    await session.result({ file, ...summary }, () =>
      output.line(
        `Wrote ${counted(summary.entries, 'entry', 'entries')}, ${humanBytes(summary.bytes)}, to ${safeText(file)}`,
      ),
    )
  })
}

async function keyFor(session: Session, { snapshot }: ExportFlags): Promise<EncryptionKey> {
  if (snapshot === undefined) {
    throw new InvalidArgumentError('--encrypt goes with --snapshot: JSON files are not encrypted.')
  }
  const key = await session.encryptionKey()
  if (key !== undefined) return key
  throw new InvalidArgumentError('--encrypt needs a key: give --key-file, or set VARVE_ENCRYPTION_KEY.')
}
