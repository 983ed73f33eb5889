import { join } from 'node:path'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { lmdb } from '../../src/index.ts'
import { bundleProgram, removeBundles } from '../support/bundle.ts'
import { openWithLimits } from '../support/open.ts'
import { temporaryFolder } from '../support/stores.ts'
import { ClientPeer } from './client-peer.ts'
import { type ConcurrencyTally, concurrentStore } from './concurrent-store.ts'
import { writeImportFiles } from './import-files.ts'
import { overlapCalls } from './overlapping-store.ts'

const CLIENT = new URL('./client.ts', import.meta.url)

afterAll(removeBundles)

describe('processes and threads that work on one store at the same time', { timeout: 180_000 }, () => {
  it('see calls that are made one after the other, and transactions that are', async () => {
    const folder = await temporaryFolder()
    const files = await writeImportFiles(join(folder, 'files'))
    const program = await bundleProgram(CLIENT)
    const tally: ConcurrencyTally = { storeCalls: 0, keyCalls: 0, transactions: 0, sums: 0 }
    for (const seed of [1, 2]) {
      const options = { seed, rounds: 4, length: 1, folder: join(folder, String(seed)), program, files }
      await concurrentStore(options, tally)
    }
    expect(tally.storeCalls).toBeGreaterThan(200)
    expect(tally.keyCalls).toBeGreaterThan(1000)
    expect(tally.transactions).toBeGreaterThan(500)
    expect(tally.sums).toBeGreaterThan(50)
  })

  it('see the same on an engine that takes its time', async () => {
    const files = await writeImportFiles(join(await temporaryFolder(), 'files'))
    let calls = 0
    for (let seed = 1; seed <= 30; seed++) calls += await overlapCalls({ seed, rounds: 3, files })
    expect(calls).toBeGreaterThan(500)
  })

  it('count to 200 together', async () => {
    const path = join(await temporaryFolder(), 'store')
    const program = await bundleProgram(CLIENT)
    const clients = await Promise.all(
      Array.from({ length: 4 }, () => ClientPeer.start(program, 'process', { path, limits: {} })),
    )
    onTestFinished(() => Promise.all(clients.map(client => client.kill())).then(() => undefined))
    await Promise.all(
      clients.map((client, i) =>
        client.run({ kind: 'increment', seed: i, name: String(i), callers: 10, calls: 5 }),
      ),
    )
    await Promise.all(clients.map(client => client.close()))
    const { persistence } = await openWithLimits(lmdb(path), {})
    onTestFinished(() => persistence.close())
    expect(await persistence.get('counter')).toBe(200)
  })
})
