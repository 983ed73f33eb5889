import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { applyPatch, DeltaCompressor } from '../../src/delta/index.ts'
import { createPersistence, memory } from '../../src/index.ts'
import { EMBEDDED, newPlace, temporaryFolder, toArray } from '../support/stores.ts'

/** Values by which a careless reader changes what all objects inherit. */
const HOSTILE = [
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  '[{"__proto__":{"polluted":1}},{"a":{"__proto__":[{"__proto__":{"polluted":1}}]}}]',
  '{"__proto__":null,"toString":1,"valueOf":2,"hasOwnProperty":3,"toJSON":4,"then":5}',
].map(text => JSON.parse(text) as unknown)
const KEYS = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty']

function expectClean(): void {
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  expect(Reflect.ownKeys(Object.prototype)).not.toContain('polluted')
  expect(Object.getPrototypeOf([])).toBe(Array.prototype)
}

describe('prototypes', () => {
  it.each(EMBEDDED)('are changed by no key and no value, wherever they come back (%s)', async name => {
    const place = await newPlace(name)
    const state = await place.open()
    const data = Object.fromEntries(KEYS.map((key, i) => [key, HOSTILE[i % HOSTILE.length]]))
    await state.save(data)
    const version = await state.createSnapshot({ tag: '__proto__', userInfo: HOSTILE[0] })
    await state.setMany(KEYS.map(key => [key, HOSTILE[0]] as const))
    await state.update('__proto__', value => ({ ...(value as object), more: HOSTILE[1] }))
    for (const key of KEYS) await state.get(key)
    expect(Object.keys(await state.load()).sort()).toEqual([...KEYS].sort())
    expect(await state.getSnapshotData(version)).toEqual(data)
    await state.compareSnapshots(version, 'head')
    await toArray(state.diff(version, 'head'))
    await toArray(state.history('__proto__'))
    expect(Object.keys(await state.listTags())).toEqual(['__proto__'])
    await state.listSnapshots()
    const folder = await temporaryFolder()
    for (const file of ['a.json', 'a.jsonl.gz']) {
      await state.exportData(join(folder, file))
      await state.importData(join(folder, file))
    }
    await state.exportSnapshot(version, join(folder, 'a.snapshot'))
    await using other = await createPersistence({ engine: memory() })
    await other.importSnapshot(join(folder, 'a.snapshot'))
    await state.restoreSnapshot(version)
    expectClean()
  })

  it('are changed by no delta and no patch', () => {
    const compressor = new DeltaCompressor({ strategy: 'dict' })
    for (const before of HOSTILE) {
      for (const after of HOSTILE) {
        expect(compressor.applyDelta(before, compressor.calculateDelta(before, after))).toEqual(after)
      }
    }
    for (const path of ['/__proto__/polluted', '/constructor/prototype/polluted', '/a/__proto__/polluted']) {
      for (const op of ['add', 'replace', 'copy', 'move'] as const) {
        try {
          applyPatch({ a: {}, from: 1 }, [{ op, path, from: '/from', value: 1 } as never])
        } catch {
          // It may refuse.
        }
      }
    }
    expectClean()
  })
})

describe('paths in an imported file', () => {
  it('are data: no file is read or written that one names', async () => {
    const folder = await temporaryFolder()
    const path = join(folder, 'in.json')
    const outside = join(folder, 'outside')
    const keys = [
      outside,
      `../${'../'.repeat(9)}tmp/x`,
      'file:///etc/passwd',
      `${outside}.json`,
      '/etc/passwd',
    ]
    const data = Object.fromEntries(keys.map(key => [key, { $ref: key, path: key, file: key, include: key }]))
    await writeFile(path, JSON.stringify({ metadata: { file: outside, base: outside, path: outside }, data }))
    await using state = await createPersistence({ basePath: join(folder, 'store') })
    await state.importData(path)
    expect(await state.load()).toEqual(data)
    await state.createSnapshot({ tag: outside, description: outside })
    expect((await readdir(folder)).sort()).toEqual(['in.json', 'store'])
  })
})
