import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PersistentCache } from '../../src/cache/index.ts'
import {
  createPersistence,
  type Engine,
  encrypted,
  ImportError,
  lmdb,
  memory,
  type PersistenceError,
  repair,
  verify,
} from '../../src/index.ts'
import {
  type Corruption,
  checkRepaired,
  corrupt,
  differenceOf,
  fillSample,
  type Sample,
  type Saved,
} from '../support/corruption.ts'
import { seededRandom } from '../support/random.ts'
import { StoreReader } from '../support/store-reader.ts'
import { scratchFolder } from '../support/stores.ts'
import { soakSize, timeFor } from './size.ts'

const { inputs, seed, isSoak } = soakSize(120)

/** Stores, and how they are opened. */
const STORES = [
  { store: 'a plain store', options: {}, share: 1 },
  {
    store: 'a store whose values and keys are encrypted',
    options: { encryptionKey: randomBytes(32), encryptKeys: true },
    share: 0.5,
  },
]

describe.each(STORES)('a damaged data file of $store', ({ store, options, share }) => {
  const { encryptionKey } = options
  const tries = Math.ceil(inputs * share)
  const engineOf = (path: string): Engine =>
    encryptionKey === undefined ? lmdb(path) : encrypted(lmdb(path), { key: encryptionKey })
  /** LMDB may harm the memory of a process that reads a damaged file: what is whole is read by another. */
  const readers = { damaged: new StoreReader(), whole: new StoreReader() }
  let folder: string
  let whole: string
  let sample: Sample
  let contents: Map<string, Buffer>

  beforeAll(async () => {
    folder = await scratchFolder()
    whole = join(folder, 'whole')
    sample = await fillSample({ basePath: whole, ...options }, seededRandom(seed))
    const files = ['generation-1/data.mdb', 'generation-1/lock.mdb', 'CURRENT']
    contents = new Map(
      await Promise.all(files.map(async file => [file, await readFile(join(whole, file))] as const)),
    )
    expect(await verify(engineOf(whole))).toMatchObject({ ok: true })
  })
  afterAll(async () => {
    await Promise.all([readers.damaged.close(), readers.whole.close()])
    await rm(folder, { recursive: true, force: true })
  })

  it(
    'is found out, or does no harm; and a repair saves what is whole, and tells what is not',
    async () => {
      const counts = new Map<string, number>()
      const count = (what: string, by = 1): void => void counts.set(what, (counts.get(what) ?? 0) + by)
      const began = performance.now()
      for (let i = 0; i < tries; i++) {
        // Each has a seed of its own, to be tried again alone.
        const random = seededRandom(seed * 1_000_003 + i)
        const file =
          random.below(20) === 0
            ? random.below(2) === 0
              ? 'CURRENT'
              : 'generation-1/lock.mdb'
            : 'generation-1/data.mdb'
        const damage = corrupt(contents.get(file) as Buffer, random)
        // In a folder of its own: nobody still has the files open that lay there before.
        const damaged = join(folder, `damaged-${i}`)
        await mkdir(join(damaged, 'generation-1'), { recursive: true })
        for (const [name, content] of contents)
          await writeFile(join(damaged, name), name === file ? damage.bytes : content)
        const fault = await faultOf(damaged, damage, count)
        await rm(damaged, { recursive: true })
        expect(
          fault,
          `corruption ${i} of seed ${seed}: ${damage.kind} at ${damage.at} of ${file}`,
        ).toBeUndefined()
      }
      if (isSoak) report(`data files of ${store}`, counts, began)
    },
    timeFor(tries, 5000),
  )

  async function faultOf(
    damaged: string,
    { kind }: Corruption,
    count: (what: string, by?: number) => void,
  ): Promise<string | undefined> {
    count(`corruptions: ${kind}`)
    const target = memory()
    let isFound = true
    try {
      isFound = !(await verify(engineOf(damaged))).ok
    } catch (error) {
      if (typeof (error as PersistenceError).code !== 'string') return `verify: ${(error as Error).stack}`
    }
    count(isFound ? 'found by verify' : 'not found, as nothing is wrong')
    let saved: Saved | undefined
    let failure: string | undefined
    try {
      const summary = await repair(engineOf(damaged), target)
      const repaired = await verify(target)
      if (!repaired.ok) return `the repaired store: ${JSON.stringify(repaired.problems.slice(0, 3))}`
      saved = await checkRepaired(target, summary, sample)
    } catch (error) {
      if (typeof (error as PersistenceError).code !== 'string') return `repair: ${(error as Error).stack}`
      count('repairs that find nothing to read')
      failure = isFound ? undefined : `repair: ${(error as Error).message}`
    }
    count('values saved by repairs', saved?.values)
    count('values lost', saved?.lost)
    if (!isFound && saved !== undefined && saved.lost > 0)
      failure = `a repair of what verify finds whole loses ${saved.lost} values`
    // At last: whoever opens a store in the ordinary way writes to it, damaged or not.
    const reader = isFound ? readers.damaged : readers.whole
    const outcome = await reader.read(damaged, encryptionKey && { encryptionKey })
    const difference = 'states' in outcome ? differenceOf(outcome.states, sample.states) : undefined
    if ('ended' in outcome) count(`reading without verify: ended by LMDB (${outcome.ended})`)
    else if ('error' in outcome) count('reading without verify: an error')
    else
      count(`reading without verify: ${difference === undefined ? 'right' : 'rows that LMDB does not find'}`)
    if (!isFound && !('states' in outcome && difference === undefined)) {
      return `not found by verify, but reading it: ${JSON.stringify('states' in outcome ? difference : outcome)}`
    }
    return failure ?? saved?.fault
  }
})

describe('a damaged export', () => {
  it(
    'is refused whole, unless it is text that says something else; and changes nothing then',
    async () => {
      const folder = await scratchFolder()
      const stored = { kept: [1, 2, 3] }
      await using source = await createPersistence({ engine: memory() })
      await source.save(exportedState())
      await source.createSnapshot()
      await source.set('key/0', 'changed')
      await source.createSnapshot()
      const names = [
        'state.json',
        'state.jsonl',
        'state.json.gz',
        'state.jsonl.gz',
        'whole.snapshot',
        'difference.snapshot',
      ]
      for (const name of names.slice(0, 4)) await source.exportData(join(folder, name), { types: 'tagged' })
      await source.exportSnapshot('v1', join(folder, 'whole.snapshot'))
      await source.exportSnapshot('v2', join(folder, 'difference.snapshot'), { base: 'v1' })
      const contents = new Map(
        await Promise.all(names.map(async name => [name, await readFile(join(folder, name))] as const)),
      )
      const expected = await source.load()

      await using target = await createPersistence({ engine: memory() })
      await target.importSnapshot(join(folder, 'whole.snapshot'))
      await target.save(stored)
      const counts = new Map<string, number>()
      const count = (what: string): void => void counts.set(what, (counts.get(what) ?? 0) + 1)
      const began = performance.now()
      for (let i = 0; i < inputs; i++) {
        const random = seededRandom(seed * 2_000_003 + i)
        const name = random.pick(names)
        const { kind, at, bytes } = corrupt(contents.get(name) as Buffer, random)
        const path = join(folder, `damaged.${name}`)
        await writeFile(path, bytes)
        const where = `corruption ${i} of seed ${seed}: ${kind} at ${at} of ${name}`
        if (bytes.equals(contents.get(name) as Buffer)) continue
        count(`corruptions: ${name}`)
        try {
          if (name.endsWith('.snapshot')) await target.importSnapshot(path)
          else await target.importData(path)
        } catch (error) {
          expect(error, where).toBeInstanceOf(ImportError)
          expect(await target.load(), where).toEqual(stored)
          count('refused')
          continue
        }
        expect(name.endsWith('.snapshot'), where).toBe(false)
        const isRight = isDeepStrictEqual(await target.load(), expected)
        // Text is for people to change too: it has no checksum. What is compressed has one.
        if (name.endsWith('.gz')) expect(isRight, where).toBe(true)
        count(isRight ? 'taken, with every value right' : 'taken, as text that says something else')
        await target.save(stored)
      }
      expect((await target.listSnapshots()).length).toBe(1)
      await rm(folder, { recursive: true })
      if (isSoak) report('exports', counts, began)
    },
    timeFor(inputs, 1000),
  )
})

function exportedState(): Record<string, unknown> {
  const values = [
    1,
    'text',
    { a: [true, null] },
    new Date(0),
    new Map([[1, 'x']]),
    new Uint8Array(20),
    'long '.repeat(500),
  ]
  return Object.fromEntries(Array.from({ length: 28 }, (_, i) => [`key/${i}`, values[i % values.length]]))
}

describe('a damaged cache on disk', () => {
  it(
    'forgets what is damaged, and answers nothing false',
    async () => {
      const folder = await scratchFolder()
      const path = join(folder, 'cache')
      const expected = new Map(
        Array.from({ length: 60 }, (_, i) => [`key/${i}`, { i, text: 'x'.repeat(i * 5) }]),
      )
      const filled = new PersistentCache({ path })
      for (const [key, value] of expected) await filled.set(key, { old: value })
      await filled.close()
      const again = new PersistentCache({ path })
      for (const [key, value] of expected) await again.set(key, value)
      await again.close()
      const files = (await readdir(path)).filter(name => name.endsWith('.segment')).sort()
      const contents = new Map(
        await Promise.all(files.map(async name => [name, await readFile(join(path, name))] as const)),
      )
      const counts = new Map<string, number>()
      const count = (what: string, by = 1): void => void counts.set(what, (counts.get(what) ?? 0) + by)
      const began = performance.now()
      for (let i = 0; i < inputs; i++) {
        const random = seededRandom(seed * 3_000_017 + i)
        const name = random.pick(files)
        if ((contents.get(name) as Buffer).length === 0) continue
        const { kind, at, bytes } = corrupt(contents.get(name) as Buffer, random)
        await rm(path, { recursive: true })
        await mkdir(path)
        for (const [file, content] of contents)
          await writeFile(join(path, file), file === name ? bytes : content)
        const cache = new PersistentCache({ path })
        for (const [key, value] of expected) {
          const found = await cache.get(key)
          // What was written last may be lost, as if the process had been killed before: then what was there counts.
          const isOlder = kind === 'cut' && name === files.at(-1) && isDeepStrictEqual(found, { old: value })
          if (found !== undefined && !isOlder) {
            expect(found, `corruption ${i} of seed ${seed}: ${kind} at ${at} of ${name}`).toEqual(value)
          }
          count(found === undefined ? 'values forgotten' : 'values that are right')
        }
        await cache.close()
        count('corruptions')
      }
      await rm(folder, { recursive: true })
      if (isSoak) report('caches on disk', counts, began)
    },
    timeFor(inputs, 1000),
  )
})

function report(what: string, counts: ReadonlyMap<string, number>, began: number): void {
  const lines = [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, number]) => `  ${name}: ${number}`)
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  process.stdout.write(`${what}, seed ${seed}, ${seconds} s\n${lines.join('\n')}\n`)
}
