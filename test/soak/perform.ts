import type { History } from '../../src/history/history.ts'
import type { CommitSummary, Persistence } from '../../src/index.ts'
import { idOf, idsOf, type StoreAnswer, type StoreCall, stateOf, valueWithId } from './store-call.ts'

/** Makes a call of a store. What it may answer with is an answer, errors with a code included. */
export async function perform(state: Persistence, history: History, call: StoreCall): Promise<StoreAnswer> {
  try {
    return await make(state, history, call)
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'SNAPSHOT_NOT_FOUND' || code === 'CONFLICT') return { code }
    throw error
  }
}

async function make(state: Persistence, history: History, call: StoreCall): Promise<StoreAnswer> {
  switch (call.kind) {
    case 'set':
      await state.set(call.key, valueWithId(call.id))
      return DONE
    case 'setMany':
      return summary(await state.setMany(call.entries.map(([key, id]) => [key, valueWithId(id)] as const)))
    case 'delete':
      return { existed: await state.delete(call.key) }
    case 'update': {
      let before: string | null = null
      await state.update(call.key, value => {
        before = idOf(value)
        return valueWithId(call.id)
      })
      return { ids: [before] }
    }
    case 'transaction':
      return state.transaction(async transaction => {
        const ids: (string | null)[] = []
        for (const key of call.reads) ids.push(idOf(await transaction.get(key)))
        for (const [key, id] of call.writes) {
          if (id === null) await transaction.delete(key)
          else transaction.set(key, valueWithId(id))
        }
        return { ids }
      })
    case 'save':
      return summary(await state.save(stateOf(call.entries)))
    case 'clear':
      return summary(await state.clear())
    case 'get':
      return { ids: [idOf(await state.get(call.key))] }
    case 'load':
      return { state: idsOf(await state.load()) }
    case 'createSnapshot':
      return { version: await state.createSnapshot(call.tag === null ? {} : { tag: call.tag }) }
    case 'createDeltaSnapshot':
      return { version: await state.createDeltaSnapshot() }
    case 'restoreSnapshot':
      return summary(await state.restoreSnapshot(call.version))
    case 'getSnapshotData':
      return { state: idsOf(await state.getSnapshotData(call.version)) }
    case 'deleteSnapshot':
      await state.deleteSnapshot(call.version)
      return DONE
    case 'pruneSnapshots':
      return {
        removed: [...(await state.pruneSnapshots({ keepTags: [call.keep], pruneTagged: true })).removed],
      }
    case 'importData':
      return summary(await state.importData(call.file))
    case 'importSnapshot':
      return { version: await state.importSnapshot(call.file) }
    case 'exportData':
      await state.exportData(call.path)
      return DONE
    case 'exportSnapshot':
      await state.exportSnapshot(call.version, call.path)
      return DONE
    case 'maintain':
      await history.maintain()
      return DONE
    case 'pack':
      await history.pack()
      return DONE
    case 'compact':
      await state.compact()
      return DONE
  }
}

const DONE = { done: true } as const

function summary({ set, deleted, unchanged }: CommitSummary): StoreAnswer {
  return { counts: { set, deleted, unchanged } }
}
