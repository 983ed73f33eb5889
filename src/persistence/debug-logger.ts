import { inspect } from 'node:util'
import type { Logger } from '../core/logger.ts'

/** A logger to standard error, if the environment asks for one by `DEBUG=varve` (among other names, or `*`). */
export function debugLogger(): Logger | undefined {
  const names = (process.env['DEBUG'] ?? '').split(/[\s,]+/)
  if (!names.includes('varve') && !names.includes('*')) return undefined
  const line =
    (level: string) =>
    (fields: object, message: string): void => {
      process.stderr.write(
        `varve ${level} ${message} ${inspect(fields, { breakLength: Number.POSITIVE_INFINITY })}\n`,
      )
    }
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
}
