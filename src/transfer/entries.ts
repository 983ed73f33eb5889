/** One entry as a file holds it. */
export interface ImportedEntry {
  readonly key: string
  /** As `JSON.parse` gives it: tags of a file with typed values are still in it, see `fromTypedJson`. */
  readonly value: unknown
  /** 1-based line of the file on which the entry begins. */
  readonly line: number
}

/**
 * The entries of a file, in batches and in the file's order, as it is read.
 *
 * It can be iterated once. Keys are not checked in any way: a file may repeat one, and only who stores them can tell.
 */
export interface EntryReader extends AsyncIterable<readonly ImportedEntry[]> {
  /**
   * The file's metadata as far as it has been read, else `undefined`.
   *
   * In files that varve wrote it is there with the first batch. Files of other programs may hold any JSON value here,
   * or nothing, and may hold it after the entries.
   */
  readonly metadata: unknown
}

/** An entry to write: its key, and its value as JSON text. */
export type ExportedEntry = readonly [key: string, valueText: string]

/** How a file is read. */
export interface ReadOptions {
  /** Looked at between chunks; its reason is thrown. */
  readonly signal?: AbortSignal | undefined
  /**
   * The most bytes of one entry, key and value, that are taken into memory. Default 256 MiB; never more than the
   * longest string of the JavaScript engine (512 MiB).
   */
  readonly maxValueBytes?: number | undefined
}

/** Text is handed on in pieces of about so many characters. */
export const CHUNK_LENGTH = 64 * 1024

/** The largest metadata that are read: they are kept in memory while the entries go by. */
export const MAX_METADATA_BYTES = 16 * 1024 * 1024
