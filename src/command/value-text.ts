import { inspect } from 'node:util'
import { isJsonExact } from '../core/json-exact.ts'
import { safeJson } from './safe-text.ts'

/** A value on one line: as JSON, or for what JSON does not have as Node.js shows it. */
export function valueLine(value: unknown): string {
  if (isJsonExact(value)) return safeJson(JSON.stringify(value))
  return inspect(value, { breakLength: Number.POSITIVE_INFINITY, depth: 6, maxArrayLength: 50 })
}

/** A value by itself, over as many lines as it needs. */
export function valueBlock(value: unknown): string {
  if (isJsonExact(value)) return safeJson(JSON.stringify(value, null, 2))
  return inspect(value, { depth: Number.POSITIVE_INFINITY, maxArrayLength: null, maxStringLength: null })
}
