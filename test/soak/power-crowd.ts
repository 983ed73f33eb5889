import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { createPersistence } from '../../src/index.ts'
import { seededRandom } from '../support/random.ts'
import { dieIn } from '../support/system-death.ts'
import { type CrowdOptions, ownKey, SHARED_KEYS } from './crowd.ts'
import { SimulatedDisk, type Survivors } from './simulated-disk.ts'
import { pathOfDescriptor, readTrace, stringsIn, tracing } from './system-calls.ts'

/** What a replay has come to. */
export interface CrowdTally {
  /** Flushes that all the writers made. */
  flushes: number
  /** States of the disk that a loss of power could have left, each opened and checked. */
  cuts: number
}

/**
 * Traces several processes that write to one store, and of which one after the other is killed, and checks what would be on
 * disk if power failed at a share of their flushes: each change is there as a whole or not at all, and what was acknowledged
 * for `durability: 'power'` is there.
 */
export async function replayCrowd(
  options: Omit<CrowdOptions, 'path' | 'acknowledged'> & {
    readonly share: number
    readonly folder: string
    readonly program: string
  },
): Promise<CrowdTally> {
  const { seed, writers, kills, share, folder, program } = options
  const traced = join(folder, 'traced')
  const acknowledged = join(folder, 'acknowledged')
  const cut = join(folder, 'cut')
  const trace = join(folder, 'trace')
  await mkdir(traced, { recursive: true })
  await mkdir(acknowledged)
  const crowd: CrowdOptions = { path: join(traced, 'store'), acknowledged, seed, writers, kills }
  const [command, ...args] = [...tracing(trace), process.execPath, program, JSON.stringify(crowd)]
  await promisify(execFile)(command as string, args)
  const random = seededRandom(seed)
  const disk = new SimulatedDisk(traced, [])
  const kept = new Map<string, number>()
  const tally: CrowdTally = { flushes: 0, cuts: 0 }

  async function losePower(survivors: Survivors, line: number): Promise<void> {
    if (!random.chance(share)) return
    await rm(cut, { recursive: true, force: true })
    await disk.writeTo(cut, survivors)
    tally.cuts++
    try {
      await checkCut(join(cut, 'store'), kept)
    } catch (error) {
      const how = typeof survivors === 'string' ? survivors : 'a random part'
      const message = `seed ${seed}, power lost at line ${line} of ${trace}, with ${how} of what was not flushed`
      throw new Error(`${message}: ${(error as Error).message}`, { cause: error })
    }
  }

  for await (const call of readTrace(trace)) {
    const path = pathOfDescriptor(call.args)
    if (call.name === 'write' && path?.startsWith(`${acknowledged}/`))
      kept.set(basename(path), Number(stringsIn(call.args)[0]))
    const isFlush = disk.isFlush(call)
    if (isFlush) {
      tally.flushes++
      for (const survivors of ['all', random] as const) await losePower(survivors, call.begun)
    }
    disk.apply(call)
    if (isFlush) await losePower('none', call.ended)
  }
  await rm(folder, { recursive: true })
  return tally
}

async function checkCut(store: string, kept: ReadonlyMap<string, number>): Promise<void> {
  await dieIn(store)
  const state = await createPersistence<Record<string, unknown>>({ basePath: store })
  try {
    const { ok, problems } = await state.verify()
    if (!ok) throw new Error(JSON.stringify(problems[0]))
    const all = await state.load()
    const shared = new Set(Array.from({ length: SHARED_KEYS }, (_, i) => all[`shared/${i}`]))
    if (shared.size !== 1) throw new Error('a change is there in part')
    const [writer = '', number] = String([...shared][0]).split(' ')
    if (number !== undefined && all[ownKey(writer)] !== Number(number))
      throw new Error('a change is there in part')
    for (const [writer, number] of kept) {
      const found = all[ownKey(writer)] ?? 0
      if ((found as number) < number)
        throw new Error(`change ${number} of writer ${writer} is lost: it has ${String(found)}`)
    }
    // It goes on from there.
    await state.set('after', 1)
  } finally {
    await state.close()
  }
}
