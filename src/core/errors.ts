/** Options every varve error accepts: the error that caused it, if any. */
export interface PersistenceErrorOptions {
  readonly cause?: unknown
}

/**
 * The base of every error this library throws on purpose.
 *
 * Programs branch on {@link PersistenceError.code | code}, which is stable across releases; messages are for
 * people, may change, and say what was wrong, where, and what to do about it.
 *
 * @example
 * ```ts
 * import { createPersistence, PersistenceError } from 'varve'
 *
 * await using state = await createPersistence()
 * try {
 *   await state.restoreSnapshot('v7')
 * } catch (error) {
 *   if (error instanceof PersistenceError && error.code === 'SNAPSHOT_NOT_FOUND') console.log(error.message)
 * }
 * ```
 */
export class PersistenceError extends Error {
  /** A stable, machine-readable code in capitals, such as `SNAPSHOT_NOT_FOUND`. */
  readonly code: string

  constructor(code: string, message: string, options?: PersistenceErrorOptions) {
    super(message, options)
    this.code = code
  }

  override get name(): string {
    return this.constructor.name
  }
}

/** Bad arguments or options: an unknown option, a negative bound, something that is not what the call takes. */
export class InvalidArgumentError extends PersistenceError {
  constructor(message: string, options?: PersistenceErrorOptions) {
    super('INVALID_ARGUMENT', message, options)
  }
}

/** A stored record, file or delta does not match its checksum or its form. The data is damaged; no value is returned. */
export class DataIntegrityError extends PersistenceError {
  constructor(message: string, options?: PersistenceErrorOptions) {
    super('DATA_INTEGRITY', message, options)
  }
}

/** A delta cannot be calculated, or does not fit the base it is applied to. */
export class DeltaError extends PersistenceError {
  constructor(message: string, options?: PersistenceErrorOptions) {
    super('DELTA', message, options)
  }
}

/** The version or tag named does not exist, or the snapshot was deleted, possibly while it was being read. */
export class SnapshotNotFoundError extends PersistenceError {
  constructor(message: string, options?: PersistenceErrorOptions) {
    super('SNAPSHOT_NOT_FOUND', message, options)
  }
}

/** A key is not a non-empty, well-formed string of at most 1,024 UTF-8 bytes. */
export class InvalidKeyError extends PersistenceError {
  constructor(message: string, options?: PersistenceErrorOptions) {
    super('INVALID_KEY', message, options)
  }
}

/** A value, or a part of it, cannot be stored so that it comes back equal. */
export class UnserializableValueError extends PersistenceError {
  /** Where inside the value the offending part is, such as `$.items[3].callback`. */
  readonly path: string

  constructor(message: string, path: string, options?: PersistenceErrorOptions) {
    super('UNSERIALIZABLE_VALUE', message, options)
    this.path = path
  }
}

/** Where in a file an {@link ImportError} was found. */
export interface ImportErrorOptions extends PersistenceErrorOptions {
  readonly file: string
  /** 1-based line of the file, where the format has lines. */
  readonly line?: number
}

/** A file to import is missing, truncated, or not of the form it should be. Nothing was imported. */
export class ImportError extends PersistenceError {
  /** The path that was to be imported. */
  readonly file: string
  /** 1-based line of the file; `undefined` where the format has no lines, or the whole file is meant. */
  readonly line: number | undefined

  constructor(message: string, options: ImportErrorOptions) {
    super('IMPORT', message, options)
    this.file = options.file
    this.line = options.line
  }
}

/** Which file an {@link ExportError} is about. */
export interface ExportErrorOptions extends PersistenceErrorOptions {
  readonly file: string
}

/** A file cannot be written: the folder is missing, the disk is full. What was at its place before is untouched. */
export class ExportError extends PersistenceError {
  /** The path that was to be written. */
  readonly file: string

  constructor(message: string, options: ExportErrorOptions) {
    super('EXPORT', message, options)
    this.file = options.file
  }
}

/** A cache was misconfigured, or its backing store failed. */
export class CacheError extends PersistenceError {
  constructor(message: string, options?: PersistenceErrorOptions) {
    super('CACHE', message, options)
  }
}

/** A transaction kept losing against other writers, or a condition it stated no longer holds. */
export class ConflictError extends PersistenceError {
  constructor(message: string, options?: PersistenceErrorOptions) {
    super('CONFLICT', message, options)
  }
}

/**
 * The storage engine failed: the folder cannot be written, the disk is full, the server is gone.
 *
 * Its code is `ENGINE`, or where more is known `ENGINE_NOT_A_FOLDER`, `ENGINE_NOT_WRITABLE`, `ENGINE_READ_ONLY`,
 * `ENGINE_DISK_FULL`, `ENGINE_DAMAGED`, `ENGINE_FILES_GONE`, `FORMAT_TOO_NEW`, or, where no store is made, `ENGINE_NO_STORE`; on a server also `ENGINE_UNREACHABLE`,
 * `ENGINE_ACCESS_DENIED`, `ENGINE_TOO_MANY_CONNECTIONS`, `ENGINE_VIEW_LOST`, `ENGINE_COMMIT_UNKNOWN` or
 * `ENGINE_VALUE_TOO_LARGE`; and of copies `COPY_SOURCE_EMPTY`, `COPY_TARGET_NOT_EMPTY` or `COPY_UNFINISHED`.
 */
export class EngineError extends PersistenceError {
  constructor(message: string, options?: PersistenceErrorOptions & { readonly code?: string }) {
    super(options?.code ?? 'ENGINE', message, options)
  }
}

/**
 * An encrypted store or file cannot be read with the key that was given, or without one. Nothing was changed.
 *
 * Its code says why: `ENCRYPTION_KEY_MISSING`, `ENCRYPTION_KEY_WRONG`, `ENCRYPTION_KEY_OUTDATED` (another process has
 * replaced the keys since this one opened the store), or `ENCRYPTION_NOT_ENCRYPTED` and `ENCRYPTION_OTHER_MODE`, where
 * the store is not encrypted as the options say.
 */
export class EncryptionError extends PersistenceError {
  constructor(message: string, options: PersistenceErrorOptions & { readonly code: EncryptionErrorCode }) {
    super(options.code, message, options)
  }
}

/** The codes of {@link EncryptionError}. */
export type EncryptionErrorCode =
  | 'ENCRYPTION_KEY_MISSING'
  | 'ENCRYPTION_KEY_WRONG'
  | 'ENCRYPTION_KEY_OUTDATED'
  | 'ENCRYPTION_NOT_ENCRYPTED'
  | 'ENCRYPTION_OTHER_MODE'

/** The store was closed before, or while, the call ran. */
export class StoreClosedError extends PersistenceError {
  constructor(message = 'The store is closed; open it again with createPersistence() before using it.') {
    super('STORE_CLOSED', message)
  }
}
