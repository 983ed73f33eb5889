/** A process or a worker thread that makes calls of a store, several at a time, as its parent asks, and records them. */
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { lmdb } from '../../src/engine/lmdb.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { Persistence } from '../../src/index.ts'
import type { Call } from '../support/linearizability.ts'
import type { AppendTransaction, Step } from '../support/list-append.ts'
import { openWithLimits } from '../support/open.ts'
import { type Random, seededRandom } from '../support/random.ts'
import { perform } from './perform.ts'
import { type CallKind, createPlanner } from './plan.ts'
import type { StoreAnswer, StoreCall } from './store-call.ts'

export interface ClientOptions {
  readonly path: string
  readonly limits: Partial<HistoryLimits>
}

/** What a client is asked for. */
export type Task = {
  readonly seed: number
  /** Unlike those of all other tasks of the store. */
  readonly name: string
  /** So many callers, each with one call at a time. */
  readonly callers: number
  /** Of each caller. */
  readonly calls: number
} & (
  | {
      /** Calls of the whole store. */
      readonly kind: 'calls'
      readonly kinds: readonly CallKind[]
      readonly keys: number
      readonly dataFiles: readonly string[]
      readonly snapshotFiles: readonly string[]
    }
  /** Transactions that read lists and append to them. */
  | { readonly kind: 'append'; readonly lists: number }
  /** Transactions that move money between accounts, and looks at all of them. */
  | { readonly kind: 'bank'; readonly accounts: number }
  /** Adds 1 to the key `counter`. */
  | { readonly kind: 'increment' }
)

/** What came of a task. */
export interface Records {
  readonly calls: readonly Call<StoreCall, StoreAnswer>[]
  readonly transactions: readonly AppendTransaction[]
  /** Values of lists whose transaction was rolled back. */
  readonly aborted: readonly string[]
  /** The sums of all accounts that were seen. */
  readonly sums: readonly number[]
}

interface Recorder {
  calls: Call<StoreCall, StoreAnswer>[]
  transactions: AppendTransaction[]
  aborted: string[]
  sums: number[]
}

const { path, limits } = (isMainThread ? JSON.parse(process.argv[2] as string) : workerData) as ClientOptions
const { persistence, history } = await openWithLimits(lmdb(path), limits)

const port = isMainThread ? process : parentPort
const send = (message: unknown): void => {
  if (isMainThread) process.send?.(message)
  else parentPort?.postMessage(message)
}

port?.on('message', async (task: Task | 'close') => {
  if (task === 'close') {
    await persistence.close()
    if (isMainThread) process.disconnect()
    else parentPort?.close()
    return
  }
  try {
    send({ records: await run(task) })
  } catch (error) {
    send({ failure: String((error as Error).stack) })
  }
})
send('open')

async function run(task: Task): Promise<Records> {
  const recorder: Recorder = { calls: [], transactions: [], aborted: [], sums: [] }
  const caller = async (i: number): Promise<void> => {
    const random = seededRandom(task.seed + i)
    const next = callOf(task, `${task.name}.${i}`, random, recorder)
    for (let made = 0; made < task.calls; made++) await next(made)
  }
  await Promise.all(Array.from({ length: task.callers }, (_, i) => caller(i)))
  return recorder
}

/** What a caller does again and again. */
function callOf(
  task: Task,
  name: string,
  random: Random,
  recorder: Recorder,
): (made: number) => Promise<void> {
  switch (task.kind) {
    case 'calls': {
      const plan = createPlanner({ ...task, random, name, exports: '' })
      return async () => {
        const call = plan(await versionsOf(persistence), random.pick(task.kinds))
        const invoked = now()
        const output = await perform(persistence, history, call)
        recorder.calls.push({ input: call, invoked, response: { at: now(), output } })
      }
    }
    case 'append':
      return made => appendToLists(`${name}.${made}`, task.lists, random, recorder)
    case 'bank':
      return () => moveMoney(task.accounts, random, recorder)
    case 'increment':
      return () => persistence.update('counter', value => Number(value ?? 0) + 1).then(nothing)
  }
}

async function versionsOf(state: Persistence): Promise<string[]> {
  return (await state.listSnapshots()).map(({ version }) => version)
}

/** So many of the transactions are rolled back by their function. */
const ABORTS = 0.1

async function appendToLists(name: string, lists: number, random: Random, recorder: Recorder): Promise<void> {
  const plan = Array.from({ length: 1 + random.below(5) }, (_, i) => ({
    key: `list/${random.below(lists)}`,
    value: random.chance(0.5) ? `${name}.${i}` : undefined,
  }))
  const fails = random.chance(ABORTS)
  const invoked = now()
  if (plan.every(({ value }) => value === undefined) && random.chance(0.5)) {
    // All of one moment without a transaction, too.
    const keys = plan.map(({ key }) => key)
    const found = await persistence.getMany(keys)
    const steps = keys.map((key, i): Step => ({ read: key, found: (found[i] ?? []) as string[] }))
    recorder.transactions.push({ name, invoked, answered: now(), steps })
    return
  }
  const steps = await persistence
    .transaction(async transaction => {
      const made: Step[] = []
      for (const { key, value } of plan) {
        const found = ((await transaction.get(key)) ?? []) as string[]
        if (value === undefined) {
          made.push({ read: key, found })
        } else {
          transaction.set(key, [...found, value])
          made.push({ append: value, to: key })
        }
      }
      if (fails) throw new RolledBack()
      return made
    })
    .catch((error: unknown) => {
      if (!(error instanceof RolledBack)) throw error
    })
  if (steps !== undefined) recorder.transactions.push({ name, invoked, answered: now(), steps })
  else recorder.aborted.push(...plan.flatMap(({ value }) => value ?? []))
}

class RolledBack extends Error {}

async function moveMoney(accounts: number, random: Random, recorder: Recorder): Promise<void> {
  const keys = Array.from({ length: accounts }, (_, i) => `account/${i}`)
  const sum = (balances: readonly unknown[]): number =>
    balances.reduce<number>((total, balance) => total + (balance as number), 0)
  if (random.chance(0.1)) {
    const version = await persistence.createSnapshot()
    recorder.sums.push(sum(await persistence.at(version).getMany(keys)))
    // Money that moves afterwards is moved back.
    if (random.chance(0.3)) await persistence.restoreSnapshot(version)
    await persistence.deleteSnapshot(version)
  } else if (random.chance(0.3)) {
    const state = await persistence.load()
    recorder.sums.push(sum(keys.map(key => state[key])))
  } else {
    const [from, to] = [random.pick(keys), random.pick(keys)]
    const amount = random.below(100)
    await persistence.transaction(async transaction => {
      transaction.set(from, Number(await transaction.get(from)) - amount)
      transaction.set(to, Number(await transaction.get(to)) + amount)
    })
  }
}

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

function nothing(): void {}
