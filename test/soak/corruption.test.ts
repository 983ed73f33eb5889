import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { lmdb, memory, type PersistenceError, repair, verify } from '../../src/index.ts'
import {
  type Corruption,
  checkRepaired,
  corrupt,
  differenceOf,
  fillSample,
  type States,
} from '../support/corruption.ts'
import { below, seeded } from '../support/random.ts'
import { StoreReader } from '../support/store-reader.ts'
import { scratchFolder } from '../support/stores.ts'
import { soakSize, timeFor } from './size.ts'

const { inputs, seed, isSoak } = soakSize(120)

describe('a damaged data file', () => {
  const reader = new StoreReader()
  let whole: string
  let damaged: string
  let expected: States
  let contents: Map<string, Buffer>

  beforeAll(async () => {
    const folder = await scratchFolder()
    whole = join(folder, 'whole')
    damaged = join(folder, 'damaged')
    expected = await fillSample(whole, seeded(seed))
    await cp(whole, damaged, { recursive: true })
    const files = ['generation-1/data.mdb', 'generation-1/lock.mdb', 'CURRENT']
    contents = new Map(
      await Promise.all(files.map(async file => [file, await readFile(join(whole, file))] as const)),
    )
    expect(await verify(lmdb(whole))).toMatchObject({ ok: true })
  })
  afterAll(() => reader.close())

  it(
    'is found out, or does no harm; and a repair saves what is whole, and tells what is not',
    async () => {
      const counts = new Map<string, number>()
      const count = (what: string, by = 1): void => void counts.set(what, (counts.get(what) ?? 0) + by)
      const began = performance.now()
      for (let i = 0; i < inputs; i++) {
        // Each has a seed of its own, to be tried again alone.
        const random = seeded(seed * 1_000_003 + i)
        const file =
          below(random, 20) === 0
            ? below(random, 2) === 0
              ? 'CURRENT'
              : 'generation-1/lock.mdb'
            : 'generation-1/data.mdb'
        const damage = corrupt(contents.get(file) as Buffer, random)
        for (const [name, content] of contents)
          await writeFile(join(damaged, name), name === file ? damage.bytes : content)
        const fault = await faultOf(damage, count)
        expect(
          fault,
          `corruption ${i} of seed ${seed}: ${damage.kind} at ${damage.at} of ${file}`,
        ).toBeUndefined()
      }
      if (isSoak) report('data files', counts, began)
    },
    timeFor(inputs, 5000),
  )

  async function faultOf(
    { kind }: Corruption,
    count: (what: string, by?: number) => void,
  ): Promise<string | undefined> {
    count(`corruptions: ${kind}`)
    const target = memory()
    let isFound = true
    try {
      isFound = !(await verify(lmdb(damaged))).ok
    } catch (error) {
      if (typeof (error as PersistenceError).code !== 'string') return `verify: ${(error as Error).stack}`
    }
    count(isFound ? 'found by verify' : 'not found, as nothing is wrong')
    const outcome = await reader.read(damaged)
    const difference = 'states' in outcome ? differenceOf(outcome.states, expected) : undefined
    if ('ended' in outcome) count(`reading without verify: ended by LMDB (${outcome.ended})`)
    else if ('error' in outcome) count('reading without verify: an error')
    else
      count(`reading without verify: ${difference === undefined ? 'right' : 'rows that LMDB does not find'}`)
    if (!isFound && !('states' in outcome && difference === undefined)) {
      return `not found by verify, but reading it: ${JSON.stringify('states' in outcome ? difference : outcome)}`
    }
    let saved: Awaited<ReturnType<typeof checkRepaired>>
    try {
      const summary = await repair(lmdb(damaged), target)
      const repaired = await verify(target)
      if (!repaired.ok) return `the repaired store: ${JSON.stringify(repaired.problems.slice(0, 3))}`
      saved = await checkRepaired(target, summary, expected)
    } catch (error) {
      if (typeof (error as PersistenceError).code !== 'string') return `repair: ${(error as Error).stack}`
      count('repairs that find nothing to read')
      return isFound ? undefined : `repair: ${(error as Error).message}`
    }
    count('values saved by repairs', saved.values)
    count('values lost', saved.lost)
    if (!isFound && saved.lost > 0) return `a repair of what verify finds whole loses ${saved.lost} values`
    return saved.fault
  }
})

function report(what: string, counts: ReadonlyMap<string, number>, began: number): void {
  const lines = [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, number]) => `  ${name}: ${number}`)
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  process.stdout.write(`${what}, seed ${seed}, ${seconds} s\n${lines.join('\n')}\n`)
}
