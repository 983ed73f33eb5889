import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import type { Persistence } from '../../src/index.ts'
import { interceptCommits } from '../support/intercepted-engine.ts'
import { EMBEDDED, newPlace, temporaryFolder } from '../support/stores.ts'

const INTERVAL = 15
/** Long enough for several ticks. */
const QUIET = 6 * INTERVAL

const count = async (state: Persistence): Promise<number> => (await state.listSnapshots()).length

/** Waits until there are so many snapshots. */
const waitFor = (state: Persistence, snapshots: number): Promise<void> =>
  vi.waitFor(async () => expect(await count(state)).toBe(snapshots), { timeout: 5_000, interval: 3 })

describe.each(EMBEDDED)('automatic snapshots, on %s', name => {
  it('are taken when something has changed, and only then', async () => {
    const state = await (await newPlace(name)).open({ autoSnapshotInterval: INTERVAL })
    await state.set('a', 1)
    await waitFor(state, 1)
    expect(await state.listSnapshots()).toMatchObject([{ description: 'automatic', tags: [], kind: 'full' }])
    await delay(QUIET)
    expect(await count(state)).toBe(1)
    await state.update('a', n => (n as number) + 1)
    await waitFor(state, 2)
    await state.get('a')
    await state.set('a', 2)
    await state.delete('none')
    await delay(QUIET)
    expect(await count(state)).toBe(2)
    expect(await state.getSnapshotData('v1')).toEqual({ a: 1 })
    expect(await state.getSnapshotData('v2')).toEqual({ a: 2 })
  })

  it('are not taken of an empty store, nor right after a snapshot that was asked for', async () => {
    const state = await (await newPlace(name)).open({ autoSnapshotInterval: INTERVAL })
    await delay(QUIET)
    expect(await count(state)).toBe(0)
    await Promise.all([state.set('a', 1), state.createSnapshot({ tag: 'asked for' })])
    await delay(QUIET)
    expect(await state.listSnapshots()).toMatchObject([{ tags: ['asked for'] }])
  })

  it('are taken of what another open of the store changed, also before this one', async () => {
    const place = await newPlace(name)
    const another = await place.open()
    await another.createSnapshot()
    await another.set('before', 1)
    const state = await place.open({ autoSnapshotInterval: INTERVAL })
    await waitFor(state, 2)
    await another.set('meanwhile', 1)
    await waitFor(state, 3)
    expect(await state.getSnapshotData('v3')).toEqual({ before: 1, meanwhile: 1 })
  })

  it('are taken of large changes, of restored states and after imports', async () => {
    const place = await newPlace(name)
    const state = await place.open()
    await state.save({ a: 1 })
    await state.createSnapshot()
    const file = join(await temporaryFolder(), 'snapshot')
    await state.save({ b: 1 })
    const version = await state.createSnapshot()
    await state.exportSnapshot(version, file)
    await state.deleteSnapshot(version)
    await state.save({ c: 1 })
    await state.importSnapshot(file)
    const automatic = await place.open({ autoSnapshotInterval: INTERVAL })
    // What was changed before the import is in no snapshot yet.
    await waitFor(automatic, 3)
    const infos = await state.listSnapshots()
    expect(await state.getSnapshotData(infos.at(-1)?.version ?? '')).toEqual({ c: 1 })
    await state.restoreSnapshot('v1')
    await waitFor(automatic, 4)
  })

  it('obey the retention policy', async () => {
    const state = await (await newPlace(name)).open({ autoSnapshotInterval: INTERVAL, maxSnapshots: 2 })
    for (let i = 0; i < 4; i++) {
      await state.set('n', i)
      await vi.waitFor(
        async () =>
          expect(await state.getSnapshotData((await state.listSnapshots()).at(-1)?.version ?? '')).toEqual({
            n: i,
          }),
        { timeout: 5_000, interval: 3 },
      )
    }
    expect(await count(state)).toBe(2)
  })

  it('end with the store, and what is being taken is finished', async () => {
    const place = await newPlace(name)
    for (let round = 0; round < 5; round++) {
      const state = await place.open({ autoSnapshotInterval: 1 })
      await state.set('n', round)
      await delay(round)
      await state.close()
    }
    const state = await place.open()
    const before = await count(state)
    await state.set('n', 'later')
    await delay(QUIET)
    expect(await count(state)).toBe(before)
    expect(await state.verify()).toMatchObject({ ok: true })
  })

  it('that fail are logged, and tried again', async () => {
    const place = await newPlace(name)
    let failing = false
    const engine = interceptCommits(place.engine(), {
      before() {
        if (failing) throw new Error('the disk is full')
      },
    })
    const errors: unknown[][] = []
    const quiet = (): void => undefined
    const logger = {
      debug: quiet,
      info: quiet,
      warn: quiet,
      error: (...line: unknown[]): void => void errors.push(line),
    }
    const state = await place.open({ engine, logger, autoSnapshotInterval: INTERVAL })
    await state.set('a', 1)
    failing = true
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(1), { timeout: 5_000, interval: 3 })
    expect(errors[0]).toEqual([
      { err: expect.objectContaining({ message: 'the disk is full' }) },
      'varve: an automatic snapshot failed',
    ])
    failing = false
    await vi.waitFor(async () => expect(await count(state)).toBeGreaterThan(0), { timeout: 5_000 })
    expect(await state.getSnapshotData('v1')).toEqual({ a: 1 })
  })
})
