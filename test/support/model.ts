import { isDeepStrictEqual } from 'node:util'

/** A state as the model keeps it. */
export type ModelState = Map<string, unknown>

export interface ModelSnapshot {
  readonly version: string
  readonly state: ModelState
  readonly tags: Set<string>
}

/** What varve is checked against: a map, and a list of deep copies of it. */
export class Model {
  state: ModelState = new Map()
  snapshots: ModelSnapshot[] = []

  copy(): ModelState {
    return structuredClone(this.state)
  }

  find(version: string): ModelSnapshot {
    const found = this.snapshots.find(snapshot => snapshot.version === version)
    if (found === undefined) throw new Error(`the model has no ${version}`)
    return found
  }
}

/** Keys in the order of their UTF-8 bytes. */
export function sortedKeys(state: ModelState): string[] {
  return [...state.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}

export function toObject(state: ModelState): Record<string, unknown> {
  const object: Record<string, unknown> = {}
  for (const [key, value] of state) {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true })
  }
  return object
}

export interface ModelDifference {
  readonly key: string
  readonly type: 'added' | 'removed' | 'changed'
  readonly before?: unknown
  readonly after?: unknown
}

export function differences(before: ModelState, after: ModelState): ModelDifference[] {
  const keys = sortedKeys(new Map([...before, ...after]))
  const found: ModelDifference[] = []
  for (const key of keys) {
    if (!before.has(key)) found.push({ key, type: 'added', after: after.get(key) })
    else if (!after.has(key)) found.push({ key, type: 'removed', before: before.get(key) })
    else if (!isDeepStrictEqual(before.get(key), after.get(key))) {
      found.push({ key, type: 'changed', before: before.get(key), after: after.get(key) })
    }
  }
  return found
}
