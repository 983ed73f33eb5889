import { resolve } from 'node:path'
import { EncryptionError } from '../../core/errors.ts'
import { humanBytes } from '../human-units.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { writeSummary } from '../write-summary.ts'

/** `varve import FILE`: makes the state equal a JSON file, or adds the snapshot of a snapshot file. */
export async function importFrom(session: Session, [file]: readonly [string]): Promise<void> {
  const { host, output, signal } = session
  const path = resolve(host.cwd, file)
  await session.withStore(store =>
    session.withProgress('Importing', humanBytes, async progress => {
      const options = {
        signal,
        onProgress: ({ bytes, bytesTotal }: { bytes: number; bytesTotal: number }): void =>
          progress.update(bytes, bytesTotal),
      }
      if (/\.jsonl?(?:\.gz)?$/i.test(path)) {
        const summary = await store.importData(path, options)
        await session.result({ file, ...summary }, () => writeSummary(output, summary))
      } else {
        const version = await store.importSnapshot(path, options).catch(async (error: unknown) => {
          if (!(error instanceof EncryptionError) || error.code !== 'ENCRYPTION_KEY_MISSING') throw error
          const encryptionKey = await session.encryptionKey()
          if (encryptionKey === undefined) throw error
          return store.importSnapshot(path, { ...options, encryptionKey })
        })
        await session.result({ file, version }, () => output.line(`${safeText(file)} is ${version} here`))
      }
    }),
  )
}
