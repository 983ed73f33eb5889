import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Engine } from '../../src/engine/engine.ts'
import { lmdb } from '../../src/engine/lmdb.ts'
import { memory } from '../../src/engine/memory.ts'
import { createPersistence } from '../../src/index.ts'
import { temporaryFolder } from '../support/stores.ts'

const VALUES = 96
const value = (i: number): Buffer => Buffer.alloc(1 << 20, i)
const keyOf = (i: number): Uint8Array => Buffer.from([1 + i])

/** A store whose file is longer than what may stay in memory. */
async function filled(): Promise<Engine> {
  const engine = lmdb(await temporaryFolder())
  await engine.open()
  for (let i = 0; i < VALUES; i++) {
    await engine.commit((_view, batch) => batch.put('live', keyOf(i), value(i)))
  }
  return engine
}

/** Bytes of mapped files that are resident; `undefined` where the system does not tell. */
function mappedBytes(): number | undefined {
  try {
    const kibibytes = /^RssFile:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024
  } catch {
    return undefined
  }
}

/** `toEqual` takes its time with a megabyte. */
function expectValue(actual: Uint8Array | undefined, i: number): void {
  expect(actual !== undefined && value(i).equals(actual)).toBe(true)
}

async function readAll(engine: Engine): Promise<void> {
  for (let i = 0; i < VALUES; i++) {
    expectValue(await engine.get('live', keyOf(i)), i)
  }
}

describe('trim() of the LMDB engine', () => {
  it.skipIf(mappedBytes() === undefined)('lets go of what was read', async () => {
    const engine = await filled()
    await readAll(engine)
    const before = mappedBytes() ?? 0
    await engine.trim?.()
    expect(before - (mappedBytes() ?? 0)).toBeGreaterThan((VALUES / 2) << 20)
    await readAll(engine)
    await engine.close()
  })

  it('keeps open views as they are, and commits that are waiting', async () => {
    const engine = await filled()
    const view = engine.read()
    expectValue(await view.get('live', keyOf(0)), 0)
    await Promise.all([
      engine.trim?.(),
      engine.commit((_view, batch) => batch.put('live', keyOf(0), value(7))),
      engine.trim?.(),
      engine.commit((_view, batch) => batch.put('live', keyOf(1), value(8))),
    ])
    expectValue(await view.get('live', keyOf(0)), 0)
    expectValue(await engine.get('live', keyOf(0)), 7)
    view.close()
    await engine.trim?.()
    expectValue(await engine.get('live', keyOf(1)), 8)
    await engine.close()
  })

  it('may be called while others read, write, open and close', async () => {
    const folder = await temporaryFolder()
    const engine = lmdb(folder)
    await engine.open()
    for (let i = 0; i < VALUES; i++) {
      await engine.commit((_view, batch) => batch.put('live', keyOf(i), value(i)))
    }
    await Promise.all([
      (async () => {
        for (let i = 0; i < 30; i++) await engine.trim?.()
      })(),
      (async () => {
        for (let i = 0; i < 30; i++)
          await engine.commit((_view, batch) => batch.put('meta', keyOf(i), keyOf(i)))
      })(),
      (async () => {
        for (let i = 0; i < 10; i++) {
          const other = lmdb(folder)
          await other.open()
          const view = other.read()
          expectValue(await view.get('live', keyOf(i)), i)
          view.close()
          await other.close()
        }
      })(),
      readAll(engine),
    ])
    for (let i = 0; i < 30; i++) expect(await engine.get('meta', keyOf(i))).toEqual(keyOf(i))
    await engine.close()
  })
})

describe('the background after a snapshot', () => {
  it('lets an engine keep what it holds in memory, where it has done little', async () => {
    let trims = 0
    const engine: Engine = {
      ...memory(),
      trim() {
        trims++
      },
    }
    const persistence = await createPersistence({ engine })
    for (let i = 0; i < 12; i++) {
      await persistence.setMany({ a: i, b: i })
      await persistence.createSnapshot()
      // Turns in which it folds what was committed, and finds that nothing else is to be done.
      for (let turn = 0; turn < 10; turn++) await nextTurn()
    }
    expect(trims).toBe(0)
    await persistence.close()
  })
})

describe('an export that moves on to another view', () => {
  const text = randomBytes(150_000).toString('base64')
  const KEYS = 200

  it.each([1, 2])('shows one moment, though another commits in between: %i times', async times => {
    const shared = memory()
    const other = await createPersistence({ engine: shared })
    let left = times
    const engine: Engine = {
      ...shared,
      async trim() {
        if (left-- > 0)
          await other.setMany([
            ['key 000', `changed ${left}`],
            ['key 199', `changed ${left}`],
          ])
      },
    }
    const persistence = await createPersistence({ engine })
    await persistence.setMany(
      Array.from({ length: KEYS }, (_, i): [string, unknown] => [
        `key ${String(i).padStart(3, '0')}`,
        { i, text },
      ]),
    )
    left = times
    const file = join(await temporaryFolder(), 'state.json')
    await persistence.exportData(file)
    const { data } = JSON.parse(await readFile(file, 'utf8'))
    expect(left).toBeLessThan(times)
    expect(Object.keys(data)).toHaveLength(KEYS)
    expect(data['key 000']).toEqual(data['key 199'])
    await persistence.close()
    await other.close()
  })

  it('is not what an iteration does that nobody restarts: it shows one moment', async () => {
    const shared = memory()
    const other = await createPersistence({ engine: shared })
    let n = 0
    const trim = async (): Promise<void> => {
      n++
      await other.setMany({ 'key 000': n, 'key 199': n })
    }
    const persistence = await createPersistence({ engine: { ...shared, trim } })
    await persistence.setMany(
      Array.from({ length: KEYS }, (_, i): [string, unknown] => [
        `key ${String(i).padStart(3, '0')}`,
        { i, text },
      ]),
    )
    await trim()
    const seen = new Map<string, unknown>()
    for await (const [key, value] of persistence.entries()) seen.set(key, value)
    expect(seen.get('key 000')).toBe(seen.get('key 199'))
    await persistence.close()
    await other.close()
  })
})
