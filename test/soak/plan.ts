import type { Random } from '../support/random.ts'
import type { StoreCall } from './store-call.ts'

export type CallKind = StoreCall['kind']

/** What the calls of a plan are chosen by. */
export interface PlanOptions {
  readonly random: Random
  /** Makes ids unlike those of all other plans. */
  readonly name: string
  /** How many different keys there are. */
  readonly keys: number
  /** Files to import. */
  readonly dataFiles: readonly string[]
  readonly snapshotFiles: readonly string[]
  /** Folder for exports, which have names of their own. */
  readonly exports: string
}

/** Gives the next call: of a kind, or of any. `versions` are the snapshots there are. */
export type Planner = (versions: readonly string[], wanted?: CallKind) => StoreCall

const WEIGHTS: Readonly<Record<CallKind, number>> = {
  set: 24,
  setMany: 10,
  delete: 8,
  update: 8,
  transaction: 8,
  save: 6,
  clear: 1,
  get: 2,
  load: 1,
  createSnapshot: 14,
  createDeltaSnapshot: 3,
  restoreSnapshot: 5,
  getSnapshotData: 2,
  deleteSnapshot: 8,
  pruneSnapshots: 1,
  importData: 2,
  importSnapshot: 2,
  exportData: 1,
  exportSnapshot: 1,
  maintain: 2,
  pack: 1,
  compact: 1,
}

export const CALL_KINDS = Object.keys(WEIGHTS) as CallKind[]

const TAGS = ['red', 'blue'] as const
const MAX_SNAPSHOTS = 10

/** A plan of calls: the same for the same seed and the same snapshots. */
export function createPlanner({ random, name, keys, ...files }: PlanOptions): Planner {
  let ids = 0
  const key = (): string => `k/${random.below(keys)}`
  const id = (): string => `${name}.${ids++}`
  const some = <T>(most: number, make: () => T): T[] => Array.from({ length: random.below(most) + 1 }, make)

  return (versions, wanted) => {
    if (wanted !== undefined) return plan(wanted, versions)
    return plan(versions.length > MAX_SNAPSHOTS ? 'deleteSnapshot' : pickKind(random), versions)
  }

  function plan(kind: CallKind, versions: readonly string[]): StoreCall {
    switch (kind) {
      case 'set':
      case 'update':
        return { kind, key: key(), id: id() }
      case 'delete':
      case 'get':
        return { kind, key: key() }
      case 'setMany':
        return { kind, entries: [...new Map(some(10, () => [key(), id()] as const))] }
      case 'transaction':
        return {
          kind,
          reads: some(4, key),
          writes: [...new Map(some(6, () => [key(), random.chance(0.2) ? null : id()] as const))],
        }
      case 'save':
        return { kind, entries: [...new Map(some(2 * keys, () => [key(), id()] as const))] }
      case 'clear':
      case 'load':
      case 'createDeltaSnapshot':
      case 'maintain':
      case 'pack':
      case 'compact':
        return { kind }
      case 'createSnapshot':
        return { kind, tag: random.chance(0.5) ? random.pick(TAGS) : null }
      case 'restoreSnapshot':
      case 'getSnapshotData':
      case 'deleteSnapshot':
      case 'exportSnapshot': {
        if (versions.length === 0) return { kind: 'createSnapshot', tag: null }
        const version = random.pick(versions)
        if (kind !== 'exportSnapshot') return { kind, version }
        return { kind, version, path: `${files.exports}/${id()}.snapshot` }
      }
      case 'pruneSnapshots':
        return { kind, keep: random.pick(TAGS) }
      case 'importData':
        return { kind, file: random.pick(files.dataFiles) }
      case 'importSnapshot':
        return { kind, file: random.pick(files.snapshotFiles) }
      case 'exportData':
        return { kind, path: `${files.exports}/${id()}.jsonl` }
    }
  }
}

function pickKind(random: Random): CallKind {
  let place = random.next() * CALL_KINDS.reduce((sum, kind) => sum + WEIGHTS[kind], 0)
  for (const kind of CALL_KINDS) {
    place -= WEIGHTS[kind]
    if (place < 0) return kind
  }
  return 'set'
}
