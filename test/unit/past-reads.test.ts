import { describe, expect, it } from 'vitest'
import { createPersistence, type Persistence, SnapshotNotFoundError } from '../../src/index.ts'
import { rejection } from '../support/byte-streams.ts'
import { ENGINES, newPlace } from '../support/stores.ts'

/** A snapshot for each of these values of a key; `undefined` for none. Another key keeps every epoch apart. */
async function withValues(state: Persistence, values: readonly unknown[]): Promise<string[]> {
  const versions: string[] = []
  for (const [i, value] of values.entries()) {
    await state.set('other', i)
    if (value === undefined) await state.delete('key')
    else await state.set('key', value)
    versions.push(await state.createSnapshot())
  }
  return versions
}

describe.each(ENGINES)('a key at snapshots whose versions are packed, on %s', name => {
  const values = [{ n: 0 }, { n: 1 }, { n: 2 }, undefined, { n: 4 }, { n: 5 }, { n: 6 }]

  async function expectValues(state: Persistence, versions: readonly string[]): Promise<void> {
    // Twice: the second time, what is known of the chain answers.
    for (let round = 0; round < 2; round++) {
      for (const [i, version] of versions.entries()) {
        expect(await state.at(version).get('key'), `${version}, round ${round}`).toEqual(values[i])
        expect(await state.at(version).has('key')).toBe(values[i] !== undefined)
      }
    }
  }

  it('is what it was, whatever is written, packed, dropped and freed since', async () => {
    const place = await newPlace(name)
    const state = await createPersistence({ engine: place.engine() })
    const other = await createPersistence({ engine: place.engine() })
    const versions = await withValues(state, values.slice(0, 5))
    await state.compact()
    await expectValues(state, versions)
    versions.push(...(await withValues(other, values.slice(5))))
    await expectValues(state, versions)
    await other.compact()
    await expectValues(state, versions)
    await other.deleteSnapshot(versions[1] as string)
    expect(await rejection(state.at(versions[1] as string).get('key'))).toBeInstanceOf(SnapshotNotFoundError)
    await other.compact()
    const rest = versions.filter((_, i) => i !== 1)
    for (const [i, version] of rest.entries()) {
      expect(await state.at(version).get('key')).toEqual(values.filter((_, i) => i !== 1)[i])
    }
    await state.close()
    await other.close()
  })

  it("is the caller's own", async () => {
    const place = await newPlace(name)
    const state = await createPersistence({ engine: place.engine() })
    const versions = await withValues(state, values)
    await state.compact()
    for (let round = 0; round < 4; round++) {
      const value = await state.at(versions[1] as string).get('key')
      expect(value).toEqual({ n: 1 })
      Object.assign(value as object, { n: 'changed' })
    }
    await state.close()
  })

  it.skipIf(name === 'postgres')('is read anew where there is more than the cache takes', async () => {
    const place = await newPlace(name)
    const state = await createPersistence({ engine: place.engine() })
    const text = 'x'.repeat(1_000_000)
    const valueAt = (key: number, epoch: number): unknown => ({ key, epoch, text, numbers: [epoch, key] })
    const keys = 28
    const versions: string[] = []
    for (let epoch = 0; epoch < 3; epoch++) {
      await state.setMany(
        Array.from({ length: keys }, (_, key): [string, unknown] => [`key ${key}`, valueAt(key, epoch)]),
      )
      versions.push(await state.createSnapshot())
    }
    await state.compact()
    for (let round = 0; round < 2; round++) {
      for (let key = 0; key < keys; key++) {
        for (const [epoch, version] of versions.entries()) {
          expect(await state.at(version).get(`key ${key}`)).toEqual(valueAt(key, epoch))
        }
      }
    }
    await state.close()
  })
})
