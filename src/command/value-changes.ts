import { applyPatch, createPatch } from '../delta/json-patch.ts'
import { parsePointer } from '../delta/json-pointer.ts'

/** A place inside a value that changed. */
export interface ValueChange {
  readonly type: 'added' | 'removed' | 'changed'
  /** A JSON Pointer (RFC 6901); `''` is the whole value. */
  readonly path: string
  readonly before?: unknown
  readonly after?: unknown
}

/**
 * The places at which two values differ, in the order in which a patch would change them: the index in a path is that of
 * a list to which the changes before it were made.
 */
export function* valueChanges(before: unknown, after: unknown): Generator<ValueChange, void, undefined> {
  let current = before
  for (const operation of createPatch(before, after)) {
    const { op, path } = operation
    if (op === 'add') yield { type: 'added', path, after: operation.value }
    else if (op === 'remove') yield { type: 'removed', path, before: valueAt(current, path) }
    else if (op === 'replace') {
      yield { type: 'changed', path, before: valueAt(current, path), after: operation.value }
    }
    current = applyPatch(current, [operation])
  }
}

function valueAt(value: unknown, path: string): unknown {
  let place = value
  for (const token of parsePointer(path) ?? []) {
    if (typeof place !== 'object' || place === null || !Object.hasOwn(place, token)) return undefined
    place = (place as Record<string, unknown>)[token]
  }
  return place
}
