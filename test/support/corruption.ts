import { isDeepStrictEqual } from 'node:util'
import {
  createPersistence,
  type Engine,
  type Persistence,
  type PersistenceOptions,
  type RepairSummary,
} from '../../src/index.ts'
import type { Random } from './random.ts'

/** What a store holds: its current state as `head`, and each snapshot. */
export type States = ReadonlyMap<string, Readonly<Record<string, unknown>>>

/** A store, and how it came to be. */
export interface Sample {
  readonly states: States
  /** Every value that a key ever had, also between two snapshots. */
  readonly written: ReadonlyMap<string, readonly unknown[]>
}

const KEYS = 60
const ROUNDS = 8

/**
 * Fills a store with something of everything: values of all sizes and kinds, snapshots and tags, keys that come and go, a
 * packed history, one that is not packed yet, and pages that are free. `afterStep` is called between two steps of that.
 */
export async function fillSample(
  options: PersistenceOptions,
  random: Random,
  afterStep: () => Promise<void> = async () => undefined,
): Promise<Sample> {
  const state = await createPersistence(options)
  const written = new Map<string, unknown[]>()
  const setSome = async (count: number, round: number): Promise<void> => {
    const entries = someEntries(random, count, round)
    for (const [key, value] of entries) written.set(key, [...(written.get(key) ?? []), value])
    await state.setMany(entries)
    await afterStep()
  }
  try {
    for (let round = 1; round <= ROUNDS; round++) {
      await setSome(16, round)
      for (let i = 0; i < 2; i++) await state.delete(`key/${random.below(KEYS)}`)
      await afterStep()
      await state.createSnapshot({ tag: `round-${round}`, userInfo: { round } })
      if (round === ROUNDS - 3) await state.compact()
      await afterStep()
    }
    await state.deleteSnapshot('v3')
    await setSome(6, 0)
    return { states: await readStates(state), written }
  } finally {
    await state.close()
  }
}

function someEntries(random: Random, count: number, round: number): [string, unknown][] {
  return Array.from({ length: count }, () => [`key/${random.below(KEYS)}`, someValue(random, round)])
}

function someValue(random: Random, round: number): unknown {
  const text = `round ${round} `
  return random.pick<() => unknown>([
    () => round,
    () => text.repeat(1 + random.below(10)),
    () => ({ round, list: Array.from({ length: random.below(20) }, (_, i) => i), text }),
    () => new Date(round * 1e9),
    () => new Map([[text, new Set([round, 2])]]),
    // Longer than a page, and not to be compressed.
    () => Uint8Array.from({ length: 1500 + random.below(4000) }, () => random.below(256)),
    () => text.repeat(600),
  ])()
}

/** All that a store holds. */
async function readStates(state: Persistence): Promise<States> {
  const states = new Map<string, Record<string, unknown>>([['head', await state.load()]])
  for (const { version } of await state.listSnapshots())
    states.set(version, await state.getSnapshotData(version))
  return states
}

/** One thing that happened to a file. */
export interface Corruption {
  readonly kind: 'flip' | 'zero' | 'cut' | 'garbage'
  readonly at: number
  readonly bytes: Buffer
}

const PAGE_BYTES = 4096

/** Damages the content of a file: mostly one bit, as that is the hardest to notice. */
export function corrupt(content: Buffer, random: Random): Corruption {
  const kind = random.pick(['flip', 'flip', 'flip', 'zero', 'cut', 'garbage'] as const)
  const at = random.below(content.byteLength)
  if (kind === 'cut') return { kind, at, bytes: Buffer.from(content.subarray(0, at)) }
  const bytes = Buffer.from(content)
  if (kind === 'flip') {
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
  } else if (kind === 'zero') {
    const page = at - (at % PAGE_BYTES)
    bytes.fill(0, page, Math.min(bytes.byteLength, page + PAGE_BYTES))
    return { kind, at: page, bytes }
  } else {
    const end = Math.min(bytes.byteLength, at + 1 + random.below(200))
    for (let i = at; i < end; i++) bytes[i] = random.below(256)
  }
  return { kind, at, bytes }
}

/** What differs between two contents, in words; `undefined` if nothing does. */
export function differenceOf(found: States, expected: States): string | undefined {
  for (const version of new Set([...found.keys(), ...expected.keys()])) {
    const [have, want] = [found.get(version), expected.get(version)]
    if (have === undefined) return `${version} is missing`
    if (want === undefined) return `${version} should not be there`
    for (const key of new Set([...Object.keys(have), ...Object.keys(want)])) {
      if (!isDeepStrictEqual(have[key], want[key])) return `${key} of ${version} differs`
    }
  }
  return undefined
}

/** How much of a store a repair has saved. */
export interface Saved {
  readonly values: number
  readonly lost: number
  /** What is wrong with the repair: a false value, or a loss that it does not tell of. */
  readonly fault: string | undefined
}

/**
 * Compares what a repair has made with what was there: every value must be right, or absent and listed as lost. Where the
 * newest commits may be lost, and the repair says so, a current value may be an older one.
 */
export async function checkRepaired(
  engine: Engine,
  summary: RepairSummary,
  { states, written }: Sample,
): Promise<Saved> {
  const state = await createPersistence({ engine })
  try {
    const found = await readStates(state)
    const { lost } = summary
    const lostKeys = new Map(lost.keys.map(key => [key.key, key]))
    // Then a snapshot may have had keys of which nothing is left.
    const areNamesLost = summary.problems.some(({ table }) => table === 'log' || table === 'changes')
    let [values, missing, unnamed] = [0, 0, 0]
    for (const [version, want] of states) {
      const have = found.get(version)
      if (have === undefined) {
        missing += Object.keys(want).length
        if (!lost.snapshots.includes(version) && !lost.newestCommits) {
          return { values, lost: missing, fault: `${version} is lost and not listed` }
        }
        continue
      }
      for (const key of new Set([...Object.keys(want), ...Object.keys(have)])) {
        if (isDeepStrictEqual(have[key], want[key])) {
          values++
        } else if (Object.hasOwn(have, key)) {
          const mayBeOlder = lost.newestCommits && version === 'head'
          const isOlder = mayBeOlder && written.get(key)?.some(value => isDeepStrictEqual(value, have[key]))
          if (isOlder !== true) return { values, lost: missing, fault: `${key} of ${version} is false` }
        } else {
          missing++
          const listed = lostKeys.get(key)
          const isListed =
            version === 'head' ? listed?.current === true : listed?.versions.includes(version) === true
          if (!isListed && version === 'head') unnamed++
          const isCounted =
            lost.unnamedKeys === undefined ||
            lost.newestCommits ||
            (version === 'head' ? unnamed <= lost.unnamedKeys : areNamesLost)
          if (!isListed && !isCounted)
            return { values, lost: missing, fault: `${key} of ${version} is lost and not listed` }
        }
      }
    }
    return { values, lost: missing, fault: undefined }
  } finally {
    await state.close()
  }
}
