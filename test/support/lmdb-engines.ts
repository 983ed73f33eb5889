import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import { type Engine, lmdb } from '../../src/engine/index.ts'

/** Paths of new stores, in a folder that is there while the tests of a file run. */
export function newPaths(): () => string {
  let base: string
  let count = 0
  beforeAll(async () => {
    base = await mkdtemp(join(tmpdir(), 'varve-lmdb-'))
    // For peers that are somebody else, and may only read.
    await chmod(base, 0o755)
  })
  afterAll(() => rm(base, { recursive: true }))
  return () => join(base, `store ${count++}`)
}

/** Opens the engine of a folder. It is closed when the test ends. */
export async function openEngine(path: string): Promise<Engine> {
  const engine = lmdb(path)
  await engine.open()
  onTestFinished(() => engine.close())
  return engine
}
