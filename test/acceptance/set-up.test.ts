import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createPersistence, lmdb, memory } from '../../src/index.ts'
import { temporaryFolder } from '../support/stores.ts'

describe('setting up', () => {
  it('creates the folder of a store that is not there yet, with the folders above it', async () => {
    const basePath = join(await temporaryFolder(), 'first', 'für später', 'state.d')
    const state = await createPersistence({ basePath })
    onTestFinished(() => state.close())
    expect(await readdir(basePath)).toContain('data.mdb')
    expect(await state.load()).toEqual({})
    expect(await state.size()).toBe(0)
    expect(await state.listSnapshots()).toEqual([])
    expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
  })

  it('takes a folder that is there and empty', async () => {
    const basePath = join(await temporaryFolder(), 'empty')
    await mkdir(basePath)
    const state = await createPersistence({ basePath })
    onTestFinished(() => state.close())
    await state.set('a', 1)
    expect(await state.get('a')).toBe(1)
  })

  it('finds what is in a store that is there', async () => {
    const basePath = join(await temporaryFolder(), 'store')
    const first = await createPersistence({ basePath })
    await first.set('user', { name: 'Ada' })
    const version = await first.createSnapshot({ tag: 'initial' })
    await first.close()
    const second = await createPersistence({ basePath })
    onTestFinished(() => second.close())
    expect(await second.load()).toEqual({ user: { name: 'Ada' } })
    expect(await second.listSnapshots()).toMatchObject([{ version, tags: ['initial'] }])
  })

  it('is what an engine of the same folder is', async () => {
    const basePath = join(await temporaryFolder(), 'store')
    const byPath = await createPersistence({ basePath })
    const byEngine = await createPersistence({ engine: lmdb(basePath) })
    onTestFinished(() => byPath.close())
    onTestFinished(() => byEngine.close())
    await byPath.set('a', 1)
    expect(await byEngine.get('a')).toBe(1)
  })

  it('keeps stores without a folder in memory, each for itself', async () => {
    const [first, second] = await Promise.all([createPersistence(), createPersistence({})])
    onTestFinished(() => first.close())
    onTestFinished(() => second.close())
    await first.set('a', 1)
    expect(await second.load()).toEqual({})
    expect((await first.getMetrics()).storage.engine).toBe('memory')
  })

  it('opens one store several times at once, in one process', async () => {
    const basePath = join(await temporaryFolder(), 'store')
    const states = await Promise.all(Array.from({ length: 4 }, () => createPersistence({ basePath })))
    for (const state of states) onTestFinished(() => state.close())
    await Promise.all(states.map((state, i) => state.set(`key ${i}`, i)))
    for (const state of states) expect(await state.size()).toBe(4)
  })

  it('types the keys and values of a state, and disposes of it at the end of a block', async () => {
    interface AppState {
      user: { name: string }
      visits: number
    }
    const engine = memory()
    {
      await using state = await createPersistence<AppState>({ engine })
      await state.set('user', { name: 'Ada' })
      await state.update('visits', (visits = 0) => visits + 1)
      const user: { name: string } | undefined = await state.get('user')
      const visits: number = await state.get('visits', 0)
      expect([user, visits]).toEqual([{ name: 'Ada' }, 1])
      // @ts-expect-error: the key is not one of the state's
      expect(await state.get('usr')).toBeUndefined()
    }
    await expect(async () => engine.get('meta', Buffer.from('head'))).rejects.toMatchObject({
      code: 'STORE_CLOSED',
    })
  })
})
