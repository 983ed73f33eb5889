import { createHash } from 'node:crypto'
import type { SequentialModel } from '../support/linearizability.ts'
import type { StateIds, StoreAnswer, StoreCall } from './store-call.ts'

/** A whole state: keys, and the ids of their values. */
export type KeyIds = ReadonlyMap<string, string>

export interface SnapshotModel {
  readonly version: string
  readonly state: KeyIds
  readonly tag: string | null
  /** The file it was imported from. */
  readonly file: string | null
}

/** What a store holds: the state and a list of copies of it. */
export interface StoreState {
  readonly keys: KeyIds
  /** In the order of their versions. */
  readonly snapshots: readonly SnapshotModel[]
  /** The number of the next version. */
  readonly next: number
}

/** What everybody sees who looks at the whole store. */
export interface Observation {
  readonly state: StateIds
  readonly snapshots: readonly {
    readonly version: string
    readonly tag: string | null
    readonly state: StateIds
  }[]
}

export type ModelCall = StoreCall | { readonly kind: 'observe' }
export type ModelAnswer = StoreAnswer | Observation

export const EMPTY_STORE: StoreState = { keys: new Map(), snapshots: [], next: 1 }

/**
 * The store as its callers know it. `files` are the states of the files to import.
 */
export function storeModel(
  files: ReadonlyMap<string, KeyIds>,
  initial: StoreState = EMPTY_STORE,
): SequentialModel<StoreState, ModelCall, ModelAnswer> {
  function step(state: StoreState, call: ModelCall, answer: ModelAnswer | undefined): StoreState | undefined {
    if (answer !== undefined && 'code' in answer) return refused(state, call, answer.code)
    // What was killed may have been refused as well; it then has changed nothing.
    if ('version' in call && answer === undefined && !has(state, call.version)) return state
    const made = make(state, call)
    return made !== undefined && (answer === undefined || agrees(made.answer, answer))
      ? made.state
      : undefined
  }

  function make(state: StoreState, call: ModelCall): { state: StoreState; answer: ModelAnswer } | undefined {
    const { keys } = state
    const to = (next: KeyIds, answer?: StoreAnswer) => ({
      state: { ...state, keys: next },
      answer: answer ?? { counts: counts(keys, next) },
    })
    switch (call.kind) {
      case 'set':
        return to(written(keys, [[call.key, call.id]]), DONE)
      case 'setMany': {
        const next = written(keys, call.entries)
        const given = new Map(call.entries)
        const set = [...given].filter(([key, id]) => keys.get(key) !== id).length
        return to(next, { counts: { set, deleted: 0, unchanged: given.size - set } })
      }
      case 'delete':
        return to(written(keys, [[call.key, null]]), { existed: keys.has(call.key) })
      case 'update':
        return to(written(keys, [[call.key, call.id]]), { ids: [keys.get(call.key) ?? null] })
      case 'transaction':
        return to(written(keys, call.writes), { ids: call.reads.map(key => keys.get(key) ?? null) })
      case 'save':
        return to(new Map(call.entries))
      case 'clear':
        return to(new Map())
      case 'importData':
        return to(files.get(call.file) as KeyIds)
      case 'restoreSnapshot': {
        const snapshot = find(state, call.version)
        return snapshot && to(snapshot.state)
      }
      case 'get':
        return { state, answer: { ids: [keys.get(call.key) ?? null] } }
      case 'load':
      case 'exportData':
        return { state, answer: { state: [...keys] } }
      case 'getSnapshotData':
      case 'exportSnapshot': {
        const snapshot = find(state, call.version)
        return snapshot && { state, answer: { state: [...snapshot.state] } }
      }
      case 'createSnapshot':
        return added(state, { state: keys, tag: call.tag, file: null })
      case 'createDeltaSnapshot':
        return added(state, { state: keys, tag: null, file: null })
      case 'importSnapshot':
        return imported(state, call.file)
      case 'deleteSnapshot': {
        if (!has(state, call.version)) return undefined
        return without(state, ({ version }) => version === call.version, DONE)
      }
      case 'pruneSnapshots': {
        const kept = state.snapshots.some(({ tag }) => tag === call.keep)
        const removed = kept ? state.snapshots.filter(({ tag }) => tag !== call.keep) : []
        const answer = { removed: removed.map(({ version }) => version) }
        return without(state, snapshot => removed.includes(snapshot), answer)
      }
      case 'maintain':
      case 'pack':
      case 'compact':
        return { state, answer: DONE }
      case 'observe':
        return {
          state,
          answer: {
            state: [...keys],
            snapshots: state.snapshots.map(({ version, tag, state }) => ({
              version,
              tag,
              state: [...state],
            })),
          },
        }
    }
  }

  function imported(state: StoreState, file: string): { state: StoreState; answer: StoreAnswer } {
    const known = state.snapshots.find(snapshot => snapshot.file === file)
    if (known !== undefined) return { state, answer: { version: known.version } }
    return added(state, { state: files.get(file) as KeyIds, tag: null, file })
  }

  /** The state after a call that has ended with an error; `undefined` where it cannot have ended with it. */
  function refused(state: StoreState, call: ModelCall, code: string): StoreState | undefined {
    // Others were faster than a large change, again and again.
    if (code === 'CONFLICT') return state
    // It was imported, and deleted before its version could be told.
    if (code === 'SNAPSHOT_NOT_FOUND' && call.kind === 'importSnapshot')
      return imported(state, call.file).state
    if (code === 'SNAPSHOT_NOT_FOUND' && 'version' in call && !has(state, call.version)) return state
    return undefined
  }

  return { initial, step, digest }
}

const DONE = { done: true } as const

function has(state: StoreState, version: string): boolean {
  return find(state, version) !== undefined
}

function find(state: StoreState, version: string): SnapshotModel | undefined {
  return state.snapshots.find(snapshot => snapshot.version === version)
}

function written(keys: KeyIds, writes: readonly (readonly [string, string | null])[]): KeyIds {
  const next = new Map(keys)
  for (const [key, id] of writes) {
    if (id === null) next.delete(key)
    else next.set(key, id)
  }
  return next
}

function counts(before: KeyIds, after: KeyIds): { set: number; deleted: number; unchanged: number } {
  const set = [...after].filter(([key, id]) => before.get(key) !== id).length
  const deleted = [...before.keys()].filter(key => !after.has(key)).length
  return { set, deleted, unchanged: after.size - set }
}

function added(
  state: StoreState,
  snapshot: Omit<SnapshotModel, 'version'>,
): { state: StoreState; answer: StoreAnswer } {
  const version = `v${state.next}`
  const snapshots = [...state.snapshots, { ...snapshot, version }]
  return { state: { ...state, snapshots, next: state.next + 1 }, answer: { version } }
}

function without(
  state: StoreState,
  gone: (snapshot: SnapshotModel) => boolean,
  answer: StoreAnswer,
): { state: StoreState; answer: StoreAnswer } {
  return { state: { ...state, snapshots: state.snapshots.filter(snapshot => !gone(snapshot)) }, answer }
}

function agrees(expected: ModelAnswer, answer: ModelAnswer): boolean {
  return canonical(expected) === canonical(answer)
}

/** States are equal whatever the order of their keys. */
function canonical(answer: ModelAnswer): string {
  return JSON.stringify(answer, (name, value) => (name === 'state' ? sorted(value as StateIds) : value))
}

function sorted(state: StateIds): StateIds {
  return [...state].sort(([a], [b]) => (a < b ? -1 : 1))
}

const digests = new WeakMap<KeyIds, string>()

function digestOf(keys: KeyIds): string {
  let digest = digests.get(keys)
  if (digest === undefined) {
    digest = createHash('sha1')
      .update(JSON.stringify(sorted([...keys])))
      .digest('base64')
    digests.set(keys, digest)
  }
  return digest
}

function digest({ keys, snapshots, next }: StoreState): string {
  const list = snapshots.map(({ version, tag, state }) => `${version} ${tag} ${digestOf(state)}`)
  return [next, digestOf(keys), ...list].join('\n')
}
