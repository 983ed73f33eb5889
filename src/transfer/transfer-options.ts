/** How far an export or import has come. */
export interface TransferProgress {
  /** Entries written or read so far. */
  readonly entries: number
  /** Bytes of the file read so far, and in all; both 0 in exports. */
  readonly bytes: number
  readonly bytesTotal: number
  /**
   * Of a large import, once all has been read: entries that are in place, and in all. It can no more be cancelled then,
   * and ends by itself, if need be by whoever opens the store next.
   */
  readonly written?: number
  readonly writtenTotal?: number
}

/** What exports and imports may be given. */
export interface TransferOptions {
  /** Cancels; the file and the store are then as they were. */
  readonly signal?: AbortSignal
  /** Called every now and then. */
  readonly onProgress?: (progress: TransferProgress) => void
}

/** What an export wrote. */
export interface ExportSummary {
  /** Keys written; of a difference, also those that it removes. */
  readonly entries: number
  /** Size of the file. */
  readonly bytes: number
  /** Set if the file is encrypted: a snapshot file may be, if that is asked for. */
  readonly encrypted?: true
}
