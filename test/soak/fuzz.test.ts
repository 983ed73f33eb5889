import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createPersistence, memory, type Persistence } from '../../src/index.ts'
import { type FuzzTarget, fuzzTargets, STORED } from '../support/fuzz-targets.ts'
import { scratchFolder } from '../support/stores.ts'
import { soakSize, timeFor } from './size.ts'

const { inputs, seed, isSoak } = soakSize(6000)

/** What no input may take: the slowest machine that is busy needs a small part of it. */
const LONGEST_MS = 5000
const MEMORY_BYTES = 512 * 1024 * 1024

const PROTOTYPES = [Object, Array, Function, String, Number, Boolean, Map, Set, Date, Promise, Uint8Array]

/** What all objects inherit: nothing that is read may change it. */
function inherited(): string {
  return PROTOTYPES.map(({ prototype }) => Reflect.ownKeys(prototype).map(String).join()).join(';')
}

describe('hostile input', () => {
  let folder: string
  let state: Persistence

  beforeAll(async () => {
    folder = await scratchFolder()
    state = await createPersistence({ engine: memory() })
    await state.save(STORED)
    await state.createSnapshot()
    await (await createPersistence({ basePath: join(folder, 'command', '.varve') })).close()
  })
  afterAll(async () => {
    await state.close()
    await rm(folder, { recursive: true, force: true })
  })

  it(
    'is refused or taken, and harms nothing: no crash, no hang, no memory, no prototype',
    async () => {
      const before = inherited()
      const start = performance.now()
      let total = 0
      for (const target of fuzzTargets({ folder, state })) {
        const runs = Math.max(10, Math.round((inputs * target.share) / 1000))
        const began = performance.now()
        const { slowest, memory } = await fuzz(target, runs)
        total += runs
        if (isSoak) {
          const memoryText = `memory +${(memory / 1e6).toFixed(0)} MB`
          tell(
            `${target.name}: ${runs} inputs, ${seconds(began)} s, slowest ${slowest.toFixed(0)} ms, ${memoryText}`,
          )
        }
        expect(inherited(), target.name).toBe(before)
        expect(memory, `memory of ${target.name}`).toBeLessThan(MEMORY_BYTES)
      }
      expect(await state.load()).toEqual(STORED)
      expect(await state.verify()).toMatchObject({ ok: true })
      // Nothing was written where a file or a key said to.
      expect((await readdir(folder)).every(name => NAMES.test(name))).toBe(true)
      if (isSoak) tell(`all: ${total} inputs, seed ${seed}, ${seconds(start)} s`)
    },
    timeFor(inputs, 20),
  )

  async function fuzz(
    { name, inputs: arbitrary, attempt }: FuzzTarget,
    runs: number,
  ): Promise<{ slowest: number; memory: number }> {
    let slowest = 0
    const start = process.memoryUsage().rss
    let most = start
    const property = fc.asyncProperty(arbitrary, async input => {
      const began = performance.now()
      await attempt(input as never)
      const took = performance.now() - began
      slowest = Math.max(slowest, took)
      if (took > LONGEST_MS) throw new Error(`${name}: one input took ${took.toFixed(0)} ms`)
      most = Math.max(most, process.memoryUsage.rss())
    })
    await fc.assert(property, { seed, numRuns: runs, endOnFailure: !isSoak })
    return { slowest, memory: most - start }
  }

  function seconds(began: number): string {
    return ((performance.now() - began) / 1000).toFixed(1)
  }
})

/** Says how a soak goes on. */
function tell(line: string): void {
  process.stdout.write(`${line}\n`)
}

/** What there is in the folder: what the targets put there, and nothing that an input named. */
const NAMES = /^(command|input\.[a-z.]+)$/
