import { createHash } from 'node:crypto'
import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { encodeKey } from '../../src/core/key.ts'
import { createPersistence, lmdb, memory, repair, verify } from '../../src/index.ts'
import { runCommand } from '../support/command.ts'
import { checkRepaired, fillSample } from '../support/corruption.ts'
import { seededRandom } from '../support/random.ts'
import { ENGINES, newPlace, temporaryFolder } from '../support/stores.ts'

/** A sum of all files of a folder but the lock files, in which LMDB notes who is reading. */
async function sumOf(folder: string): Promise<string> {
  const sum = createHash('sha256')
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    if (!name.endsWith('lock.mdb'))
      sum.update(name).update(await readFile(join(folder, name)).catch(() => ''))
  }
  return sum.digest('hex')
}

async function damagedPages(path: string, pages: readonly number[]): Promise<void> {
  const file = join(path, 'generation-1/data.mdb')
  const content = await readFile(file)
  for (const page of pages) content.fill(0, page * 4096, page * 4096 + 4096)
  await writeFile(file, content)
}

describe('repair()', () => {
  it.each(ENGINES)('copies a whole store, with nothing lost (%s)', async name => {
    const place = await newPlace(name)
    const state = await place.open()
    for (let round = 1; round <= 5; round++) {
      await state.setMany([
        ['a', round],
        [`b${round}`, 'x'.repeat(round * 1000)],
      ])
      await state.createSnapshot({ tag: `t${round}`, description: 'd' })
    }
    await state.deleteSnapshot('v2')
    await state.delete('b1')
    await state.close()
    const target = memory()
    const summary = await repair(place.engine(), target)
    expect(summary).toMatchObject({ keys: 5, snapshots: 4, problems: [] })
    expect(summary.lost).toEqual({ keys: [], unnamedKeys: 0, snapshots: [], newestCommits: false })
    await using repaired = await createPersistence({ engine: target })
    expect(await repaired.verify()).toMatchObject({ ok: true, problems: [] })
    const original = await place.open()
    expect(await repaired.load()).toEqual(await original.load())
    expect((await repaired.listSnapshots()).map(({ version, tags }) => [version, tags])).toEqual(
      (await original.listSnapshots()).map(({ version, tags }) => [version, tags]),
    )
    for (const { version } of await original.listSnapshots()) {
      expect(await repaired.getSnapshotData(version)).toEqual(await original.getSnapshotData(version))
      expect(await repaired.compareSnapshots(version, 'head')).toEqual(
        await original.compareSnapshots(version, 'head'),
      )
    }
    // It goes on as any other store.
    expect(await repaired.createSnapshot()).toBe('v6')
  })

  it.each(ENGINES)('leaves a damaged value out, and says where it is lost (%s)', async name => {
    const place = await newPlace(name)
    const state = await place.open()
    for (const value of [1, 2, 3]) {
      await state.setMany([
        ['a', value],
        ['b', value],
      ])
      await state.createSnapshot()
    }
    await state.close()
    const engine = place.engine()
    await engine.open()
    await engine.commit(async (view, batch) => {
      const record = Buffer.from((await view.get('live', encodeKey('b'))) as Uint8Array)
      record[2] = (record[2] as number) ^ 1
      batch.put('live', encodeKey('b'), record)
    })
    await engine.close()
    const target = memory()
    const { lost, problems } = await repair(place.engine(), target)
    expect(lost.keys).toEqual([{ key: 'b', versions: ['v3'], current: true, certain: true }])
    expect(problems).toHaveLength(1)
    await using repaired = await createPersistence({ engine: target })
    expect(await repaired.load()).toEqual({ a: 3 })
    // The value before is not taken for the one that is lost.
    expect(await repaired.getSnapshotData('v3')).toEqual({ a: 3 })
    expect(await repaired.getSnapshotData('v2')).toEqual({ a: 2, b: 2 })
    expect((await repaired.compareSnapshots('v2', 'v3')).removed).toEqual(['b'])
    expect(await repaired.verify()).toMatchObject({ ok: true })
  })

  it('never writes to the damaged store', async () => {
    const path = join(await temporaryFolder(), 'store')
    const expected = await fillSample({ basePath: path }, seededRandom(3))
    await damagedPages(path, [10, 20])
    const before = await sumOf(path)
    const target = memory()
    const summary = await repair(lmdb(path), target)
    expect(summary.problems).not.toEqual([])
    await verify(lmdb(path))
    expect(await sumOf(path)).toBe(before)
    expect((await checkRepaired(target, summary, expected)).fault).toBeUndefined()
  })

  it('finds the rows that a lost branch page led to', async () => {
    const path = join(await temporaryFolder(), 'store')
    const state = await createPersistence({ basePath: path })
    await state.setMany(
      Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`key/${i}`, `value ${i}`])),
    )
    await state.createSnapshot()
    await state.compact()
    const whole = await state.load()
    await state.close()
    const content = await readFile(join(path, 'generation-1/data.mdb'))
    const branches: number[] = []
    for (let page = 2; page < content.length / 4096; page++) {
      if (content.readUInt16LE(page * 4096 + 18) === 1) branches.push(page)
    }
    expect(branches.length).toBeGreaterThan(0)
    await damagedPages(path, branches)
    expect(await verify(lmdb(path))).toMatchObject({ ok: false })
    const target = memory()
    const { keys, lost } = await repair(lmdb(path), target)
    expect({ keys, lost: lost.keys, unnamed: lost.unnamedKeys }).toEqual({ keys: 2000, lost: [], unnamed: 0 })
    await using repaired = await createPersistence({ engine: target })
    expect(await repaired.load()).toEqual(whole)
  })

  it('reads a store without its first two pages, and one without CURRENT', async () => {
    const path = join(await temporaryFolder(), 'store')
    const expected = await fillSample({ basePath: path }, seededRandom(4))
    await damagedPages(path, [0, 1])
    await rm(join(path, 'CURRENT'))
    // A new store must not take its place.
    await expect(createPersistence({ basePath: path })).rejects.toMatchObject({ code: 'ENGINE_DAMAGED' })
    const target = memory()
    const summary = await repair(lmdb(path), target)
    expect(summary.lost.newestCommits).toBe(true)
    const saved = await checkRepaired(target, summary, expected)
    expect(saved.fault).toBeUndefined()
    expect(saved.values).toBeGreaterThan(100)
  })

  it('begins anew where an earlier one broke off, and refuses a place that holds data', async () => {
    const folder = await temporaryFolder()
    const path = join(folder, 'store')
    await fillSample({ basePath: path }, seededRandom(5))
    const target = lmdb(join(folder, 'target'))
    const stop = new AbortController()
    const stopped = repair(lmdb(path), target, { signal: stop.signal, onProgress: () => stop.abort() })
    await stopped.catch(error => expect(error).toBe(stop.signal.reason))
    await cp(path, join(folder, 'copy'), { recursive: true })
    const used = memory()
    await repair(lmdb(path), used)
    await expect(repair(lmdb(path), used)).rejects.toMatchObject({ code: 'COPY_TARGET_NOT_EMPTY' })
    await expect(repair(used, used)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(repair(lmdb(join(folder, 'none')), memory())).rejects.toMatchObject({
      code: 'ENGINE_NO_STORE',
    })
  })
})

describe('varve verify', () => {
  it('tells of a store that cannot be opened, and repairs it', async () => {
    const cwd = await temporaryFolder()
    const path = join(cwd, '.varve')
    await fillSample({ basePath: path }, seededRandom(6))
    await truncate(join(path, 'generation-1/data.mdb'), 100_000)
    await expect(createPersistence({ basePath: path })).rejects.toMatchObject({ code: 'ENGINE_DAMAGED' })
    const found = await runCommand(['verify', '--json'], { cwd })
    expect(found.code).toBe(5)
    expect(JSON.parse(found.stdout).problems.length).toBeGreaterThan(0)
    const repaired = await runCommand(['verify', '--repair'], { cwd })
    expect(repaired.code).toBe(5)
    expect(repaired.stdout).toMatch(/Saved \d+ keys? and \d+ snapshots? to \.\/\.varve-repaired/)
    expect(await runCommand(['verify', '--store', '.varve-repaired'], { cwd })).toMatchObject({ code: 0 })
    const elsewhere = await runCommand(['verify', '--into', 'x'], { cwd })
    expect(elsewhere.code).toBe(2)
  })
})
