import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { encodeBinaryDelta } from '../../src/delta/index.ts'
import type { History } from '../../src/history/history.ts'
import type { PackStrategy } from '../../src/history/packer.ts'
import { TOMBSTONE } from '../../src/history/record.ts'
import { birthsOf } from '../../src/history/version-row.ts'
import { noise } from '../support/delta-samples.ts'
import { openWithLimits } from '../support/open.ts'
import { ENGINES, newPlace, openNew, temporaryFolder } from '../support/stores.ts'

const KEYS = 40
const ROUNDS = 30

const text = (key: number, round: number): string => `${`words of ${key}, `.repeat(30)}round ${round}`

/** Thirty snapshots, each of which changes every key but one, which is written once. */
async function filled(name: (typeof ENGINES)[number]) {
  const state = await openNew(name, { compression: false })
  await state.set('never changed', text(0, 0))
  for (let round = 0; round < ROUNDS; round++) {
    await state.setMany(Array.from({ length: KEYS }, (_, key) => [`key ${key}`, text(key, round)] as const))
    await state.createSnapshot()
  }
  return state
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, number) => all + number, 0)

/** Bytes of all records of values. */
function storedBytes(history: History): Promise<number> {
  return history.view(async view => {
    let bytes = 0
    for (const table of ['live', 'history'] as const) {
      const { rows, more } = await view.scan(table, {})
      expect(more).toBe(false)
      for (const row of rows) {
        const isTombstone = table === 'history' && birthsOf(row).every(({ codec }) => codec === TOMBSTONE)
        if (!isTombstone) bytes += row.value.byteLength
      }
    }
    return bytes
  })
}

describe.each(ENGINES)('listSnapshots(), on %s', name => {
  it('says what each snapshot takes, before packing and after', async () => {
    const state = await filled(name)
    const written = text(0, 0).length * KEYS
    const before = await state.listSnapshots()
    expect(before.map(({ changes }) => changes)).toStrictEqual([
      KEYS + 1,
      ...Array.from({ length: ROUNDS - 1 }, () => KEYS),
    ])
    await state.compact()
    const after = await state.listSnapshots()
    expect(after.map(({ changes }) => changes)).toStrictEqual(before.map(({ changes }) => changes))
    // The newest values are live, and whole; all others share chains.
    expect(after.at(-1)?.bytes).toBeGreaterThan(written)
    expect(after.at(-1)?.bytes).toBeLessThan(1.2 * written)
    for (const { version, bytes } of after.slice(1, -1)) {
      expect(bytes, version).toBeGreaterThan(0)
      expect(bytes, version).toBeLessThan(written / 20)
    }
    // The first one has the value that never changed as well.
    expect((after[0]?.bytes ?? 0) - (after[1]?.bytes ?? 0)).toBeGreaterThan(text(0, 0).length)
  })

  it('adds up to what the store holds', async () => {
    const place = await newPlace(name)
    const { persistence: state, history } = await openWithLimits(place.engine(), {})
    const stored = (): Promise<number> => storedBytes(history)
    const listed = async (): Promise<number> => sum((await state.listSnapshots()).map(({ bytes }) => bytes))
    for (let round = 0; round < 8; round++) {
      // Written twice between two snapshots: only the second counts.
      await state.set('a', text(1, 100 + round))
      await state.set('a', text(1, round))
      if (round % 3 === 0) await state.set('b', text(2, round))
      await state.createSnapshot()
    }
    expect(await listed()).toBe(await stored())
    await history.maintain()
    expect(await listed()).toBe(await stored())
    await history.pack()
    expect(await listed()).toBe(await stored())
    for (const version of ['v4', 'v1', 'v7', 'v2']) {
      await state.deleteSnapshot(version)
      await history.maintain()
      expect(await listed(), version).toBe(await stored())
    }
    await state.close()
  })

  it('adds up where snapshots were imported, too', async () => {
    const source = await openNew('memory')
    const folder = await temporaryFolder()
    for (let round = 0; round < 6; round++) {
      await source.save({ a: text(1, round), b: text(2, round % 2), [`only ${round}`]: round })
      const version = await source.createSnapshot()
      const base = round === 0 ? {} : { base: `v${round}` as const }
      await source.exportSnapshot(version, join(folder, version), base)
    }
    const { persistence: state, history } = await openWithLimits((await newPlace(name)).engine(), {})
    await state.save({ a: text(3, 3), own: 1 })
    await state.createSnapshot()
    for (let round = 1; round <= 6; round++) {
      await state.importSnapshot(join(folder, `v${round}`))
      // What is current was put back after the snapshot: it is not in one yet.
      await state.createSnapshot()
      const bytes = (await state.listSnapshots()).map(info => info.bytes)
      expect(sum(bytes), `${round}`).toBe(await storedBytes(history))
      for (const number of bytes) expect(number).toBeGreaterThanOrEqual(0)
    }
    await history.pack()
    expect(sum((await state.listSnapshots()).map(({ bytes }) => bytes))).toBe(await storedBytes(history))
    await state.close()
  })

  it('counts what a snapshot changed the same, however the change lists are packed', async () => {
    const state = await filled(name)
    await state.compact()
    await state.deleteSnapshot('v1')
    await state.deleteSnapshot('v2')
    await state.compact()
    expect((await state.listSnapshots()).map(({ changes }) => changes)).toStrictEqual(
      Array.from({ length: ROUNDS - 2 }, () => KEYS),
    )
    await state.close()
  })
})

describe('compareSnapshots().deltaInfo', () => {
  it('is what the differences take, by the same measure as a delta of each value', async () => {
    const state = await openNew('memory')
    const old = text(1, 1)
    const changed = `${old.slice(0, 200)}an insertion${old.slice(200)}`
    const random = noise(225, 1).toString('base64')
    await state.save({ same: old, changed: old, removed: old })
    await state.createSnapshot()
    await state.save({ same: old, changed, added: random })
    await state.createSnapshot()
    const { deltaInfo } = await state.compareSnapshots('v1', 'v2')
    const full = Buffer.byteLength(JSON.stringify(changed)) + Buffer.byteLength(JSON.stringify(random))
    expect(deltaInfo).toMatchObject({ changes: 3, fullBytes: full, ratio: deltaInfo.bytes / full })
    // A whole delta says of both ends what they are, in some twenty bytes; what is added hardly compresses.
    const delta = encodeBinaryDelta(Buffer.from(JSON.stringify(old)), Buffer.from(JSON.stringify(changed)))
    expect(deltaInfo.bytes).toBeGreaterThan(0.7 * random.length)
    expect(deltaInfo.bytes).toBeLessThan(random.length + delta.length + 20)
    const nothing = await state.compareSnapshots('v2', 'v2')
    expect(nothing.deltaInfo).toStrictEqual({ changes: 0, bytes: 0, fullBytes: 0, ratio: 0 })
    // Removing costs nothing to store but the name.
    await state.delete('same')
    expect((await state.compareSnapshots('v2', 'head')).deltaInfo).toStrictEqual({
      changes: 1,
      bytes: 0,
      fullBytes: 0,
      ratio: 0,
    })
    await state.close()
  })
})

describe('getMetrics().delta', () => {
  it.each(['binary', 'dict', 'compress'] as const)('counts what packing by %s did', async strategy => {
    const engine = (await newPlace('memory')).engine()
    const { persistence: state, history } = await openWithLimits(engine, {}, { strategy })
    const values = Array.from({ length: 12 }, (_, round) => ({ round, text: text(round % 3, round) }))
    for (const value of values) {
      await state.set('key', value)
      await state.createSnapshot()
    }
    await history.maintain()
    expect((await state.getMetrics()).delta).toMatchObject({ records: 11, packed: {} })
    await history.pack()
    const { delta } = await state.getMetrics()
    const superseded = values.slice(0, -1)
    const written = await history.view(async view => {
      const { rows } = await view.scan('history', {})
      return { records: rows.length, bytes: sum(rows.map(row => row.value.byteLength)) }
    })
    expect(Object.keys(delta.packed)).toStrictEqual([strategy satisfies PackStrategy])
    expect(delta.packed[strategy]).toStrictEqual({
      versions: superseded.length,
      valueBytes: sum(superseded.map(value => Buffer.byteLength(JSON.stringify(value)))),
      writtenBytes: written.bytes,
    })
    expect(delta.records).toBe(written.records)
    await state.close()
  })
})
