import { utimesSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { loadLmdb } from '../../src/engine/lmdb/binding.ts'
import { prepareFolder } from '../../src/engine/lmdb/data-file.ts'
import { createPersistence } from '../../src/index.ts'
import { startProcess, startTask, startWorker } from '../support/peers.ts'
import { temporaryFolder } from '../support/stores.ts'

it('a commit that was acknowledged is seen by all, whoever opens the store meanwhile', async () => {
  const basePath = await temporaryFolder()
  const state = await createPersistence({ basePath })
  onTestFinished(() => state.close())
  await state.set('key', 0)
  const peers = [await startProcess(basePath), await startWorker(basePath)]
  startTask('reopenForever', basePath)
  startTask('reopenForever', basePath)
  // As often as it takes to meet what is rare, or for as long as a test may take.
  const end = performance.now() + 10_000
  for (let i = 1; i <= 4000 && performance.now() < end; i++) {
    const [writer, reader] = i % 2 === 0 ? peers : peers.toReversed()
    await writer?.call('set', 'key', i)
    expect(await state.get('key')).toBe(i)
    expect(await state.getMany(['key'])).toEqual([i])
    expect(await reader?.call('get', 'key')).toBe(i)
  }
})

it('what somebody leaves who dies at opening is removed', async () => {
  const basePath = await temporaryFolder()
  const state = await createPersistence({ basePath })
  onTestFinished(() => state.close())
  await state.set('key', 1)
  const left = ['OPENING-999999999-0-1', `OPENING-${process.pid}-0-7`]
  const longAgo = Date.now() / 1000 - 61
  for (const name of left) {
    writeFileSync(join(basePath, name), '')
    utimesSync(join(basePath, name), longAgo, longAgo)
  }
  while ((await readdir(basePath)).some(name => left.includes(name))) {
    expect(await state.get('key')).toBe(1)
    await new Promise(resolve => setImmediate(resolve))
  }
})

it('a file that grows while it is about to be opened is not taken for one that has lost its end', async () => {
  const path = await temporaryFolder()
  const peer = await startProcess(path)
  const end = performance.now() + 2000
  const opening = Array.from({ length: 8 }, async () => {
    while (performance.now() < end) await prepareFolder(await loadLmdb(), path)
  })
  const value = 'x'.repeat(6000)
  for (let i = 0; performance.now() < end; i += 50)
    await Promise.all(Array.from({ length: 50 }, (_, j) => peer.call('set', `key/${i + j}`, value)))
  await Promise.all(opening)
})
