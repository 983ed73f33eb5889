import { createPatch } from '../delta/json-patch.ts'
import type { Difference } from '../snapshot/compare.ts'
import { toTypedJson } from '../transfer/typed-json.ts'

/** A key that differs, as `--json` writes it: with the values, and for changed ones the JSON Patch between them. */
export function differenceJson({ key, type, before, after }: Difference): object {
  const from = type === 'added' ? undefined : toTypedJson(before)
  const to = type === 'removed' ? undefined : toTypedJson(after)
  return {
    key,
    type,
    ...(type !== 'added' && { before: from }),
    ...(type !== 'removed' && { after: to }),
    ...(type === 'changed' && { patch: createPatch(from, to) }),
  }
}
