import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject, onTestFinished } from 'vitest'
import { postgres } from '../../src/engine/postgres.ts'
import type { Engine, Persistence, PersistenceOptions } from '../../src/index.ts'
import { createPersistence, lmdb, memory } from '../../src/index.ts'

export type EngineName = 'memory' | 'lmdb' | 'postgres'

/** Where the PostgreSQL server of the tests is; empty where there is none. */
export const POSTGRES: string = inject('postgres')

/** The engines without a server: for tests of what no engine has a part in, which are many and quick. */
export const EMBEDDED: readonly EngineName[] = ['memory', 'lmdb']

/** The engines that behaviour is tested on. */
export const ENGINES: readonly EngineName[] = POSTGRES === '' ? EMBEDDED : [...EMBEDDED, 'postgres']

/** A place where one store is, which may be opened several times, also at once. */
export interface Place {
  /** The folder of the store; there is none in it where the engine is another than `lmdb`. */
  readonly path: string
  /** The engine of this place, as a caller of `createPersistence` would make it. */
  engine(): Engine
  /** Opens the store. It is closed when the test ends. */
  open<S = Record<string, unknown>>(options?: PersistenceOptions): Promise<Persistence<S>>
}

/** A new place, removed when the test ends. */
export async function newPlace(name: EngineName): Promise<Place> {
  const path = join(await temporaryFolder(), 'store')
  const kept = memory()
  const store = randomUUID()
  const engine = (): Engine => {
    if (name === 'postgres') return postgres({ connectionString: POSTGRES, store })
    return name === 'memory' ? kept : lmdb(path)
  }
  return {
    path,
    engine,
    async open<S>(options: PersistenceOptions = {}) {
      const state = await createPersistence<S>({ engine: engine(), ...options })
      onTestFinished(() => state.close())
      return state
    },
  }
}

/** Opens a store at a new place. */
export async function openNew<S = Record<string, unknown>>(
  name: EngineName,
  options?: PersistenceOptions,
): Promise<Persistence<S>> {
  return (await newPlace(name)).open<S>(options)
}

/** A new folder for the tests of a file, to be removed by `afterAll`. */
export function scratchFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'varve-test-'))
}

/** A new folder, removed when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'varve-test-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** All that an iteration yields. */
export async function toArray<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

/** The next so many items of an iterator, which goes on afterwards. */
export async function take<T>(items: AsyncIterator<T>, count: number): Promise<T[]> {
  const found: T[] = []
  while (found.length < count) {
    const { done, value } = await items.next()
    if (done === true) throw new Error(`the iteration ended after ${found.length} of ${count} items`)
    found.push(value)
  }
  return found
}
