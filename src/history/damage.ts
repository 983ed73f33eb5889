import { DataIntegrityError } from '../core/errors.ts'
import { keyText, lastVersionKey, splitVersionKey } from '../core/key.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { View } from '../engine/engine.ts'
import { parseRecord } from './record.ts'
import { listSnapshotRows } from './snapshot-table.ts'
import { damagedRowOf } from './version-row.ts'

/**
 * The versions of the snapshots that see into a row of the history: those from its birth up to the next version of its
 * key, in the history or live.
 */
export async function snapshotsSeeing(view: View, rowKey: Uint8Array): Promise<number[]> {
  const { key, birth } = splitVersionKey(rowKey)
  const next = await view.scan('history', {
    gt: rowKey,
    lte: lastVersionKey(key),
    limit: 1,
    keysOnly: true,
  })
  const following = next.rows[0]
  const end = following === undefined ? await liveBirth(view, key) : splitVersionKey(following.key).birth
  return (await listSnapshotRows(view))
    .filter(({ epoch }) => epoch >= birth && epoch < end)
    .map(({ version }) => version)
}

async function liveBirth(view: View, key: Uint8Array): Promise<number> {
  const stored = await view.get('live', key)
  return stored === undefined ? Number.POSITIVE_INFINITY : parseRecord(key, stored).birth
}

/** The same error, if it is of a damaged row of the history: with the key, and the snapshots at which it is affected. */
export async function nameDamage(view: View, error: unknown): Promise<unknown> {
  const rowKey = damagedRowOf(error)
  if (rowKey === undefined) return error
  const versions = await snapshotsSeeing(view, rowKey).catch(() => [])
  if (versions.length === 0) return error
  const key = JSON.stringify(keyText(splitVersionKey(rowKey).key))
  return new DataIntegrityError(
    `Key ${key} cannot be read at ${listVersions(versions)}, and is not affected elsewhere. ${(error as Error).message}`,
    { cause: error },
  )
}

function listVersions(versions: readonly number[]): string {
  const names = versions.map(version => `v${version}`)
  if (names.length <= 5) return names.join(', ')
  return `${names[0]} to ${names.at(-1)} (${names.length} snapshots)`
}

/** What is read, or `undefined` where it is damaged. */
export async function unlessDamaged<T>(read: () => MaybePromise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof DataIntegrityError) return undefined
    throw error
  }
}
