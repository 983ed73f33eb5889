import { stat } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { publishSnapshot } from '../core/diagnostics.ts'
import { SnapshotNotFoundError } from '../core/errors.ts'
import { decodeKey } from '../core/key.ts'
import { abortSignal, callback, checkOptions, nonEmptyString } from '../core/options.ts'
import type { EncodedValue } from '../core/value-codec.ts'
import {
  encryptionKey as checkKey,
  type EncryptionKey,
  type Secret,
  toSecret,
} from '../crypto/encryption-key.ts'
import type { BulkSource } from '../history/bulk-commit.ts'
import { deleteOthers } from '../history/delete-others.ts'
import type { History } from '../history/history.ts'
import type { PatchBuffer } from '../history/patch-buffer.ts'
import { readManyAt } from '../history/reader.ts'
import {
  compressPayload,
  fromPayload,
  type ParsedRecord,
  type Payload,
  sameEncoding,
  toPayload,
} from '../history/record.ts'
import { listSnapshotRows, requireSnapshot, type SnapshotRow } from '../history/snapshot-table.ts'
import { importError } from '../transfer/import-error.ts'
import { openImport } from '../transfer/open-file.ts'
import { unsealFile } from '../transfer/sealed-file.ts'
import { type CheckedSnapshotFile, checkSnapshotFile, readSnapshotFile } from '../transfer/snapshot-file.ts'
import type { TransferOptions } from '../transfer/transfer-options.ts'
import { decodeMetadata, encodeMetadata } from './metadata.ts'
import { touchedRecords } from './touched-records.ts'
import { formatVersion, type VersionId } from './version.ts'

/** What the import of a snapshot may be given. */
export interface ImportSnapshotOptions extends TransferOptions {
  /** The key of an encrypted file. Given, a file that is not encrypted is refused. */
  readonly encryptionKey?: EncryptionKey
}

/** Thrown inside a commit to say that another call has imported the snapshot meanwhile. */
const ALREADY_THERE = Symbol('already there')

/**
 * Adds the snapshot of a file to the store. See `SnapshotManager.importSnapshot`.
 *
 * The file is read twice: first its checksums, so that nothing at all is written for a file that is damaged, then its
 * rows. Of a difference, every value that its rows replace is checked. The rest of the base is known by its id alone:
 * to look at all of it would cost as much as the whole state, for each difference of a chain.
 */
export async function importSnapshot(
  history: History,
  path: string,
  options: ImportSnapshotOptions,
  compression: boolean,
): Promise<VersionId> {
  const file = nonEmptyString(path, 'path')
  const checked = checkOptions<ImportSnapshotOptions>(
    options,
    { encryptionKey: checkKey, signal: abortSignal, onProgress: callback },
    'importSnapshot()',
  )
  const { encryptionKey } = checked
  const secret = encryptionKey === undefined ? undefined : toSecret(encryptionKey, 'encryptionKey')
  await refusePipe(file)
  const contents = await checkSnapshotFile(
    unsealFile(openImport(file, { signal: checked.signal }), file, secret),
    file,
  )
  const { id, base, version: _, ...described } = contents.header
  const snapshots = await history.snapshots()
  const newest = snapshots.at(-1)?.version ?? 0
  const existing = findById(snapshots, id)
  if (existing !== undefined) return formatVersion(existing.version)
  const baseVersion = base && findById(snapshots, base.id)?.version
  if (base !== undefined && baseVersion === undefined) {
    throw importError(
      file,
      undefined,
      `it is a difference from ${base.version} (${base.id}), and no snapshot here has that id. Import that one first, or export this one whole, without a base.`,
    )
  }

  const source = snapshotSource(history, contents, secret, baseVersion, newest, checked, compression)
  const metadata = encodeMetadata({ id, ...described, kind: 'full' })
  let added = false
  try {
    await history.bulk(source, { kind: 'snapshot', metadata })
    added = true
  } catch (error) {
    if (error instanceof SnapshotNotFoundError) {
      throw importError(
        file,
        undefined,
        'its base was deleted meanwhile. Import that one again first.',
        error,
      )
    }
    if (error !== ALREADY_THERE) throw error
  }
  const imported = await history.view(async view => findById(await listSnapshotRows(view, newest), id))
  if (imported !== undefined) {
    const version = formatVersion(imported.version)
    const { tags } = described
    if (added) publishSnapshot(() => ({ engine: history.engine.name, version, tags, origin: 'imported' }))
    return version
  }
  throw new SnapshotNotFoundError(
    `The snapshot of ${JSON.stringify(file)} was imported, and at once deleted by another writer.`,
  )
}

/** A pipe can be read once only. What is missing, or a folder, is refused when it is opened. */
async function refusePipe(file: string): Promise<void> {
  const stats = await stat(file).catch(() => undefined)
  if (stats === undefined || stats.isFile() || stats.isDirectory()) return
  throw importError(
    file,
    undefined,
    'it is not a regular file, and has to be read twice. Copy it to a file first.',
  )
}

function findById(snapshots: readonly SnapshotRow[], id: string): SnapshotRow | undefined {
  return snapshots.find(row => decodeMetadata(row.metadata).id === id)
}

/**
 * The state of a snapshot file, as a change of the current state: of the whole state for a whole file; for a
 * difference, of what was touched since its base, and of what is in the file.
 *
 * @param base The local version of the base; `undefined` for a whole file.
 * @param newest The newest version when the file's id was looked for.
 */
function snapshotSource(
  history: History,
  contents: CheckedSnapshotFile,
  secret: Secret | undefined,
  base: number | undefined,
  newest: number,
  { signal, onProgress }: TransferOptions,
  compression: boolean,
): BulkSource {
  /** Files hold keys as they are. */
  const stored = (key: Uint8Array): Uint8Array =>
    history.keys.ordered ? key : history.keys.encode(decodeKey(key))

  const lookup = async (keys: readonly Uint8Array[]): Promise<(EncodedValue | undefined)[]> => {
    // An embedded engine answers at once, and a block may have many rows: let others have their turn.
    await nextTurn()
    const records = base === undefined ? [] : await history.getManyAt(base, keys.map(stored))
    return records.map(record => record && fromPayload(record))
  }

  const ofBase = (record: ParsedRecord | undefined): Payload | undefined =>
    record && compressPayload(record, compression)

  async function addFile(patch: PatchBuffer): Promise<void> {
    const progress = { entries: 0, bytes: 0, bytesTotal: 0 }
    const chunks = openImport(contents.file, {
      signal,
      onProgress({ bytesRead, bytesTotal }) {
        progress.bytes = bytesRead
        progress.bytesTotal = bytesTotal
        onProgress?.({ ...progress })
      },
    })
    for await (const { key, value } of readSnapshotFile(
      unsealFile(chunks, contents.file, secret),
      contents,
      lookup,
    )) {
      patch.add(stored(key), value && toPayload(value, compression))
      await patch.relieve()
      progress.entries++
    }
    onProgress?.({ ...progress })
  }

  return {
    async prepare(patch) {
      if (base === undefined) {
        await addFile(patch)
        await deleteOthers(history, patch, patch.hasInOrder())
      } else {
        for await (const records of touchedRecords(history, base, 'head')) {
          for (const { key, before, after } of records) {
            if (!sameEncoding(before, after)) patch.add(key, ofBase(before))
          }
          await patch.relieve()
          await nextTurn()
        }
        // After those of the base, as later targets win.
        await addFile(patch)
      }
      signal?.throwIfAborted()
    },
    async targets(view, keys, patch) {
      // The last call is made in the commit that decides, after which nobody else can add this snapshot.
      if (findById(await listSnapshotRows(view, newest), contents.header.id) !== undefined)
        throw ALREADY_THERE
      const found = await patch.find(view, keys)
      if (base === undefined) return found.map(target => target ?? { target: undefined })
      const { epoch } = await requireSnapshot(view, base)
      const records = await readManyAt(view, keys, epoch)
      return found.map((target, i) => target ?? { target: ofBase(records[i]) })
    },
  }
}
