import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Call } from '../support/linearizability.ts'
import { seededRandom } from '../support/random.ts'
import { dieIn } from '../support/system-death.ts'
import { checkStore, withExports } from './check-store.ts'
import { LOW_LIMITS } from './crash-store.ts'
import type { ImportFiles } from './import-files.ts'
import { SimulatedDisk, type Survivors } from './simulated-disk.ts'
import { EMPTY_STORE, type ModelAnswer, type ModelCall } from './store-model.ts'
import { pathOfDescriptor, readTrace, stringsIn, tracing } from './system-calls.ts'
import type { Report } from './writer.ts'
import { WriterProcess } from './writer-process.ts'

/** What a replay has come to. */
export interface PowerTally {
  /** Calls that were acknowledged. */
  acknowledged: number
  /** Flushes that the writer made. */
  flushes: number
  /** States of the disk that a loss of power could have left, each opened and checked. */
  cuts: number
  /** Of the calls that were acknowledged before these, how many were lost: none where power is to be survived. */
  lost: number
}

export interface PowerOptions {
  readonly seed: number
  /** How many calls the writer makes. */
  readonly calls: number
  /** Whether they are made for `durability: 'power'`, so that none may be lost. Else the last ones may be, and no others. */
  readonly flush: boolean
  /** So many of the moments at which power may fail are looked at: a share of them. */
  readonly share: number
  readonly folder: string
  readonly program: string
  readonly files: ImportFiles
}

/** While the store is made, each moment is looked at. */
const FIRST_FLUSHES = 10
/** How often a moment before a flush is looked at with a random part of what was written since the last. */
const RANDOM_PARTS = 2

/**
 * Traces a writer, and checks what would be on disk if power failed at each flush, and at each acknowledgement: nothing
 * acknowledged may be lost, or, for `durability: 'process'`, nothing but what was acknowledged last.
 */
export async function replayPower(options: PowerOptions, tally: PowerTally): Promise<void> {
  const { seed, calls, flush, folder, program, files } = options
  const traced = join(folder, 'traced')
  const exports = join(traced, 'exports')
  const trace = join(folder, 'trace')
  await rm(folder, { recursive: true, force: true })
  await mkdir(exports, { recursive: true })
  const random = seededRandom(seed)
  const writer = new WriterProcess(
    program,
    {
      path: join(traced, 'store'),
      seed,
      name: 'w',
      keys: 30,
      dataFiles: files.data,
      snapshotFiles: files.snapshots,
      exports,
      limits: LOW_LIMITS,
      strategy: 'binary',
      flush,
      prelude: calls,
      target: undefined,
      others: 0,
      calls,
    },
    tracing(trace),
  )
  await writer.gone()
  const disk = new SimulatedDisk(traced, [exports])
  const reported: Report[] = []
  const cut = join(folder, 'cut')
  /** Looks at what the disk may hold now, in each of these ways. */
  async function losePower(parts: readonly Survivors[], line: number): Promise<void> {
    if (tally.flushes > FIRST_FLUSHES && !random.chance(options.share)) return
    for (const survivors of parts) {
      await rm(cut, { recursive: true, force: true })
      await disk.writeTo(cut, survivors)
      try {
        tally.lost += await checkCut(cut, traced, reported, files, flush)
      } catch (error) {
        const how = typeof survivors === 'string' ? survivors : 'a random part'
        throw new Error(
          `seed ${seed}, power lost at line ${line} of ${trace}, with ${how} of what was not flushed: ${(error as Error).message}`,
          { cause: error },
        )
      }
      tally.cuts++
    }
  }
  for await (const call of readTrace(trace)) {
    const report = reportIn(call.name, call.args)
    // Until a flush has ended, any part of what was written since the one before may be on disk.
    if (disk.isFlush(call)) {
      await losePower(['all', ...Array.from({ length: RANDOM_PARTS }, () => random)], call.begun)
      tally.flushes++
    }
    disk.apply(call)
    if (report !== undefined) reported.push(report)
    if (report?.event === 'answer') tally.acknowledged++
    if (disk.isFlush(call) || report?.event === 'answer') await losePower(['none'], call.ended)
  }
  await rm(folder, { recursive: true, force: true })
}

/** The line of the report that a call writes, if it does. */
export function reportIn(name: string, args: string): Report | undefined {
  if (name !== 'write' || !args.startsWith('3<') || pathOfDescriptor(args)?.startsWith('/')) return undefined
  const [line] = stringsIn(args)
  return line && (JSON.parse(line.toString()) as Report)
}

/**
 * What the disk has left is a store in which every acknowledged call has happened; or, where calls may be lost, in which
 * those up to one of them have, and none after it. Answers how many are lost.
 */
async function checkCut(
  cut: string,
  traced: string,
  reported: readonly Report[],
  files: ImportFiles,
  isAllKept: boolean,
): Promise<number> {
  const path = join(cut, 'store')
  await dieIn(path)
  const made = reported.flatMap((report, i): Call<ModelCall, ModelAnswer>[] => {
    if (report.event !== 'call') return []
    const next = reported[i + 1]
    const response = next?.event === 'answer' ? { at: next.at, output: next.answer } : undefined
    return [{ input: report.call, invoked: report.at, response }]
  })
  const calls = await withExports(made, path => path.replace(traced, cut))
  const check = (calls: readonly Call<ModelCall, ModelAnswer>[]): Promise<unknown> =>
    checkStore({ path, limits: LOW_LIMITS, strategy: 'binary', files, before: EMPTY_STORE, calls })
  for (let kept = calls.length; ; kept--) {
    try {
      await check(calls.slice(0, kept))
      return calls.slice(kept).filter(({ response }) => response !== undefined).length
    } catch (error) {
      if (isAllKept || kept === 0) throw error
    }
  }
}
