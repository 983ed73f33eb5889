import { asBuffer } from '../core/bytes.ts'
import {
  ImportError,
  InvalidArgumentError,
  InvalidKeyError,
  UnserializableValueError,
} from '../core/errors.ts'
import { abortSignal, callback, checkOptions, nonEmptyString, oneOf } from '../core/options.ts'
import { JSON_CODEC } from '../core/value-codec.ts'
import { isViewLost } from '../engine/view-lost.ts'
import type { BulkSource } from '../history/bulk-commit.ts'
import { deleteOthers } from '../history/delete-others.ts'
import { type History, ViewLostError } from '../history/history.ts'
import type { PatchBuffer } from '../history/patch-buffer.ts'
import {
  decodePayload,
  fromPayload,
  isJsonPayload,
  type ParsedRecord,
  type Payload,
} from '../history/record.ts'
import { atomicWrite } from '../transfer/atomic-write.ts'
import type { EntryReader, ExportedEntry, ImportedEntry } from '../transfer/entries.ts'
import { findInfinity } from '../transfer/find-infinity.ts'
import { readJsonDocument, writeJsonDocument } from '../transfer/json-document.ts'
import { readJsonLines, writeJsonLines } from '../transfer/json-lines.ts'
import { isGzipName, openImport } from '../transfer/open-file.ts'
import { toPlainJson } from '../transfer/plain-json.ts'
import type { ExportSummary, TransferOptions } from '../transfer/transfer-options.ts'
import { fromTypedJson, isTagged, TAGGED_METADATA, toTypedJson } from '../transfer/typed-json.ts'

/** What an export may be given. */
export interface ExportOptions extends TransferOptions {
  /**
   * What to do with values that JSON does not carry exactly, such as a Date or a Map: `'refuse'` (the default) throws
   * {@link UnserializableValueError} with key and path; `'tagged'` writes them so that an import restores them.
   */
  readonly types?: 'refuse' | 'tagged'
}

interface FileFormat {
  readonly read: (
    source: AsyncIterable<Uint8Array>,
    file: string,
    options: { signal?: AbortSignal },
  ) => EntryReader
  readonly write: (
    batches: AsyncIterable<readonly ExportedEntry[]>,
    metadata: object,
  ) => AsyncGenerator<Uint8Array>
}

const FORMATS: Readonly<Record<string, FileFormat>> = {
  '.json': { read: readJsonDocument, write: writeJsonDocument },
  '.jsonl': { read: readJsonLines, write: writeJsonLines },
}

/** Values turned into text at a time: texts that live longer cost the garbage collector more. */
const BATCH_ENTRIES = 32

/** The format that a file's name asks for. */
function formatOf(path: string): FileFormat {
  const name = path.toLowerCase().replace(/\.gz$/, '')
  for (const [extension, format] of Object.entries(FORMATS)) if (name.endsWith(extension)) return format
  throw new InvalidArgumentError(
    `The format of ${JSON.stringify(path)} cannot be told from its name. Use .json or .jsonl, each with an optional .gz.`,
  )
}

/** Writes the current state to a file, all of one moment. See `Persistence.exportData`. */
export async function exportData(
  history: History,
  path: string,
  options: ExportOptions = {},
): Promise<ExportSummary> {
  const format = formatOf(nonEmptyString(path, 'path'))
  const {
    signal,
    onProgress,
    types = 'refuse',
  } = checkOptions<ExportOptions>(
    options,
    { signal: abortSignal, onProgress: callback, types: oneOf(['refuse', 'tagged']) },
    'exportData()',
  )
  const toText = types === 'tagged' ? taggedText : plainText
  let entries = 0
  async function* batches(renewable: boolean): AsyncGenerator<readonly ExportedEntry[]> {
    entries = 0
    for await (const page of history.records('head', {}, { consistent: true, renewable })) {
      signal?.throwIfAborted()
      for (let start = 0; start < page.length; start += BATCH_ENTRIES) {
        yield page.slice(start, start + BATCH_ENTRIES).map(({ key, record }): ExportedEntry => {
          const name = history.keys.decode(key)
          return [name, toText(record, name)]
        })
      }
      entries += page.length
      onProgress?.({ entries, bytes: 0, bytesTotal: 0 })
    }
  }
  const metadata = {
    format: 'varve',
    formatVersion: 1,
    exportedAt: new Date().toISOString(),
    encrypted: false,
    ...(types === 'tagged' && TAGGED_METADATA),
  }
  const write = (renewable: boolean): Promise<number> =>
    atomicWrite(path, format.write(batches(renewable), metadata), { signal, gzip: isGzipName(path) })
  const bytes = await write(true).catch((error: unknown) => {
    // Another process has committed just when the view was renewed, or its connection broke: once more, holding on to one.
    if (error instanceof ViewLostError || isViewLost(error)) return write(false)
    throw error
  })
  return { entries, bytes }
}

function plainText(record: ParsedRecord, key: string): string {
  const value = fromPayload(record)
  // What is stored as JSON is the text already.
  if (value.codec === JSON_CODEC) return asBuffer(value.bytes).toString('utf8')
  return JSON.stringify(toPlainJson(decodePayload(record), key))
}

function taggedText(record: ParsedRecord): string {
  return JSON.stringify(toTypedJson(decodePayload(record)))
}

/** The change that makes the state equal to a file's. See `Persistence.importData`. */
export function importSource(
  history: History,
  path: string,
  options: TransferOptions,
  encode: (value: unknown) => Payload,
): BulkSource {
  const format = formatOf(nonEmptyString(path, 'path'))
  const { signal, onProgress } = checkOptions<TransferOptions>(
    options,
    { signal: abortSignal, onProgress: callback },
    'importData()',
  )
  const progress = { entries: 0, bytes: 0, bytesTotal: 0 }
  return {
    onProgress: ({ entries, entriesTotal }) =>
      onProgress?.({ ...progress, written: entries, writtenTotal: entriesTotal }),
    async prepare(patch) {
      // It may begin again.
      Object.assign(progress, { entries: 0, bytes: 0, bytesTotal: 0 })
      const chunks = openImport(path, {
        signal,
        onProgress({ bytesRead, bytesTotal }) {
          progress.bytes = bytesRead
          progress.bytesTotal = bytesTotal
        },
      })
      const reader = format.read(chunks, path, signal === undefined ? {} : { signal })
      for await (const batch of reader) {
        await addBatch(history, patch, path, batch, entry => {
          const value = isTagged(reader.metadata)
            ? fromTypedJson(entry.value, { file: path, line: entry.line })
            : entry.value
          const payload = encode(value)
          if (!isTagged(reader.metadata)) refuseInfinity(entry, payload)
          return payload
        })
        await patch.relieve()
        progress.entries += batch.length
        onProgress?.({ ...progress })
      }
      await deleteOthers(history, patch, patch.hasInOrder())
      signal?.throwIfAborted()
    },
    async targets(view, keys, patch) {
      const found = await patch.find(view, keys)
      return found.map(target => target ?? { target: undefined })
    },
  }
}

/**
 * A number that JSON writes but a double does not reach becomes Infinity when it is read. That would not be what the file
 * says, nor could it be exported again.
 */
function refuseInfinity({ value }: ImportedEntry, { codec }: Payload): void {
  // What JSON carries exactly has no Infinity in it.
  if (isJsonPayload(codec)) return
  const path = findInfinity(value, '$')
  if (path !== undefined) {
    throw new UnserializableValueError(
      `The number at ${path} is too large: a double holds up to about 1.8e308.`,
      path,
    )
  }
}

/** Adds entries of a file to a patch. A key that the file gave before is an error of the file. */
async function addBatch(
  history: History,
  patch: PatchBuffer,
  file: string,
  batch: readonly ImportedEntry[],
  encode: (entry: ImportedEntry) => Payload,
): Promise<void> {
  const keys = batch.map(entry => located(file, entry, () => history.keys.encode(entry.key)))
  const repeated = await patch.has(keys)
  const lines = new Map<string, number>()
  for (const [i, entry] of batch.entries()) {
    if (repeated[i] === true || lines.has(entry.key)) {
      const first = lines.get(entry.key)
      throw new ImportError(
        `Cannot import ${JSON.stringify(file)}, line ${entry.line}: the key ${JSON.stringify(entry.key)} is there twice${first === undefined ? '' : ` (first on line ${first})`}. Remove one of the two.`,
        { file, line: entry.line },
      )
    }
    lines.set(entry.key, entry.line)
    patch.add(
      keys[i] as Uint8Array,
      located(file, entry, () => encode(entry)),
    )
  }
}

/** Says where in the file a key or value stands that cannot be stored. */
function located<T>(file: string, entry: ImportedEntry, take: () => T): T {
  try {
    return take()
  } catch (cause) {
    if (!(cause instanceof InvalidKeyError || cause instanceof UnserializableValueError)) throw cause
    throw new ImportError(`Cannot import ${JSON.stringify(file)}, line ${entry.line}: ${cause.message}`, {
      file,
      line: entry.line,
      cause,
    })
  }
}
