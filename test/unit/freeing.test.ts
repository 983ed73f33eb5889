import { describe, expect, it } from 'vitest'
import { memory } from '../../src/engine/memory.ts'
import { openWithLimits } from '../support/open.ts'

/** Alike but for a number, so that each is stored as its difference from the next. */
const sample = (n: number): object => ({ n, note: 'x'.repeat(300) })

describe.each(['binary', 'dict', 'compress'] as const)(
  'freeing versions from chains, packed by %s',
  strategy => {
    it('keeps the others as they were, whichever go', async () => {
      for (let dropped = 0; dropped < 64; dropped++) {
        const { persistence, history } = await openWithLimits(memory(), {}, { strategy })
        const states: [string, unknown][] = []
        // A value, absence, and values again: what is absent then leads, once the value before is gone.
        for (const n of [1, undefined, 2, 3, 4, 5]) {
          if (n === undefined) await persistence.delete('key')
          else await persistence.set('key', sample(n))
          states.push([await persistence.createSnapshot(), n && sample(n)])
        }
        await persistence.set('key', sample(6))
        await history.compact()
        const kept = states.filter((_, i) => ((dropped >> i) & 1) === 0)
        for (const [version] of states.filter((_, i) => ((dropped >> i) & 1) === 1)) {
          await persistence.deleteSnapshot(version)
          await history.maintain()
        }
        for (const [version, value] of kept) expect(await persistence.at(version).get('key')).toEqual(value)
        expect(await persistence.verify()).toMatchObject({ ok: true, problems: [] })
        const values = kept.filter(([, value]) => value !== undefined).length
        const { history: table } = (await persistence.getMetrics()).storage.tables
        if (values === 0) expect(table?.entries ?? 0).toBe(0)
        await persistence.close()
      }
    })
  },
)

it('frees what each of several snapshots dropped at once could see, though one between them stays', async () => {
  const { persistence, history } = await openWithLimits(memory(), {})
  await persistence.set('x', 0)
  await persistence.createSnapshot()
  await persistence.set('x', 1)
  await persistence.createSnapshot({ tag: 'kept' })
  await persistence.set('y', 1)
  await persistence.createSnapshot()
  await persistence.set('y', 2)
  await persistence.createSnapshot({ tag: 'kept' })
  await persistence.pruneSnapshots({ keepTags: ['kept'] })
  await history.maintain()
  expect((await persistence.listSnapshots()).map(({ version }) => version)).toEqual(['v2', 'v4'])
  expect((await persistence.getMetrics()).storage.tables.history?.entries ?? 0).toBe(0)
  await persistence.close()
})
