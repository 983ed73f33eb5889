/**
 * The calls that soak tests make of a store, as they go through a pipe. Values are named by an id, from which
 * {@link valueWithId} makes them, so that a call with a thousand large values is told in a few bytes.
 */
export type StoreCall =
  | { readonly kind: 'set'; readonly key: string; readonly id: string }
  | { readonly kind: 'setMany'; readonly entries: readonly (readonly [key: string, id: string])[] }
  | { readonly kind: 'delete'; readonly key: string }
  /** Replaces a value by one whose id is `id`, and tells the id of the one before. */
  | { readonly kind: 'update'; readonly key: string; readonly id: string }
  /** Reads keys, and then sets keys, or deletes those without an id. */
  | {
      readonly kind: 'transaction'
      readonly reads: readonly string[]
      readonly writes: readonly (readonly [key: string, id: string | null])[]
    }
  | { readonly kind: 'save'; readonly entries: readonly (readonly [key: string, id: string])[] }
  | { readonly kind: 'clear' }
  | { readonly kind: 'get'; readonly key: string }
  | { readonly kind: 'load' }
  | { readonly kind: 'createSnapshot'; readonly tag: string | null }
  | { readonly kind: 'createDeltaSnapshot' }
  | { readonly kind: 'restoreSnapshot'; readonly version: string }
  | { readonly kind: 'getSnapshotData'; readonly version: string }
  | { readonly kind: 'deleteSnapshot'; readonly version: string }
  /** Keeps the snapshots with a tag, or all if none has it. */
  | { readonly kind: 'pruneSnapshots'; readonly keep: string }
  | { readonly kind: 'importData'; readonly file: string }
  | { readonly kind: 'importSnapshot'; readonly file: string }
  | { readonly kind: 'exportData'; readonly path: string }
  | { readonly kind: 'exportSnapshot'; readonly version: string; readonly path: string }
  | { readonly kind: 'maintain' }
  | { readonly kind: 'pack' }
  | { readonly kind: 'compact' }

/** Keys and the ids of their values. */
export type StateIds = readonly (readonly [key: string, id: string])[]

/** What a call answers. */
export type StoreAnswer =
  | { readonly done: true }
  /** Of reads, and of those that tell what was there before. */
  | { readonly ids: readonly (string | null)[] }
  | { readonly state: StateIds }
  | { readonly existed: boolean }
  | { readonly version: string }
  | { readonly removed: readonly string[] }
  | { readonly counts: { readonly set: number; readonly deleted: number; readonly unchanged: number } }
  /** The stable code of an error that the call may end with. */
  | { readonly code: string }

interface SoakValue {
  readonly id: string
  readonly pad: string
}

/** Most values are small; some are compressed, and some take pages of their own. */
const PADS = [0, 0, 0, 20, 20, 200, 1500, 6000] as const

/** The value with an id; how long it is follows from the id too. */
export function valueWithId(id: string): SoakValue {
  let hash = 2166136261
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 16777619) >>> 0
  const length = PADS[hash % PADS.length] as number
  let pad = ''
  // Not all alike: compressing has some of it left.
  for (let word = hash; pad.length < length; word = Math.imul(word, 1664525) + 1013904223) {
    pad += (word >>> 0).toString(36)
  }
  return { id, pad: pad.slice(0, length) }
}

/** The id of a value that a store has answered, `null` for an absent one. @throws if it is not the value of that id. */
export function idOf(value: unknown): string | null {
  if (value === undefined) return null
  const { id, pad } = value as Partial<SoakValue>
  if (typeof id === 'string' && valueWithId(id).pad === pad) return id
  throw new Error(`a value that nobody wrote: ${JSON.stringify(value)?.slice(0, 200)}`)
}

/** The ids of a whole state, in the order of its keys. */
export function idsOf(state: Readonly<Record<string, unknown>>): StateIds {
  return Object.entries(state).map(([key, value]) => [key, idOf(value) as string] as const)
}

export function stateOf(entries: StateIds): Record<string, unknown> {
  return Object.fromEntries(entries.map(([key, id]) => [key, valueWithId(id)]))
}
