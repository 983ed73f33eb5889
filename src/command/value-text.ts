import { inspect } from 'node:util'
import { isJsonExact } from '../core/json-exact.ts'
import { escapeControls, jsonText } from './safe-text.ts'

/** A value on one line: as JSON, or for what JSON does not have as Node.js shows it. */
export function valueLine(value: unknown): string {
  if (isJsonExact(value)) return jsonText(value)
  const text = inspect(value, { breakLength: Number.POSITIVE_INFINITY, depth: 6, maxArrayLength: 50 })
  // The stack of an error, and the source of a regular expression, are shown as they are.
  return escapeControls(text.replaceAll(/\s*\n\s*/g, ' '))
}

/** A value by itself, over as many lines as it needs. */
export function valueBlock(value: unknown): string {
  if (isJsonExact(value)) return jsonText(value, 2)
  return escapeControls(
    inspect(value, { depth: Number.POSITIVE_INFINITY, maxArrayLength: null, maxStringLength: null }),
  )
}
