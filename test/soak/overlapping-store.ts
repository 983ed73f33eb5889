import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { memory } from '../../src/engine/memory.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { Call } from '../support/linearizability.ts'
import { openWithLimits } from '../support/open.ts'
import { type Random, seededRandom } from '../support/random.ts'
import { remoteEngine } from '../support/remote-engine.ts'
import { explain, observe } from './check-store.ts'
import { STORE_KINDS } from './concurrent-store.ts'
import { LOW_LIMITS } from './crash-store.ts'
import type { ImportFiles } from './import-files.ts'
import { perform } from './perform.ts'
import { createPlanner } from './plan.ts'
import { EMPTY_STORE, type ModelAnswer, type ModelCall, storeModel } from './store-model.ts'

/** How calls of one process overlap. */
export interface OverlapOptions {
  /** Chooses all there is to choose, the turns of the event loop included: a failure repeats. */
  readonly seed: number
  /** One history after the other, each from the state that the one before has left. */
  readonly rounds: number
  readonly files: ImportFiles
}

/**
 * Has several stores of one process, on an engine that takes its time, make calls at once, and checks that an order explains
 * all answers. Returns how many calls were made.
 *
 * @throws where none does.
 */
export async function overlapCalls({ seed, rounds, files }: OverlapOptions): Promise<number> {
  const random = seededRandom(seed)
  const engine = memory()
  const limits = lowered(random)
  const stores = await Promise.all(
    Array.from({ length: 1 + random.below(3) }, () =>
      openWithLimits(remoteEngine(engine, roundTrips(random)), limits),
    ),
  )
  let state = EMPTY_STORE
  let made = 0
  try {
    for (let round = 0; round < rounds; round++) {
      // Every event has an instant of its own.
      let clock = 0
      const history: Call<ModelCall, ModelAnswer>[] = []
      const caller = async (i: number): Promise<void> => {
        const { persistence, history: internals } = stores[i % stores.length] as (typeof stores)[0]
        const plan = createPlanner({
          random,
          name: `${round}.${i}`,
          keys: 5,
          dataFiles: files.data,
          snapshotFiles: files.snapshots,
          exports: '',
        })
        for (let call = 0; call < 4; call++) {
          const versions = (await persistence.listSnapshots()).map(({ version }) => version)
          for (let turns = random.below(random.pick([2, 10, 60])); turns > 0; turns--) await nextTurn()
          const input = plan(versions, random.pick(STORE_KINDS))
          const invoked = clock++
          const output = await perform(persistence, internals, input)
          history.push({ input, invoked, response: { at: clock++, output } })
        }
      }
      await Promise.all(Array.from({ length: 2 + random.below(4) }, (_, i) => caller(i)))
      const [first] = stores as [(typeof stores)[0]]
      const output = await observe(first.persistence)
      history.push({ input: { kind: 'observe' }, invoked: clock++, response: { at: clock++, output } })
      state = explain(history, storeModel(files.states, state)).final
      const { ok, problems } = await first.persistence.verify()
      assert.deepEqual({ ok, problems }, { ok: true, problems: [] })
      made += history.length
    }
  } catch (error) {
    throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
  } finally {
    for (const { persistence } of stores) await persistence.close()
  }
  return made
}

/** Some of the limits low, so that all paths meet each other. */
function lowered(random: Random): Partial<HistoryLimits> {
  const share = random.pick([0, 0.5, 1])
  return Object.fromEntries(Object.entries(LOW_LIMITS).filter(() => random.chance(share)))
}

/** A round trip of some turns of the event loop, or of none. */
function roundTrips(random: Random): () => Promise<void> {
  const most = random.pick([0, 1, 5])
  return async () => {
    for (let turns = random.below(most + 1); turns > 0; turns--) await nextTurn()
  }
}
