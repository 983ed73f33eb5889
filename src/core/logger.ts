/**
 * Where structured log lines go: any object of the shape of pino or of `console`.
 *
 * A line is an object of fields and a message. Levels that are absent are skipped.
 */
export interface Logger {
  /** @param fields `err` is the error, where there is one. */
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Says nothing. */
export const SILENT_LOGGER: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
}
