import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Engine } from '../../src/engine/engine.ts'
import type { HistoryLimits } from '../../src/history/limits.ts'
import type { PackerOptions } from '../../src/history/packer.ts'
import type { Persistence } from '../../src/index.ts'
import { noise } from '../support/delta-samples.ts'
import { dyingEngine, interceptCommits } from '../support/intercepted-engine.ts'
import { openWithLimits } from '../support/open.ts'
import { ENGINES, newPlace } from '../support/stores.ts'

const ROUNDS = 24
const KEYS = ['a', 'b', 'c', 'd', 'e']
const value = (key: string, round: number) => ({ key, round, text: `${key} `.repeat(60) })

/** Keys that change before each snapshot, one that is deleted and set by turns, and one that never changes. */
async function fill(state: Persistence, from = 1): Promise<void> {
  if (from === 1) await state.set('still', 1)
  for (let round = from; round < from + ROUNDS; round++) {
    for (const key of KEYS) await state.set(key, value(key, round))
    if (round % 2 === 0) await state.set('now and then', round)
    else await state.delete('now and then')
    await state.createSnapshot()
  }
}

function stateAt(round: number): Record<string, unknown> {
  return {
    still: 1,
    ...(round % 2 === 0 && { 'now and then': round }),
    ...Object.fromEntries(KEYS.map(key => [key, value(key, round)])),
  }
}

async function expectSnapshots(state: Persistence): Promise<void> {
  for (const { version } of await state.listSnapshots()) {
    expect(await state.getSnapshotData(version), version).toStrictEqual(stateAt(Number(version.slice(1))))
  }
  expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
}

/** No packing by itself until it is asked for. */
const LATER: Partial<HistoryLimits> = { packEpochs: 1e6, packListEpochs: 1e6 }
/** As soon as there is anything. */
const SOON: Partial<HistoryLimits> = { packEpochs: 1, packVersions: 4, packListEpochs: 2, freeKeys: 2 }

async function packedVersions(state: Persistence): Promise<number> {
  const { packed } = (await state.getMetrics()).delta
  return Object.values(packed).reduce((sum, { versions }) => sum + versions, 0)
}

describe.each(ENGINES)('packing, on %s', name => {
  it.each([
    { strategy: 'binary', maxChainLength: 7 },
    { strategy: 'dict', maxChainLength: 7 },
    { strategy: 'compress', maxChainLength: 7 },
  ] as PackerOptions[])('loses nothing wherever the process dies ($strategy)', async packing => {
    let died = true
    for (let commits = 0; died; commits++) {
      const place = await newPlace(name)
      const first = await openWithLimits(place.engine(), LATER, packing)
      await fill(first.persistence)
      await first.persistence.close()

      // The commit after these is not made: nothing that follows it reaches the disk.
      const dying = await openWithLimits(dyingEngine(place.engine(), commits), SOON, packing)
      died = await dying.history.pack().then(
        () => false,
        () => true,
      )
      await dying.persistence.close()

      const again = await openWithLimits(place.engine(), LATER, packing)
      await expectSnapshots(again.persistence)
      await again.history.pack()
      await expectSnapshots(again.persistence)
      await again.persistence.close()
      expect(commits).toBeLessThan(60)
    }
  })

  it('stops when the store is closed, and goes on when it is opened again', async () => {
    const place = await newPlace(name)
    let packing: (() => void) | undefined
    const began = new Promise<void>(resolve => {
      packing = resolve
    })
    const first = await openWithLimits(place.engine(), LATER)
    await fill(first.persistence)
    await first.persistence.close()
    const engine = interceptCommits(place.engine(), { before: () => packing?.() })
    const second = await openWithLimits(engine, SOON)
    await began
    await second.persistence.close()

    const third = await openWithLimits(place.engine(), SOON)
    await third.history.maintain()
    expect(await packedVersions(third.persistence)).toBeGreaterThan(KEYS.length * 10)
    await expectSnapshots(third.persistence)
    await third.persistence.close()
  })

  it('gives way to whoever deletes snapshots and writes meanwhile', async () => {
    const place = await newPlace(name)
    const { persistence: state, history } = await openWithLimits(place.engine(), SOON)
    await fill(state)
    const deleting = (async () => {
      for (let round = 2; round < ROUNDS; round += 2) await state.deleteSnapshot(`v${round}`)
    })()
    await Promise.all([deleting, history.pack(), fill(state, ROUNDS + 1), history.pack()])
    await history.pack()
    expect(await state.listSnapshots()).toHaveLength(2 * ROUNDS - 11)
    await expectSnapshots(state)
    for (const { version } of (await state.listSnapshots()).slice(1)) await state.deleteSnapshot(version)
    await history.pack()
    await expectSnapshots(state)
    await state.close()
  })

  it('does not bring back what another has freed between its look and its commit', async () => {
    const place = await newPlace(name)
    const other = await openWithLimits(place.engine(), LATER)
    await fill(other.persistence)
    await other.history.pack()
    await fill(other.persistence, ROUNDS + 1)
    const oldest: string[] = ['v1', 'v2', 'v3', 'v4', 'v5', 'v6']
    let inside = false
    const engine = interceptCommits(place.engine(), {
      async before() {
        const version = inside ? undefined : oldest.shift()
        if (version === undefined) return
        inside = true
        // The chain that is about to be merged with younger versions loses its oldest one, and moves.
        await other.persistence.deleteSnapshot(version)
        await other.history.maintain()
        inside = false
      },
    })
    const packing = await openWithLimits(engine, LATER)
    while (oldest.length > 0) await packing.history.pack()
    await packing.history.pack()
    await expectSnapshots(packing.persistence)
    await packing.persistence.close()
    await other.persistence.close()
  })

  it('may be done by two at once', async () => {
    const place = await newPlace(name)
    const engine: Engine = place.engine()
    const one = await openWithLimits(engine, SOON)
    const other = await openWithLimits(name === 'memory' ? engine : place.engine(), SOON)
    await fill(one.persistence)
    await Promise.all([one.history.pack(), other.history.pack()])
    await expectSnapshots(other.persistence)
    await one.persistence.close()
    await expectSnapshots(other.persistence)
    await other.persistence.close()
  })

  it('is idle once there is nothing left to do', async () => {
    const place = await newPlace(name)
    let commits = 0
    const engine = interceptCommits(place.engine(), {
      before: () => {
        commits++
      },
    })
    const { persistence: state, history } = await openWithLimits(engine, SOON)
    await fill(state)
    await history.maintain()
    const done = commits
    await history.maintain()
    await delay(100)
    expect(commits).toBe(done)
    await state.close()
  })
})

describe('packing of large values', () => {
  it.each(['compact', 'background'])('makes pairs of values too large for more (%s)', async way => {
    const place = await newPlace('memory')
    const limits = way === 'compact' ? LATER : { ...SOON, packVersions: 32 }
    const { persistence: state, history } = await openWithLimits(place.engine(), limits)
    const size = 9 * 1024 * 1024
    const first = noise(size, 1)
    const bytes = Buffer.from(first)
    for (let round = 1; round <= 5; round++) {
      bytes[round * 1000] = round
      await state.set('large', bytes)
      await state.createSnapshot()
      await history.maintain()
    }
    if (way === 'compact') await history.pack()
    const stored = await history.view(async view => {
      let sum = 0
      for (let gt: Uint8Array | undefined, more = true; more; ) {
        const page = await view.scan('history', { gt })
        for (const row of page.rows) sum += row.value.byteLength
        gt = page.rows.at(-1)?.key ?? gt
        more = page.more
      }
      return sum
    })
    // Of four superseded versions, two pairs.
    expect(stored).toBeLessThan(2.1 * size)
    for (let round = 1; round <= 5; round++) {
      const old = await state.at(`v${round}`).get('large')
      expect([1, 2, 3, 4, 5].map(at => (old as Buffer)[at * 1000])).toStrictEqual(
        [1, 2, 3, 4, 5].map(at => (at <= round ? at : first[at * 1000])),
      )
    }
    await state.close()
  })
})
