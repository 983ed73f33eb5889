import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { lmdb } from '../../src/engine/lmdb.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { PackStrategy } from '../../src/history/packer.ts'
import type { Persistence } from '../../src/index.ts'
import { type Call, checkLinearizable, type SequentialModel } from '../support/linearizability.ts'
import { openWithLimits } from '../support/open.ts'
import { type ImportFiles, readDataFile, readSnapshotFile } from './import-files.ts'
import { idsOf } from './store-call.ts'
import {
  type ModelAnswer,
  type ModelCall,
  type Observation,
  type StoreState,
  storeModel,
} from './store-model.ts'

/** A store that nobody has open, and what is known of it. */
export interface StoreToCheck {
  readonly path: string
  readonly limits: Partial<HistoryLimits>
  readonly strategy: PackStrategy
  readonly files: ImportFiles
  /** What it held before the calls. */
  readonly before: StoreState
  readonly calls: readonly Call<ModelCall, ModelAnswer>[]
}

/**
 * Opens a store and checks that it is as if every answered call had been made whole, and every other whole or not at all,
 * in an order that explains all answers; that every snapshot reads as it should; and that every record is sound.
 *
 * @throws where it is not.
 */
export async function checkStore({ path, limits, strategy, files, before, calls }: StoreToCheck): Promise<{
  /** What the store holds. */
  readonly final: StoreState
  /** How many calls without an answer have happened. */
  readonly happened: number
}> {
  const { persistence } = await openWithLimits(lmdb(path), limits, { strategy })
  try {
    const output = await observe(persistence)
    const at = now()
    const history = [...calls, { input: { kind: 'observe' as const }, invoked: at, response: { at, output } }]
    const { final, order } = explain(history, storeModel(files.states, before))
    const { ok, problems } = await persistence.verify()
    assert.deepEqual({ ok, problems }, { ok: true, problems: [] })
    const happened = order.filter(({ response }) => response === undefined).length
    return { final, happened }
  } finally {
    await persistence.close()
  }
}

/** An order of calls that explains all answers, and what the store holds after it. @throws where there is none. */
export function explain(
  history: readonly Call<ModelCall, ModelAnswer>[],
  model: SequentialModel<StoreState, ModelCall, ModelAnswer>,
): { readonly final: StoreState; readonly order: readonly Call<ModelCall, ModelAnswer>[] } {
  const verdict = checkLinearizable(history, model)
  if (verdict.linearizable) return verdict
  throw new Error(
    `what the store holds is not what its callers were told.\ncalls: ${show(history)}\nexplained: ${show(verdict.longest)}\nstate: ${JSON.stringify(observable(verdict.state))}`,
  )
}

/** Everything that can be seen of a store. */
export async function observe(persistence: Persistence): Promise<Observation> {
  const state = await persistence.load()
  assert.equal(await persistence.size(), Object.keys(state).length)
  const snapshots: { version: string; tag: string | null; state: ReturnType<typeof idsOf> }[] = []
  for (const { version, tags } of await persistence.listSnapshots()) {
    snapshots.push({
      version,
      tag: tags[0] ?? null,
      state: idsOf(await persistence.getSnapshotData(version)),
    })
  }
  return { state: idsOf(state), snapshots }
}

function observable({ keys, snapshots }: StoreState): Observation {
  return {
    state: [...keys],
    snapshots: snapshots.map(({ version, tag, state }) => ({ version, tag, state: [...state] })),
  }
}

/**
 * Answers of exports are what is in their files, which must be whole where there are any. One without an answer that has
 * left its file has happened.
 */
export async function withExports(
  calls: readonly Call<ModelCall, ModelAnswer>[],
  place: (path: string) => string = path => path,
): Promise<Call<ModelCall, ModelAnswer>[]> {
  const read: Call<ModelCall, ModelAnswer>[] = []
  for (const call of calls) {
    const { input, response } = call
    if (input.kind !== 'exportData' && input.kind !== 'exportSnapshot') {
      read.push(call)
    } else if (response !== undefined && 'code' in response.output) {
      read.push(call)
    } else if (response === undefined && !existsSync(place(input.path))) {
      read.push(call)
    } else {
      const output = await (input.kind === 'exportData' ? readDataFile : readSnapshotFile)(place(input.path))
      read.push({ ...call, response: { at: response?.at ?? now(), output } })
      await rm(place(input.path))
    }
  }
  return read
}

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

function show(calls: readonly Call<ModelCall, ModelAnswer>[]): string {
  return calls
    .map(
      ({ input, invoked, response }) =>
        `\n  ${invoked} ${JSON.stringify(input)} ${response?.at} ${JSON.stringify(response?.output)}`,
    )
    .join('')
}
