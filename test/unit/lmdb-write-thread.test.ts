import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import * as lmdbPackage from 'lmdb'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { Batch, Engine, View } from '../../src/engine/index.ts'
import { newPaths, openEngine } from '../support/lmdb-engines.ts'

const PEER = fileURLToPath(new URL('../fixtures/lmdb-peer.mjs', import.meta.url))

const freshPath = newPaths()

function uint32(number: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(number)
  return bytes
}

function putMany(batch: Batch, from: number, to: number, value: (i: number) => Uint8Array = uint32): void {
  for (let i = from; i < to; i++) batch.put('live', uint32(i), value(i))
}

async function rowsOf(engine: Engine): Promise<number> {
  return (await engine.stats()).tables.live?.entries as number
}

function blockFor(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

interface Native {
  readonly nativeAddon: { lmdbError: unknown; write(env: number, address: number): void }
}
const { nativeAddon } = lmdbPackage as unknown as Native

/** Counts how often the writing thread of lmdb-js is woken by this library. */
function countCalls(): () => number {
  const { write } = nativeAddon
  let calls = 0
  nativeAddon.write = (env, address) => {
    calls++
    write(env, address)
  }
  onTestFinished(() => {
    nativeAddon.write = write
  })
  return () => calls
}

describe('a commit of many rows', () => {
  test('is made beside the builder, and a short one is not', async () => {
    const engine = await openEngine(freshPath())
    const calls = countCalls()
    await engine.commit((_, batch) => putMany(batch, 1000, 1010), { brief: true })
    expect(calls()).toBe(0)
    await engine.commit((_, batch) => putMany(batch, 0, 1000))
    expect(calls()).toBeGreaterThan(0)
    expect(await rowsOf(engine)).toBe(1010)
  })

  test.each(['in one turn', 'in several'])('leaves nothing if its builder fails, %s', async how => {
    const engine = await openEngine(freshPath())
    for (const size of [1, 255, 256, 257, 1000, 20_000]) {
      const failure = new Error('deliberate')
      const commit = engine.commit((_, batch) => {
        putMany(batch, 0, size)
        const fail = (): never => {
          putMany(batch, size, size + 10, () => Buffer.alloc(20_000))
          throw failure
        }
        return how === 'in one turn' ? fail() : nextTurn().then(fail)
      })
      await expect(commit).rejects.toBe(failure)
      expect(await rowsOf(engine)).toBe(0)
    }
    await engine.commit((_, batch) => putMany(batch, 0, 1000))
    expect(await rowsOf(engine)).toBe(1000)
  })

  test('keeps what was put, whatever becomes of the memory', async () => {
    const engine = await openEngine(freshPath())
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    const bytesOf = (i: number): Buffer => Buffer.alloc(i % 500 === 0 ? 200_000 : 900, i)
    for (let round = 0; round < 3; round++) {
      let isDone = false
      const commit = engine
        .commit((_, batch) => putMany(batch, 0, 20_000, i => bytesOf(i + round)))
        .finally(() => {
          isDone = true
        })
      const garbage: Uint8Array[] = []
      for (; !isDone; await nextTurn()) {
        collectGarbage()
        for (const bytes of [200_000, 256 * 1024]) garbage.push(new Uint8Array(bytes).fill(255))
      }
      await commit
      for (let i = 0; i < 20_000; i++) {
        const found = (await engine.get('live', uint32(i))) as Uint8Array
        assert(Buffer.compare(found, bytesOf(i + round)) === 0, `row ${i} of round ${round}`)
      }
    }
  })

  test('goes on at once after its thread was blocked', async () => {
    const engine = await openEngine(freshPath())
    const begun = performance.now()
    await engine.commit((_, batch) => {
      putMany(batch, 0, 1000)
      // The other thread looks by itself after 1,311 milliseconds, and then after 2,621.
      blockFor(1500)
      putMany(batch, 1000, 2000)
    })
    expect(performance.now() - begun).toBeLessThan(2200)
    expect(await rowsOf(engine)).toBe(2000)
  })

  test('is made otherwise where no read transaction can be known to show the commit before', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await engine.commit((_, batch) => putMany(batch, 0, 1))
    // What a writer does that does not note its commits.
    const code = `import { open } from 'lmdb'
      const root = open({ path: process.argv[1], noSubdir: false, overlappingSync: false, maxDbs: 12, noSync: true, maxReaders: 1024 })
      await root.openDB('engine', { keyEncoding: 'binary', encoding: 'binary' }).remove(Buffer.from('commit'))
      await root.close()`
    execFileSync(process.execPath, ['--input-type=module', '-e', code, path], { timeout: 20_000 })
    const begun = performance.now()
    await engine.commit((_, batch) => putMany(batch, 0, 1000))
    expect(performance.now() - begun).toBeLessThan(2000)
    expect(await rowsOf(engine)).toBe(1000)
  })

  test('is made otherwise where there is no room for one more reader', async () => {
    const engine = await openEngine(freshPath())
    await engine.commit((_, batch) => putMany(batch, 0, 1))
    const views: View[] = []
    try {
      for (;;) views.push(engine.read())
    } catch {
      // All places are taken.
    }
    await engine.commit((_, batch) => putMany(batch, 0, 1000))
    for (const view of views) view.close()
    expect(await rowsOf(engine)).toBe(1000)
  })

  test('is made otherwise where lmdb-js is not as it is known', async () => {
    const { lmdbError } = nativeAddon
    nativeAddon.lmdbError = undefined
    onTestFinished(() => {
      nativeAddon.lmdbError = lmdbError
    })
    const engine = await openEngine(freshPath())
    const calls = countCalls()
    await engine.commit((_, batch) => putMany(batch, 0, 1000))
    expect(calls()).toBe(0)
    expect(await rowsOf(engine)).toBe(1000)
  })
})

describe('a process that ends amid a commit of many rows', () => {
  async function start(how: string, path: string, ms: number): Promise<ChildProcess> {
    const child = fork(PEER, ['exitAmid', path, how, String(ms)], { execArgv: [], silent: true })
    onTestFinished(() => void child.kill('SIGKILL'))
    await once(child, 'message')
    return child
  }

  test.each([
    ['exits', 7],
    ['fails', 1],
  ])('ends, and lets go of the write lock, where it %s', async (how, code) => {
    const path = freshPath()
    const engine = await openEngine(path)
    const child = await start(how, path, 200)
    child.send('go')
    expect((await once(child, 'message'))[0]).toBe('writing')
    expect((await once(child, 'exit'))[0]).toBe(code)
    expect(await rowsOf(engine)).toBe(0)
    await engine.commit((_, batch) => putMany(batch, 0, 10))
    expect(await rowsOf(engine)).toBe(10)
  })

  test('so it does in the turn that asks for it', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    for (let i = 0; i < 5; i++) {
      const child = await start('blocks', path, 20)
      child.send('go')
      expect((await once(child, 'exit'))[0]).toBe(7)
    }
    await engine.commit((_, batch) => putMany(batch, 0, 10))
    expect(await rowsOf(engine)).toBe(10)
  })

  test('so it does while what was committed is flushed', async () => {
    const path = freshPath()
    for (let turns = 0; turns < 6; turns++) {
      const child = fork(PEER, ['exitAfter', path, String(turns)], { execArgv: [], silent: true })
      onTestFinished(() => void child.kill('SIGKILL'))
      await once(child, 'message')
      child.send('go')
      expect((await once(child, 'exit'))[0]).toBe(7)
    }
    expect(await rowsOf(await openEngine(path))).toBe(3000)
  })

  test('so it does where it waits for the lock', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    const child = await start('exits', path, 200)
    const exit = once(child, 'exit')
    await engine.commit(async (_, batch) => {
      putMany(batch, 0, 10)
      child.send('go')
      await delay(600)
    })
    expect((await exit)[0]).toBe(7)
    await engine.commit((_, batch) => putMany(batch, 0, 20))
    expect(await rowsOf(engine)).toBe(20)
  })
})
