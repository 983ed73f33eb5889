import { resolve } from 'node:path'
import { EncryptionError } from '../../core/errors.ts'
import type { CommitSummary } from '../../snapshot/snapshot-manager.ts'
import type { TransferProgress } from '../../transfer/transfer-options.ts'
import { humanBytes, humanCount } from '../human-units.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { writeSummary } from '../write-summary.ts'

/** `varve import FILE`: makes the state equal a JSON file, or adds the snapshot of a snapshot file. */
export async function importFrom(session: Session, [file]: readonly [string]): Promise<void> {
  const { host, output, signal } = session
  const path = resolve(host.cwd, file)
  const isData = /\.jsonl?(?:\.gz)?$/i.test(path)
  const imported = await session.withStore(store =>
    session.withProgress<string | CommitSummary>('Importing', humanBytes, async progress => {
      const options = {
        signal,
        onProgress({ bytes, bytesTotal, written, writtenTotal }: TransferProgress): void {
          if (writtenTotal !== undefined) progress.begin('Writing', humanCount)
          progress.update(written ?? bytes, writtenTotal ?? bytesTotal)
        },
      }
      if (isData) return store.importData(path, options)
      return store.importSnapshot(path, options).catch(async (error: unknown) => {
        if (!(error instanceof EncryptionError) || error.code !== 'ENCRYPTION_KEY_MISSING') throw error
        const encryptionKey = await session.encryptionKey()
        if (encryptionKey === undefined) throw error
        return store.importSnapshot(path, { ...options, encryptionKey })
      })
    }),
  )
  // The bar has gone by now: it would be drawn over the result.
  if (typeof imported === 'string') {
    await session.result({ file, version: imported }, () =>
      output.line(`${safeText(file)} is ${imported} here`),
    )
  } else {
    await session.result({ file, ...imported }, () => writeSummary(output, imported))
  }
}
