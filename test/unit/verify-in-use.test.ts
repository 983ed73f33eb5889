import { describe, expect, it } from 'vitest'
import { createPersistence, lmdb, memory, repair, verify } from '../../src/index.ts'
import { startProcess } from '../support/peers.ts'
import { newPlace } from '../support/stores.ts'

describe('a store that others are writing to', () => {
  it('is found whole, opened or not, while it changes and moves to other files', async () => {
    const place = await newPlace('lmdb')
    const peer = await startProcess(place.path)
    let isDone = false
    const writing = (async () => {
      for (let i = 0; !isDone; i++) {
        await peer.call('set', `key/${i % 200}`, { i, text: 'x'.repeat(i % 13 === 0 ? 6000 : 50) })
        if (i % 20 === 0) await peer.call('createSnapshot')
        if (i % 150 === 149) await peer.call('compact')
      }
    })()
    const state = await place.open()
    for (let i = 0; i < 25; i++) {
      expect(await state.verify()).toMatchObject({ ok: true, problems: [] })
      expect(await verify(lmdb(place.path))).toMatchObject({ ok: true, problems: [] })
      // Opening looks at pages that are being written.
      await (await createPersistence({ basePath: place.path })).close()
    }
    const target = memory()
    expect(await repair(lmdb(place.path), target)).toMatchObject({
      problems: [],
      lost: { keys: [], snapshots: [] },
    })
    expect(await verify(target)).toMatchObject({ ok: true })
    isDone = true
    await writing
    expect(await peer.end()).toBe(0)
  })
})
