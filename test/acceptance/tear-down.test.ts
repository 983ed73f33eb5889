import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createPersistence, StoreClosedError } from '../../src/index.ts'
import { runTask } from '../support/peers.ts'
import { ENGINES, newPlace, temporaryFolder } from '../support/stores.ts'

describe('closing', () => {
  it('comes to its end though nothing else keeps the process alive', () => {
    expect(runTask('closeWhileBusy', [])).toBe('closed')
  })
})

describe.each(ENGINES)('tearing down, on %s', name => {
  it('leaves no timer and no handle in this process', async () => {
    const place = await newPlace(name)
    // What is loaded once and for all is loaded now.
    await (await place.open()).close()
    const before = process.getActiveResourcesInfo()
    const state = await place.open({ autoSnapshotInterval: 15, maxSnapshots: 2 })
    const waiting = state.watch().next()
    const unheard = state.watch({ prefix: 'z' }).next()
    await state.save({ a: 1, b: 2 })
    await waiting
    await delay(40)
    const iteration = state.entries()
    await iteration.next()
    await state.close()
    expect(await unheard).toEqual({ done: true, value: undefined })
    expect(await lasting(before)).toEqual([])
  })

  it('lets a process end by itself, and leaves no temporary file', async () => {
    const { path } = await newPlace(name)
    const folder = await temporaryFolder()
    await mkdir(join(folder, 'tmp'))
    const where = name === 'memory' ? 'memory' : path
    const file = join(folder, 'state.json')
    expect(runTask('useAndClose', [where, file], { TMPDIR: join(folder, 'tmp') })).toEqual([])
    expect((await readdir(folder)).sort()).toEqual(['state.json', 'tmp'])
    expect(await readdir(join(folder, 'tmp'))).toEqual([])
    if (name === 'lmdb') expect((await readdir(path)).sort()).toEqual(['TURNS', 'data.mdb', 'lock.mdb'])
  })

  it('leaves nothing beside the file of an export that was cancelled or failed, and the file as it was', async () => {
    const state = await (await newPlace(name)).open()
    const folder = await temporaryFolder()
    const file = join(folder, 'state.json')
    await state.save({ a: 1, date: new Date(0) })
    await writeFile(file, 'former')
    await expect(state.exportData(file)).rejects.toMatchObject({ code: 'UNSERIALIZABLE_VALUE' })
    const controller = new AbortController()
    const cancelled = state.exportData(file, {
      types: 'tagged',
      signal: controller.signal,
      onProgress: () => controller.abort(),
    })
    await expect(cancelled).rejects.toMatchObject({ name: 'AbortError' })
    expect(await readdir(folder)).toEqual(['state.json'])
    expect(await readFile(file, 'utf8')).toBe('former')
  })

  it('waits for every call that is under way', async () => {
    const place = await newPlace(name)
    const state = await place.open()
    const file = join(await temporaryFolder(), 'state.json')
    const data = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`key ${i}`, i]))
    await state.save(data)
    const version = await state.createSnapshot()
    await state.set('later', true)
    await state.exportData(file)
    const calls: Record<string, () => Promise<unknown>> = {
      save: () => state.save({ ...data, saved: true }),
      load: () => state.load(),
      get: () => state.get('key 1'),
      getMany: () => state.getMany(['key 1', 'key 2']),
      set: () => state.set('set', true),
      update: () => state.update('updated', () => true),
      asyncUpdate: () => state.update('updated later', async () => delay(5, true)),
      delete: () => state.delete('key 3'),
      transaction: () =>
        state.transaction(async transaction => {
          await delay(5)
          transaction.set('copy', await transaction.get('key 4'))
        }),
      createSnapshot: () => state.createSnapshot(),
      createDeltaSnapshot: () => state.createDeltaSnapshot({ baseVersion: version }),
      getSnapshotData: () => state.getSnapshotData(version),
      listSnapshots: () => state.listSnapshots(),
      compareSnapshots: () => state.compareSnapshots(version, 'head'),
      restoreSnapshot: () => state.restoreSnapshot(version),
      exportData: () => state.exportData(file.replace('state', 'other')),
      importData: () => state.importData(file),
      verify: () => state.verify(),
      compact: () => state.compact(),
      getMetrics: () => state.getMetrics(),
      clear: () => state.clear(),
    }
    const results = Object.values(calls).map(call => call())
    await state.close()
    const settled = await Promise.allSettled(results)
    const failed = Object.keys(calls).filter((_, i) => settled[i]?.status === 'rejected')
    expect(failed, String(settled.find(result => result.status === 'rejected')?.reason)).toEqual([])
    const again = await place.open()
    expect(await again.verify()).toMatchObject({ ok: true })
  })

  it('may be asked for several times, and the store opened again at once', async () => {
    const place = await newPlace(name)
    for (let round = 0; round < 5; round++) {
      const state = await place.open()
      await state.update('rounds', (value = 0) => (value as number) + 1)
      const closings = [state.close(), state.close(), state[Symbol.asyncDispose]()]
      await expect(state.get('rounds')).rejects.toThrow(StoreClosedError)
      await Promise.all(closings)
      await state.close()
    }
    expect(await (await place.open()).get('rounds')).toBe(5)
  })

  it('fails a transaction that closes its own store, instead of waiting for itself', async () => {
    const place = await newPlace(name)
    const state = await place.open()
    const transaction = state.transaction(async t => {
      t.set('a', 1)
      await state.close()
    })
    await expect(transaction).rejects.toThrow(StoreClosedError)
    expect(await (await place.open()).load()).toEqual({})
  })
})

it('a store that is left open does not keep its process running', async () => {
  expect(runTask('leaveOpen', [join(await temporaryFolder(), 'store')])).toEqual({ a: 1 })
})

it('a store that could not be opened leaves nothing behind', async () => {
  const file = join(await temporaryFolder(), 'file')
  await writeFile(file, 'text')
  const before = process.getActiveResourcesInfo()
  await expect(createPersistence({ basePath: file, autoSnapshotInterval: 10 })).rejects.toThrow()
  expect(await lasting(before)).toEqual([])
})

/** The active resources beyond those of `before`. */
function surplus(before: readonly string[]): string[] {
  const left = [...before]
  return process.getActiveResourcesInfo().filter(resource => {
    const at = left.indexOf(resource)
    if (at !== -1) left.splice(at, 1)
    return at === -1
  })
}

/**
 * What of it stays: the test runner has requests and timers of its own, which come and go, and a connection is gone once the
 * server has ended it too.
 */
async function lasting(before: readonly string[]): Promise<string[]> {
  for (let attempt = 0; attempt < 400 && surplus(before).length > 0; attempt++) await delay(25)
  return surplus(before)
}
