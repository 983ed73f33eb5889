import { setImmediate as nextTurn } from 'node:timers/promises'
import { InvalidArgumentError } from '../core/errors.ts'
import { abortSignal, callback, checkOptions, nonEmptyString } from '../core/options.ts'
import { encryptionKey as checkKey, type EncryptionKey, toSecret } from '../crypto/encryption-key.ts'
import type { History } from '../history/history.ts'
import { fromPayload, type ParsedRecord, sameEncoding } from '../history/record.ts'
import { atomicWrite } from '../transfer/atomic-write.ts'
import { isGzipName } from '../transfer/open-file.ts'
import { sealFile } from '../transfer/sealed-file.ts'
import { writeSnapshotFile } from '../transfer/snapshot-file.ts'
import type { SnapshotIdentity } from '../transfer/snapshot-header.ts'
import type { SnapshotChange } from '../transfer/snapshot-rows.ts'
import type { ExportSummary, TransferOptions } from '../transfer/transfer-options.ts'
import { decodeMetadata, type SnapshotMetadata } from './metadata.ts'
import { orderedRecords } from './ordered-records.ts'
import { touchedRecords } from './touched-records.ts'
import { checkVersion, formatVersion, parseVersion, type VersionId } from './version.ts'

/** What the export of a snapshot may be given. */
export interface ExportSnapshotOptions extends TransferOptions {
  /**
   * Write only what differs from this snapshot: any other of the store, older or newer. Only a store that has that
   * snapshot can import the file.
   */
  readonly base?: VersionId | undefined
  /** Encrypt the file. Left out, it is not encrypted, wherever the snapshot is from. */
  readonly encryptionKey?: EncryptionKey
}

/** Writes a snapshot to a file. See `SnapshotManager.exportSnapshot`. */
export async function exportSnapshot(
  history: History,
  version: VersionId,
  path: string,
  options: ExportSnapshotOptions = {},
): Promise<ExportSummary> {
  const number = parseVersion(version)
  const file = nonEmptyString(path, 'path')
  const { base, encryptionKey, signal, onProgress } = checkOptions<ExportSnapshotOptions>(
    options,
    { base: checkVersion, encryptionKey: checkKey, signal: abortSignal, onProgress: callback },
    'exportSnapshot()',
  )
  const baseNumber = base === undefined ? undefined : parseVersion(base)
  if (baseNumber === number) {
    throw new InvalidArgumentError(
      `The base of ${version} must be another snapshot. Leave it out to export ${version} whole.`,
    )
  }
  const metadata = await metadataOf(history, number)
  const header = {
    ...identityOf(number, metadata),
    createdAt: metadata.createdAt,
    tags: metadata.tags,
    description: metadata.description,
    userInfo: metadata.userInfo,
    encrypted: encryptionKey !== undefined,
    base:
      baseNumber === undefined ? undefined : identityOf(baseNumber, await metadataOf(history, baseNumber)),
  }
  let entries = 0
  async function* changes(): AsyncGenerator<readonly SnapshotChange[]> {
    const batches =
      baseNumber === undefined ? whole(history, number) : difference(history, baseNumber, number)
    for await (const batch of batches) {
      signal?.throwIfAborted()
      yield batch
      entries += batch.length
      onProgress?.({ entries, bytes: 0, bytesTotal: 0 })
      // An embedded engine answers at once, and small changes fill a block slowly: let others have their turn.
      await nextTurn()
    }
  }
  const plain = writeSnapshotFile(header, changes(), file)
  const chunks =
    encryptionKey === undefined ? plain : sealFile(plain, toSecret(encryptionKey, 'encryptionKey'))
  const bytes = await atomicWrite(file, chunks, { signal, gzip: isGzipName(file) })
  return { entries, bytes, ...(header.encrypted && { encrypted: true }) }
}

async function metadataOf(history: History, version: number): Promise<SnapshotMetadata> {
  return decodeMetadata((await history.snapshot(version)).metadata)
}

function identityOf(version: number, { id }: SnapshotMetadata): SnapshotIdentity {
  return { id, version: formatVersion(version) }
}

async function* whole(history: History, version: number): AsyncGenerator<readonly SnapshotChange[]> {
  for await (const page of orderedRecords(history, version, undefined)) {
    yield page.map(({ key, record }) => ({
      key: plainKey(history, key),
      before: undefined,
      after: fromPayload(record),
    }))
  }
}

/** What differs to the byte: an importing store makes new values of the very bytes of the old. */
async function* difference(
  history: History,
  base: number,
  version: number,
): AsyncGenerator<readonly SnapshotChange[]> {
  for await (const records of touchedRecords(history, base, version)) {
    const changes: SnapshotChange[] = []
    for (const { key, before, after } of records) {
      if (sameEncoding(before, after)) continue
      changes.push({ key: plainKey(history, key), before: encoded(before), after: encoded(after) })
    }
    yield changes
  }
}

function plainKey({ keys }: History, stored: Uint8Array): Uint8Array {
  return keys.ordered ? stored : Buffer.from(keys.decode(stored))
}

function encoded(record: ParsedRecord | undefined): SnapshotChange['after'] {
  return record && fromPayload(record)
}
