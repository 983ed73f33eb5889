import {
  DataIntegrityError,
  EncryptionError,
  EngineError,
  ExportError,
  ImportError,
  InvalidArgumentError,
  InvalidKeyError,
  SnapshotNotFoundError,
  UnserializableValueError,
} from '../core/errors.ts'

/** What the command `varve` ends with. Documented in docs/command.md, and stable. */
export const EXIT = {
  /** Done. */
  done: 0,
  /** The answer is no: the key is not there, or (with `diff --exit-code`) there is a difference. */
  no: 1,
  /** The command line, or a value, key or version in it, is not as it should be. */
  usage: 2,
  /** The store is not there, or cannot be opened, read or written. */
  store: 3,
  /** The version or tag does not exist. */
  version: 4,
  /** Stored data is damaged. */
  damaged: 5,
  /** A file to read or write is missing, damaged, or cannot be written. */
  file: 6,
  /** Anything else: a transaction that lost too often, a defect. */
  failed: 70,
} as const

/** One of the codes of {@link EXIT}, or 128 and the number of the signal that stopped the command. */
export type ExitCode = number

/** What a shell says of a process that a signal ended. */
export const SIGNAL_EXIT = 128

/** The exit code that stands for an error. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof SnapshotNotFoundError) return EXIT.version
  if (error instanceof DataIntegrityError) return EXIT.damaged
  if (error instanceof EngineError || error instanceof EncryptionError) return EXIT.store
  if (error instanceof ImportError || error instanceof ExportError) return EXIT.file
  if (
    error instanceof InvalidArgumentError ||
    error instanceof InvalidKeyError ||
    error instanceof UnserializableValueError
  ) {
    return EXIT.usage
  }
  return EXIT.failed
}
