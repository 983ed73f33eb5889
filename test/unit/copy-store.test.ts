import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { postgres } from '../../src/engine/postgres.ts'
import type { CopyProgress, Engine, Persistence } from '../../src/index.ts'
import { copyStore, createPersistence, lmdb, memory } from '../../src/index.ts'
import { interceptCommits } from '../support/intercepted-engine.ts'
import { type EngineName, POSTGRES, temporaryFolder, toArray } from '../support/stores.ts'

/** Makes engines of one new place, the same store each time. */
type Place = () => Engine

async function newPlace(name: EngineName): Promise<Place> {
  const kept = memory()
  const path = join(await temporaryFolder(), 'store')
  const store = randomUUID()
  return () => {
    if (name === 'postgres') return postgres({ connectionString: POSTGRES, store })
    return name === 'memory' ? kept : lmdb(path)
  }
}

const PAIRS: readonly (readonly [EngineName, EngineName])[] = [
  ['memory', 'lmdb'],
  ['lmdb', 'memory'],
  ...(POSTGRES === ''
    ? []
    : ([
        ['lmdb', 'postgres'],
        ['postgres', 'lmdb'],
      ] as const)),
]

async function using<T>(place: Place, use: (state: Persistence) => Promise<T>): Promise<T> {
  const state = await createPersistence({ engine: place() })
  try {
    return await use(state)
  } finally {
    await state.close()
  }
}

/** Everything that a store says of its present and its past. */
function contents(place: Place): Promise<unknown> {
  return using(place, async state => {
    const snapshots = await state.listSnapshots()
    expect(await state.verify()).toMatchObject({ ok: true })
    return {
      now: await state.load(),
      // Their bytes are told less exactly once the log has been folded, in the background.
      snapshots: snapshots.map(({ bytes: _, ...info }) => info),
      size: await state.size(),
      states: await Promise.all(snapshots.map(({ version }) => state.getSnapshotData(version))),
      differences: await Promise.all(snapshots.map(({ version }) => toArray(state.diff(version, 'head')))),
      history: await toArray(state.history('key 1')),
    }
  })
}

/** A store with a past: values of every kind, deletions, dropped snapshots, some of it packed. */
async function fill(state: Persistence, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await state.setMany(
      Object.fromEntries(
        Array.from({ length: 12 }, (_, i) => [
          `key ${(round * 5 + i) % 40}`,
          i % 3 === 0 ? new Map([[round, 'x'.repeat(i * 300)]]) : { round, i, text: 'y'.repeat(50) },
        ]),
      ),
    )
    await state.delete(`key ${round % 7}`)
    await state.createSnapshot({ tag: `round ${round}`, userInfo: { round } })
    if (round === rounds >> 1) await state.compact()
  }
  await state.deleteSnapshot('v2')
  await state.set('after', 'the last snapshot')
}

describe.each(PAIRS)('copyStore() from %s to %s', (from, to) => {
  it('keeps the state and every snapshot, there and back', async () => {
    const [source, target, back] = [await newPlace(from), await newPlace(to), await newPlace(from)]
    await using(source, state => fill(state, 12))
    const expected = await contents(source)
    const seen: CopyProgress[] = []
    const summary = await copyStore(source(), target(), { onProgress: progress => seen.push(progress) })
    expect(summary).toMatchObject({ written: summary.records })
    expect(seen.at(-1)).toEqual({
      records: summary.records,
      recordsTotal: summary.records,
      bytes: summary.bytes,
    })
    expect(await contents(target)).toEqual(expected)
    await copyStore(target(), back())
    expect(await contents(back)).toEqual(expected)
    // The copy is a store like any other.
    await using(target, async state => {
      await state.restoreSnapshot('v4')
      expect(await state.createSnapshot()).toBe('v13')
    })
  })

  it('goes on after it was broken off anywhere, also if the source has changed', async () => {
    const [source, target] = [await newPlace(from), await newPlace(to)]
    await using(source, state => fill(state, 6))
    for (const dies of [1, 2, 4]) {
      const broken = interceptCommits(target(), {
        before(commit) {
          if (commit > dies) throw new Error('broken off')
        },
      })
      await expect(copyStore(source(), broken)).rejects.toThrow('broken off')
      await expect(createPersistence({ engine: target() })).rejects.toMatchObject({
        code: 'COPY_UNFINISHED',
      })
      await using(source, async state => {
        await state.setMany({ 'key 1': dies, [`new ${dies}`]: dies })
        await state.delete(`key ${10 + dies}`)
        await state.deleteSnapshot(`v${2 + dies}`).catch(() => undefined)
        await state.compact()
      })
    }
    const { records, written } = await copyStore(source(), target())
    expect(written).toBeLessThan(records)
    expect(await contents(target)).toEqual(await contents(source))
  })
})

describe('copyStore()', () => {
  it('can be cancelled, and called again', async () => {
    const [source, target] = [await newPlace('memory'), await newPlace('memory')]
    await using(source, state => fill(state, 3))
    const controller = new AbortController()
    const reason = new Error('enough')
    const copying = copyStore(source(), target(), {
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    })
    await expect(copying).rejects.toBe(reason)
    await copyStore(source(), target())
    expect(await contents(target)).toEqual(await contents(source))
  })

  it('copies one moment, whatever is written meanwhile', async () => {
    const [source, target] = [await newPlace('memory'), await newPlace('memory')]
    await using(source, async state => {
      await fill(state, 5)
      const before = await state.load()
      let writes = 0
      const writing = interceptCommits(target(), {
        before: () => state.setMany({ 'key 1': writes++, late: writes }).then(() => undefined),
      })
      await copyStore(source(), writing)
      expect(writes).toBeGreaterThan(3)
      expect(await using(target, copy => copy.load())).toEqual(before)
    })
  })

  it('refuses a target that holds something, an empty source, and the same engine', async () => {
    const [source, target, empty] = [
      await newPlace('memory'),
      await newPlace('lmdb'),
      await newPlace('memory'),
    ]
    await using(source, state => state.set('a', 1))
    await using(target, state => state.set('b', 2))
    await expect(copyStore(source(), target())).rejects.toMatchObject({ code: 'COPY_TARGET_NOT_EMPTY' })
    expect(await using(target, state => state.load())).toEqual({ b: 2 })
    await expect(copyStore(empty(), target())).rejects.toMatchObject({ code: 'COPY_SOURCE_EMPTY' })
    await expect(copyStore(source(), source())).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(copyStore(source(), empty(), { onprogress: 1 } as never)).rejects.toThrow('onProgress')
  })

  it('refuses a source that is itself an unfinished copy', async () => {
    const [source, target] = [await newPlace('memory'), await newPlace('memory')]
    await using(source, state => state.set('a', 1))
    const dying = interceptCommits(target(), {
      before(commit) {
        if (commit > 1) throw new Error('broken off')
      },
    })
    await expect(copyStore(source(), dying)).rejects.toThrow('broken off')
    await expect(copyStore(target(), memory())).rejects.toMatchObject({ code: 'COPY_UNFINISHED' })
  })

  it('gives way to a later call with the same target', async () => {
    const [source, target] = [await newPlace('memory'), await newPlace('memory')]
    await using(source, state => fill(state, 3))
    const overtaken = interceptCommits(target(), {
      async before(commit) {
        if (commit === 2) await copyStore(source(), target())
      },
    })
    await expect(copyStore(source(), overtaken)).rejects.toMatchObject({ code: 'CONFLICT' })
    expect(await contents(target)).toEqual(await contents(source))
  })

  it('ends with exactly what the source holds, whatever an earlier copy has left', async () => {
    const source = await newPlace('memory')
    await using(source, state => fill(state, 4))
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 6 }), fc.nat(3))),
        async rows => {
          const target = await newPlace('memory')
          const engine = target()
          const dying = interceptCommits(engine, {
            before(commit) {
              if (commit > 2) throw new Error('broken off')
            },
          })
          await expect(copyStore(source(), dying)).rejects.toThrow('broken off')
          await engine.open()
          await engine.commit((_, batch) => {
            for (const [key, table] of rows) {
              batch.put((['live', 'history', 'log', 'changes'] as const)[table] ?? 'live', key, key)
            }
          })
          await engine.close()
          await copyStore(source(), target())
          expect(await contents(target)).toEqual(await contents(source))
        },
      ),
      { numRuns: 25 },
    )
  })
})
