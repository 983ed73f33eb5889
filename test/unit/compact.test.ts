import { describe, expect, it } from 'vitest'
import { type CompactProgress, InvalidArgumentError } from '../../src/index.ts'
import { ENGINES, openNew } from '../support/stores.ts'

type State = Awaited<ReturnType<typeof filled>>

/** A store with some thousand versions, most of them loose. */
async function filled(name: (typeof ENGINES)[number]) {
  const state = await openNew(name)
  for (let round = 0; round < 12; round++) {
    await state.setMany(
      Array.from({ length: 200 }, (_, i) => [`key ${i}`, `${'some text '.repeat(20)}${round}`] as const),
    )
    await state.createSnapshot()
  }
  return state
}

async function expectWhole(state: State): Promise<void> {
  expect(await state.verify()).toMatchObject({ ok: true })
  for (const round of [0, 5, 11]) {
    const values = Object.values(await state.getSnapshotData(`v${round + 1}`))
    expect(values).toHaveLength(200)
    expect(values.every(value => String(value).endsWith(` ${round}`))).toBe(true)
  }
}

/** What a compaction consists of. */
function phasesOf(name: (typeof ENGINES)[number]): CompactProgress['phase'][] {
  return name === 'memory' ? ['pack'] : ['pack', 'rewrite']
}

describe.each(ENGINES)('compact(), on %s', name => {
  it('tells how far it is, phase by phase, to the end', async () => {
    const state = await filled(name)
    const told: CompactProgress[] = []
    const { bytesBefore, bytesAfter } = await state.compact({ onProgress: progress => told.push(progress) })
    // So little on PostgreSQL may take what it took: see postgres-compact.test.ts.
    if (name !== 'postgres') expect(bytesAfter).toBeLessThan(bytesBefore)
    const phases = [...new Set(told.map(({ phase }) => phase))]
    // PostgreSQL rewrites where it has left room, which is its own business.
    expect(phases).toStrictEqual(phasesOf(name).slice(0, name === 'postgres' ? phases.length : undefined))
    expect(phases).toContain('pack')
    for (const phase of phases) {
      const entries = told.filter(progress => progress.phase === phase).map(progress => progress.entries)
      expect(entries).toStrictEqual([...entries].sort((a, b) => a - b))
    }
    expect(told.filter(({ phase }) => phase === 'pack').length).toBeGreaterThan(5)
    for (const { entries, entriesTotal } of told) expect(entriesTotal).toBeGreaterThanOrEqual(entries)
    const last = told.at(-1)
    expect(last?.entries).toBe(last?.entriesTotal)
    await expectWhole(state)
  })

  it('stops when it is cancelled, at any point, and loses nothing', async () => {
    const state = await filled(name)
    const reason = new Error('enough')
    for (const phase of name === 'lmdb' ? phasesOf(name) : (['pack'] as const)) {
      const controller = new AbortController()
      const compacting = state.compact({
        signal: controller.signal,
        onProgress: progress => {
          if (progress.phase === phase) controller.abort(reason)
        },
      })
      await expect(compacting).rejects.toBe(reason)
      await expectWhole(state)
    }
    await expect(state.compact({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    await state.set('later', 1)
    await state.compact()
    await expectWhole(state)
    expect(await state.get('later')).toBe(1)
  })

  it('refuses options that are none', async () => {
    const state = await openNew(name)
    await expect(state.compact({ onProgress: 'loudly' as never })).rejects.toThrow(InvalidArgumentError)
  })
})
