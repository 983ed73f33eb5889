/** Writes to a store, by a plan, until it is killed or told to stop, and reports each call through a pipe. */
import { writeSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { lmdb } from '../../src/engine/lmdb.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { PackStrategy } from '../../src/history/packer.ts'
import { openWithLimits } from '../support/open.ts'
import { seededRandom } from '../support/random.ts'
import { perform } from './perform.ts'
import { type CallKind, createPlanner } from './plan.ts'
import type { StoreAnswer, StoreCall } from './store-call.ts'

/** How a writer is started: as JSON, in its only argument. */
export interface WriterOptions {
  readonly path: string
  readonly seed: number
  /** Unlike those of all other writers of the store. */
  readonly name: string
  readonly keys: number
  readonly dataFiles: readonly string[]
  readonly snapshotFiles: readonly string[]
  readonly exports: string
  readonly limits: Partial<HistoryLimits>
  readonly strategy: PackStrategy
  /** Whether its commits are on disk before they are acknowledged. */
  readonly flush: boolean
  /** How many calls of any kind come first. */
  readonly prelude: number
  /** What the calls after these are, but for a share of others. */
  readonly target: CallKind | undefined
  readonly others: number
  /** How many calls to make, unless told to end before; then the store is closed. */
  readonly calls: number
}

/** A line of the report. Times are those of `process.hrtime`, which all processes share, in milliseconds. */
export type Report =
  | { readonly event: 'opening' | 'open' | 'closed'; readonly at: number }
  | { readonly event: 'call'; readonly at: number; readonly call: StoreCall }
  | { readonly event: 'answer'; readonly at: number; readonly answer: StoreAnswer }
  | { readonly event: 'failure'; readonly at: number; readonly message: string }

/** Where the report goes to. */
const PIPE = 3

/** Whether it was told to end with the call that it is making. */
let told = false
process.once('SIGTERM', () => {
  told = true
})

const options = JSON.parse(process.argv[2] as string) as WriterOptions

function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Returns when the system has the line: it survives whatever becomes of this process. */
function report(line: Report): void {
  writeSync(PIPE, `${JSON.stringify(line)}\n`)
}

try {
  await write()
} catch (error) {
  report({ event: 'failure', at: now(), message: String((error as Error).stack) })
  process.exitCode = 1
}

async function write(): Promise<void> {
  const { limits, strategy, target } = options
  report({ event: 'opening', at: now() })
  const { persistence, history } = await openWithLimits(lmdb(options.path), limits, { strategy }, options)
  report({ event: 'open', at: now() })
  const random = seededRandom(options.seed)
  const plan = createPlanner({ ...options, random })
  for (let made = 0; made < options.calls && !told; made++) {
    const versions = (await persistence.listSnapshots()).map(({ version }) => version)
    const aimed = made >= options.prelude && !random.chance(options.others)
    const call = plan(versions, aimed ? target : undefined)
    report({ event: 'call', at: now(), call })
    const answer = await perform(persistence, history, call)
    report({ event: 'answer', at: now(), answer })
    // Background work is made in turns of its own.
    await nextTurn()
  }
  await persistence.close()
  report({ event: 'closed', at: now() })
}
