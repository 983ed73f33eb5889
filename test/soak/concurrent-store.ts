import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { lmdb } from '../../src/engine/lmdb.ts'
import { type Call, checkLinearizable, type SequentialModel } from '../support/linearizability.ts'
import { findAnomalies } from '../support/list-append.ts'
import { openWithLimits } from '../support/open.ts'
import { type Random, seededRandom } from '../support/random.ts'
import { explain, observe } from './check-store.ts'
import type { Records, Task } from './client.ts'
import { ClientPeer } from './client-peer.ts'
import { LOW_LIMITS } from './crash-store.ts'
import type { ImportFiles } from './import-files.ts'
import type { CallKind } from './plan.ts'
import type { StoreAnswer, StoreCall } from './store-call.ts'
import { EMPTY_STORE, type ModelAnswer, type ModelCall, type StoreState, storeModel } from './store-model.ts'

/** What has been checked. */
export interface ConcurrencyTally {
  /** Calls in histories of the whole store. */
  storeCalls: number
  /** Calls in histories of single keys. */
  keyCalls: number
  /** Transactions on lists, reads of several included. */
  transactions: number
  /** Sums of all accounts. */
  sums: number
}

export interface ConcurrencyOptions {
  readonly seed: number
  /** How many histories of each kind. */
  readonly rounds: number
  /** Makes the histories of single keys, and of transactions, so many times as long as those of a quick test. */
  readonly length: number
  readonly folder: string
  /** The bundled program of clients. */
  readonly program: string
  readonly files: ImportFiles
}

/** What clients of a whole store do: everything that changes it, and what sees all of it. */
export const STORE_KINDS: readonly CallKind[] = [
  ...(['set', 'update', 'transaction', 'transaction', 'delete', 'setMany', 'get', 'load'] as const),
  ...(['createSnapshot', 'createSnapshot', 'restoreSnapshot', 'getSnapshotData', 'deleteSnapshot'] as const),
  ...(['save', 'importData', 'importSnapshot', 'pruneSnapshots', 'clear'] as const),
  ...(['maintain', 'pack', 'compact'] as const),
]
const KEY_KINDS: readonly CallKind[] = ['get', 'get', 'set', 'update', 'delete']
const ACCOUNTS = 5
const BALANCE = 1000

/**
 * Has processes and worker threads work on one store at the same time, and checks that what they saw agrees with calls
 * that are made one after the other.
 *
 * @throws where it does not.
 */
export async function concurrentStore(options: ConcurrencyOptions, tally: ConcurrencyTally): Promise<void> {
  const { seed, rounds, length, folder, program, files } = options
  const random = seededRandom(seed)
  const path = join(folder, 'store')
  const limits = random.chance(0.7) ? LOW_LIMITS : {}
  const { persistence } = await openWithLimits(lmdb(path), limits)
  const clients: ClientPeer[] = []
  try {
    for (const kind of ['process', 'worker', 'process', 'worker'] as const) {
      clients.push(await ClientPeer.start(program, kind, { path, limits }))
    }
    let state = EMPTY_STORE
    for (let round = 0; round < rounds; round++) {
      try {
        const task = {
          kind: 'calls',
          kinds: STORE_KINDS,
          keys: 6,
          dataFiles: files.data,
          snapshotFiles: files.snapshots,
          callers: 1 + random.below(2),
          calls: 8,
        } as const
        const { calls } = await runAll(clients, random, `s${round}`, task)
        const at = now()
        const seen: Call<ModelCall, ModelAnswer> = {
          input: { kind: 'observe' },
          invoked: at,
          response: { at, output: await observe(persistence) },
        }
        state = explain([...calls, seen], storeModel(files.states, state)).final
        tally.storeCalls += calls.length

        await persistence.clear()
        const keyTask = { ...task, kinds: KEY_KINDS, keys: 3, callers: 2, calls: 25 * length } as const
        tally.keyCalls += checkKeys((await runAll(clients, random, `k${round}`, keyTask)).calls)

        const appending = { kind: 'append', lists: 4, callers: 2, calls: 12 * length } as const
        const { transactions, aborted } = await runAll(clients, random, `l${round}`, appending)
        assert.deepEqual(findAnomalies(transactions, new Set(aborted)), [])
        tally.transactions += transactions.length
        await persistence.clear()

        await persistence.setMany(
          Array.from({ length: ACCOUNTS }, (_, i) => [`account/${i}`, BALANCE] as const),
        )
        const banking = { kind: 'bank', accounts: ACCOUNTS, callers: 2, calls: 8 * length } as const
        const { sums } = await runAll(clients, random, `b${round}`, banking)
        assert.deepEqual([...new Set(sums)], [ACCOUNTS * BALANCE])
        tally.sums += sums.length
        await persistence.clear()
        const { ok, problems } = await persistence.verify()
        assert.deepEqual({ ok, problems }, { ok: true, problems: [] })
        // The money was moved between histories: only what snapshots hold goes on.
        const next = (await observe(persistence)).snapshots.length
        assert.equal(next, state.snapshots.length)
        state = { ...state, keys: new Map(), next: await nextVersion(persistence, state) }
      } catch (error) {
        throw new Error(`seed ${seed}, round ${round}: ${(error as Error).message}`, { cause: error })
      }
    }
    await Promise.all(clients.map(client => client.close()))
  } finally {
    await Promise.all(clients.map(client => client.kill()))
    await persistence.close()
  }
  await rm(folder, { recursive: true, force: true })
}

type Work<T = Task> = T extends Task ? Omit<T, 'seed' | 'name'> : never

/** Has all clients do a task at the same time. */
async function runAll(
  clients: readonly ClientPeer[],
  random: Random,
  name: string,
  work: Work,
): Promise<Records> {
  const records = await Promise.all(
    clients.map((client, i) =>
      client.run({ ...work, seed: random.below(2 ** 31), name: `${name}${i}` } as Task),
    ),
  )
  return {
    calls: records.flatMap(({ calls }) => calls),
    transactions: records.flatMap(({ transactions }) => transactions),
    aborted: records.flatMap(({ aborted }) => aborted),
    sums: records.flatMap(({ sums }) => sums),
  }
}

/** A snapshot that is taken tells the number of the next. */
async function nextVersion(
  persistence: { createSnapshot(): Promise<string>; deleteSnapshot(version: string): Promise<void> },
  state: StoreState,
): Promise<number> {
  const version = await persistence.createSnapshot()
  await persistence.deleteSnapshot(version)
  const number = Number(version.slice(1))
  assert.ok(number >= state.next)
  return number + 1
}

/** A key by itself: the id of its value. */
const keyModel: SequentialModel<string | null, StoreCall, StoreAnswer> = {
  initial: null,
  step(state, call, answer) {
    const before = JSON.stringify(call.kind === 'delete' ? { existed: state !== null } : { ids: [state] })
    if (call.kind !== 'set' && answer !== undefined && JSON.stringify(answer) !== before) return undefined
    if (call.kind === 'get') return state
    return call.kind === 'set' || call.kind === 'update' ? call.id : null
  },
  digest: String,
}

/** A history is linearizable if that of each key is (Herlihy and Wing). Returns the number of calls. */
function checkKeys(calls: readonly Call<StoreCall, StoreAnswer>[]): number {
  const keys = new Map<string, Call<StoreCall, StoreAnswer>[]>()
  for (const call of calls) {
    if (!('key' in call.input)) continue
    const { key } = call.input
    keys.set(key, [...(keys.get(key) ?? []), call])
  }
  for (const [key, history] of keys) {
    const verdict = checkLinearizable(history, keyModel)
    assert.ok(verdict.linearizable, `the calls of ${key} are not linearizable: ${JSON.stringify(history)}`)
  }
  return calls.length
}

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
