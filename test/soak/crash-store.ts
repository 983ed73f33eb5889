import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { readCurrentGeneration } from '../../src/engine/lmdb/generation.ts'
import { lmdb } from '../../src/engine/lmdb.ts'
import { createSerialQueue } from '../../src/engine/serial-queue.ts'
import { withView } from '../../src/engine/with-view.ts'
import { decodeHead, HEAD_KEY } from '../../src/history/head.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { PackStrategy } from '../../src/history/packer.ts'
import { openWithLimits } from '../support/open.ts'
import { type Random, seededRandom } from '../support/random.ts'
import { checkStore, withExports } from './check-store.ts'
import type { ImportFiles } from './import-files.ts'
import { CALL_KINDS, type CallKind } from './plan.ts'
import { EMPTY_STORE, type StoreState } from './store-model.ts'
import { type Doing, WriterProcess } from './writer-process.ts'

/** What is told of kills. */
export interface Tally {
  kills: number
  /** Rounds in which two processes wrote. */
  shared: number
  /** Calls whose answers were checked. */
  calls: number
  /** Calls without an answer that were found to have happened, and those that were not. */
  happened: number
  vanished: number
  /** What writers were doing when they were killed. */
  readonly doing: Map<Doing, number>
  /** What kills have left behind, for whoever opens the store next. */
  readonly traces: Map<string, number>
}

export function newTally(): Tally {
  return { kills: 0, shared: 0, calls: 0, happened: 0, vanished: 0, doing: new Map(), traces: new Map() }
}

/** How a store is put to the test. */
export interface CrashOptions {
  /** Chooses everything but the instants at which the system does things. */
  readonly seed: number
  /** The store is written to, killed and looked at so many times. */
  readonly rounds: number
  /** Whether to begin another round. */
  readonly goesOn: () => boolean
  /** A folder of its own, which is removed if all is well. */
  readonly folder: string
  /** The bundled program of writers. */
  readonly program: string
  readonly files: ImportFiles
}

/** Limits with which a few keys reach what otherwise takes many. */
export const LOW_LIMITS: Partial<HistoryLimits> = {
  groupKeys: 8,
  logPartKeys: 5,
  patchKeys: 6,
  patchBytes: 4000,
  stageRows: 4,
  stageBytes: 6000,
  catchUpKeys: 5,
  runKeys: 10,
  chunkKeys: 4,
  pageKeys: 20,
  packListEpochs: 4,
  packedLists: 4,
  packedKeys: 16,
  listKeys: 12,
  epochRows: 2,
  packRows: 8,
  unfoldedEntries: 16,
  keptLogEntries: 8,
  trimRows: 5,
  freeKeys: 3,
  packEpochs: 2,
  packVersions: 3,
  packFanOut: 3,
}
const LIMITS: readonly Partial<HistoryLimits>[] = [LOW_LIMITS, LOW_LIMITS, { patchKeys: 20, freeKeys: 5 }, {}]
const STRATEGIES: readonly PackStrategy[] = ['binary', 'binary', 'dict', 'compress', 'none']

/** What a round aims at: most kills shall land where the most is at stake. */
const TARGETS: readonly (CallKind | 'opening')[] = [
  ...CALL_KINDS.filter(kind => kind !== 'get' && kind !== 'load' && kind !== 'getSnapshotData'),
  ...(['save', 'save', 'restoreSnapshot', 'importData', 'importSnapshot', 'importSnapshot'] as const),
  ...(['compact', 'compact', 'compact', 'pack', 'maintain', 'deleteSnapshot'] as const),
  ...(['exportData', 'exportSnapshot', 'opening', 'opening'] as const),
]

/** So many of the calls after the first few are others than what a round aims at. */
const OTHERS = 0.25
/** How long a call is taken to last before one of its kind was seen, in milliseconds. */
const FIRST_GUESS = 3
/** How many calls a writer makes at most that outlives the other. */
const SURVIVOR_CALLS = 60
/** Writers that are not gone by then hang, in milliseconds from their start. */
const PATIENCE = 60_000
/** A stage, or a temporary file, that nobody has touched for so long is removed, in milliseconds. */
const LATER = 25 * 60 * 60 * 1000

/** How long calls of each kind last, as seen so far: kills are aimed by it, and nothing else depends on it. */
const durations = new Map<string, number>()

/**
 * Has processes write to a new store, kills them at random instants, round after round, and checks after each that the
 * store is as if every acknowledged call had been made whole, and every other whole or not at all.
 *
 * @throws where it is not.
 */
export async function crashStore(options: CrashOptions, tally: Tally): Promise<void> {
  const { seed, rounds, folder, goesOn } = options
  await rm(folder, { recursive: true, force: true })
  await mkdir(join(folder, 'exports'), { recursive: true })
  const random = seededRandom(seed)
  const store: CrashedStore = {
    ...options,
    random,
    path: join(folder, 'store'),
    exports: join(folder, 'exports'),
    writers: random.chance(0.4) ? 2 : 1,
    keys: random.pick([8, 30, 60]),
    limits: random.pick(LIMITS),
    strategy: random.pick(STRATEGIES),
    seen: new Set(),
  }
  let state = EMPTY_STORE
  for (let round = 0; round < rounds && goesOn(); round++) {
    try {
      state = await crashOnce(store, round, state, tally)
    } catch (error) {
      throw new Error(`seed ${seed}, round ${round}, in ${folder}: ${(error as Error).message}`, {
        cause: error,
      })
    }
  }
  await endings.run(() => checkNothingLeft(store))
  await rm(folder, { recursive: true, force: true })
}

interface CrashedStore extends CrashOptions {
  readonly random: Random
  readonly path: string
  readonly exports: string
  readonly writers: number
  readonly keys: number
  readonly limits: Partial<HistoryLimits>
  readonly strategy: PackStrategy
  /** Names of what kills have left behind. */
  readonly seen: Set<string>
}

/** One round: returns what the store holds after it. */
async function crashOnce(
  store: CrashedStore,
  round: number,
  before: StoreState,
  tally: Tally,
): Promise<StoreState> {
  const { random, program, files } = store
  const target = random.pick(TARGETS)
  const writers = Array.from(
    { length: store.writers },
    (_, i) =>
      new WriterProcess(program, {
        path: store.path,
        seed: random.below(2 ** 31),
        name: `${round}${'ab'[i]}`,
        keys: store.keys,
        dataFiles: files.data,
        snapshotFiles: files.snapshots,
        exports: store.exports,
        limits: store.limits,
        strategy: store.strategy,
        flush: false,
        prelude: random.below(12),
        target: target === 'opening' ? undefined : target,
        others: OTHERS,
        // One of two may come to the end of its plan while the other writes.
        calls: i === 1 && random.chance(0.3) ? random.below(60) : Number.MAX_SAFE_INTEGER,
      }),
  )
  const [first, second] = writers as [WriterProcess, WriterProcess | undefined]
  let hang: string | undefined
  const patience = setTimeout(() => {
    hang = `writers were not gone after ${PATIENCE / 1000} s: ${writers.map(writer => writer.doing()).join(', ')}`
    for (const writer of writers) writer.kill()
  }, PATIENCE)
  try {
    await first.next(report =>
      target === 'opening'
        ? report.event === 'opening'
        : report.event === 'call' && report.call.kind === target,
    )
    await preciseDelay(random.next() * 1.5 * (durations.get(target) ?? FIRST_GUESS))
    first.kill()
    if (second !== undefined && random.chance(0.7)) {
      await preciseDelay(random.pick([0, 5, 50]) * random.next())
      second.kill()
    } else if (second !== undefined) {
      await second.answers(1 + random.below(SURVIVOR_CALLS))
      second.end()
    }
    const ends = await Promise.all(writers.map(writer => writer.gone()))
    if (hang !== undefined) throw new Error(hang)
    for (const { killed, doing } of ends) {
      if (!killed) continue
      tally.kills++
      count(tally.doing, doing)
    }
  } finally {
    clearTimeout(patience)
    for (const writer of writers) writer.kill()
    await Promise.allSettled(writers.map(writer => writer.gone()))
  }
  if (second !== undefined) tally.shared++
  learnDurations(writers)

  await countTraces(store, tally)
  const calls = (await Promise.all(writers.map(writer => withExports(writer.calls())))).flat()
  const { final, happened } = await checkStore({ ...store, calls, before })
  await checkFiles(store.path)
  const answered = calls.filter(({ response }) => response !== undefined).length
  tally.calls += answered
  tally.happened += happened
  tally.vanished += calls.length - answered - happened
  return final
}

/** Counts what a kill has left to be finished, or removed, by the next who opens the store. */
async function countTraces({ path, exports, seen }: CrashedStore, tally: Tally): Promise<void> {
  // Some stay for a while: only new ones count.
  const isNew = (name: string): boolean => !seen.has(name) && seen.add(name) !== undefined
  for (const name of await readdir(exports)) {
    if (name.endsWith('.tmp') && isNew(name)) count(tally.traces, 'an unfinished export file')
  }
  if (!existsSync(path)) return
  const current = readCurrentGeneration(path)
  const names = await readdir(path)
  if (names.includes(`generation-${current + 1}`)) count(tally.traces, 'new files that are not current yet')
  if (names.includes('CURRENT.tmp')) count(tally.traces, 'an unfinished file CURRENT')
  if (current > 0 && (names.includes('data.mdb') || names.includes(`generation-${current - 1}`))) {
    count(tally.traces, 'old files that are not removed yet')
  }
  const engine = lmdb(path)
  await engine.open()
  try {
    await withView(engine, async view => {
      const stages = await view.scan('meta', { gt: Buffer.from('stage/'), lt: Buffer.from('stage0') })
      const { pending } = decodeHead(await view.get('meta', HEAD_KEY))
      if (pending !== 0) count(tally.traces, 'a large commit that is decided and not rolled forward')
      const begun = stages.rows.filter(({ key }) => isNew(Buffer.from(key).toString('hex'))).length
      for (let i = pending; i < begun; i++)
        count(tally.traces, 'a large commit that is staged and not decided')
      const marks = await view.scan('meta', { gt: Buffer.from('free/'), lt: Buffer.from('free0') })
      if (marks.rows.some(({ key }) => isNew(Buffer.from(key).toString('hex')))) {
        count(tally.traces, 'a dropped snapshot whose versions are not freed')
      }
    })
  } finally {
    await engine.close()
  }
}

/** Whoever opens a store finishes a move that was begun, and removes the files that are of no use any more. */
async function checkFiles(path: string): Promise<void> {
  const current = readCurrentGeneration(path)
  const expected = current === 0 ? ['data.mdb', 'lock.mdb'] : ['CURRENT', `generation-${current}`]
  // What somebody has left who was killed at opening goes when it is older. TURNS stays.
  const isLater = (name: string): boolean =>
    name === 'CURRENT.tmp' || name === 'TURNS' || name.startsWith('OPENING-')
  const names = (await readdir(path)).filter(name => !isLater(name)).sort()
  assert.deepEqual(names, expected, `files are left in the store, of which ${current} is current`)
}

/** Only one store at a time has another clock. */
const endings = createSerialQueue()

/** With all snapshots and keys gone, nothing of the past is left, in the store or beside it. */
async function checkNothingLeft(store: CrashedStore): Promise<void> {
  const { now: today } = Date
  const { persistence, history } = await openWithLimits(lmdb(store.path), store.limits, {
    strategy: store.strategy,
  })
  try {
    // What writers that died have begun is taken for abandoned after a while.
    Date.now = () => today() + LATER
    for (const { version } of await persistence.listSnapshots()) await persistence.deleteSnapshot(version)
    await persistence.clear()
    await history.maintain()
    const { tables } = (await persistence.getMetrics()).storage
    const left = Object.fromEntries(
      ['live', 'history', 'snapshots', 'staged'].map(name => [name, tables[name as 'live']?.entries ?? 0]),
    )
    assert.deepEqual(left, { live: 0, history: 0, snapshots: 0, staged: 0 })
    assert.deepEqual(await persistence.verify().then(({ problems }) => problems), [])
    for (const name of await readdir(store.exports)) {
      const long = new Date(today() - LATER)
      await utimes(join(store.exports, name), long, long)
    }
    await persistence.exportData(join(store.exports, 'last.json'))
    assert.deepEqual(await readdir(store.exports), ['last.json'])
  } finally {
    Date.now = today
    await persistence.close()
  }
}

function learnDurations(writers: readonly WriterProcess[]): void {
  const learn = (kind: string, duration: number): void => {
    const known = durations.get(kind)
    durations.set(kind, known === undefined ? duration : 0.9 * known + 0.1 * duration)
  }
  for (const { reports } of writers) {
    for (const [i, report] of reports.entries()) {
      const next = reports[i + 1]
      if (report.event === 'call' && next?.event === 'answer') learn(report.call.kind, next.at - report.at)
      if (report.event === 'opening' && next?.event === 'open') learn('opening', next.at - report.at)
    }
  }
}

/** Timers are good for milliseconds; what is left is spent waiting. */
async function preciseDelay(milliseconds: number): Promise<void> {
  const end = performance.now() + milliseconds
  if (milliseconds > 2) await delay(milliseconds - 2)
  while (performance.now() < end);
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
