import { readKeyFile } from '../encryption-key.ts'
import { humanCount } from '../human-units.ts'
import type { Session } from '../session.ts'

/** `varve rotate-key FILE`: another key for the store, from a file. */
export async function rotateKey(
  session: Session,
  [file]: readonly [string],
  { reencrypt = false }: { readonly reencrypt?: boolean },
): Promise<void> {
  const { host, output, signal } = session
  const key = await readKeyFile(host.cwd, file)
  await session.withStore(async store => {
    const { tables } = (await store.getMetrics()).storage
    const total = Object.values(tables).reduce((sum, { entries }) => sum + entries, 0)
    await session.withProgress('Encrypting', humanCount, progress =>
      store.rotateEncryptionKey(key, {
        reencrypt,
        signal,
        onProgress: rows => progress.update(Math.min(rows, total), total),
      }),
    )
  })
  await session.result({ rotated: true, reencrypted: reencrypt }, () =>
    output.line(
      reencrypt
        ? 'Everything is encrypted anew, with new keys'
        : 'The store opens with the new key from now on',
    ),
  )
}
