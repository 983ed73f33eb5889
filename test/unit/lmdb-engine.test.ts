import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { describe, expect, onTestFinished, test } from 'vitest'
import { EngineError, InvalidArgumentError } from '../../src/core/errors.ts'
import type { Engine } from '../../src/engine/index.ts'
import { lmdb } from '../../src/engine/index.ts'
import { newPaths, openEngine } from '../support/lmdb-engines.ts'

const PEER = fileURLToPath(new URL('../fixtures/lmdb-peer.mjs', import.meta.url))
const KEY = Buffer.from('counter')

const freshPath = newPaths()

function startProcess(task: string, path: string, ...args: string[]): ChildProcess {
  const child = fork(PEER, [task, path, ...args], { execArgv: [] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

function startThread(task: string, path: string, ...args: unknown[]): Worker {
  const worker = new Worker(PEER, { workerData: [task, path, ...args] })
  onTestFinished(() => void worker.terminate())
  return worker
}

/** Runs a task to its end, and to that of its process, which nothing but its own lack of work ends. */
function run(task: string, path: string, { shell = 'exec "$@"', execArgv = [] as string[] } = {}): string {
  const command = [process.execPath, ...execArgv, PEER, task, path]
  return execFileSync('sh', ['-c', shell, 'sh', ...command], {
    encoding: 'utf8',
    stdio: 'pipe',
    timeout: 20_000,
  })
}

async function exited(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return child.exitCode
  const [code] = await once(child, 'exit')
  return code
}

async function ask(peer: ChildProcess | Worker, message: string | number): Promise<unknown> {
  const answer = once(peer, 'message')
  if (peer instanceof Worker) peer.postMessage(message)
  else peer.send(message)
  return (await answer)[0]
}

function uint32(number: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(number)
  return bytes
}

function read(engine: Engine): number {
  const value = engine.get('live', KEY) as Uint8Array | undefined
  return value ? Buffer.from(value).readUInt32BE() : 0
}

function increment(engine: Engine): Promise<void> {
  return engine.commit(async (view, batch) => {
    const before = await view.get('live', KEY)
    batch.put('live', KEY, uint32(1 + (before ? Buffer.from(before).readUInt32BE() : 0)))
  })
}

describe('several processes and threads', () => {
  test('increments of two processes, a worker thread and this one add up', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    const processes = [startProcess('increment', path, '100'), startProcess('increment', path, '100')]
    const worker = startThread('increment', path, '100')
    const ends = [...processes.map(exited), once(worker, 'exit').then(([code]) => code)]
    for (let i = 0; i < 100; i++) await increment(engine)
    expect(await Promise.all(ends)).toEqual([0, 0, 0])
    expect(read(engine)).toBe(400)
  })

  test.each([
    ['process', (path: string) => startProcess('serve', path)],
    ['worker thread', (path: string) => startThread('serve', path)],
  ])('this thread and another %s see each other’s commits as soon as they are told', async (_, start) => {
    const path = freshPath()
    const engine = await openEngine(path)
    const peer = start(path)
    await once(peer, 'message')
    for (let i = 1; i <= 30; i++) {
      // A read just before makes lmdb-js hold on to what is current now, if anything does.
      expect(read(engine)).toBe(2 * i - 2)
      expect(await ask(peer, 2 * i - 1)).toBe('done')
      expect(read(engine)).toBe(2 * i - 1)
      const view = engine.read()
      await engine.commit((_, batch) => batch.put('live', KEY, uint32(2 * i)))
      expect(await ask(peer, '?')).toBe(2 * i)
      expect(view.get('live', KEY)).toEqual(uint32(2 * i - 1))
      view.close()
    }
    if (peer instanceof Worker) peer.postMessage('close')
    else peer.send('close')
    expect((await once(peer, 'exit'))[0]).toBe(0)
  })

  test('a commit of another thread is seen even inside one tick', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    const signal = new Int32Array(new SharedArrayBuffer(8))
    const worker = startThread('commitOnDemand', path, signal.buffer)
    await once(worker, 'message')
    const seen = []
    for (let i = 1; i <= 20; i++) {
      const before = engine.read()
      const [got, viewed] = [read(engine), before.get('live', KEY)]
      Atomics.store(signal, 0, i)
      Atomics.notify(signal, 0)
      expect(Atomics.wait(signal, 1, i - 1, 10_000)).not.toBe('timed-out')
      const after = engine.read()
      seen.push([got, read(engine), after.get('live', KEY)])
      expect(before.get('live', KEY)).toEqual(viewed)
      before.close()
      after.close()
    }
    await once(worker, 'exit')
    expect(seen).toEqual(Array.from({ length: 20 }, (_, i) => [i, i + 1, uint32(i + 1)]))
  })

  test('a process that is killed while it commits loses nothing acknowledged and blocks nobody', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    for (let round = 0; round < 3; round++) {
      const child = startProcess('incrementForever', path)
      let acknowledged = 0
      child.on('message', number => {
        acknowledged = number as number
      })
      await once(child, 'message')
      await delay(30 + 25 * round)
      const disconnected = once(child, 'disconnect')
      child.kill('SIGKILL')
      // Then everything that it has said is heard.
      await Promise.all([exited(child), disconnected])
      const before = read(engine)
      expect(before).toBeGreaterThanOrEqual(acknowledged)
      expect(before).toBeLessThanOrEqual(acknowledged + 2)
      await increment(engine)
      expect(read(engine)).toBe(before + 1)
    }
  })

  test('reads go on, in an old view too, while another process makes the file grow', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await engine.commit((_, batch) => batch.put('live', KEY, uint32(7)))
    const view = engine.read()
    const child = startProcess('grow', path)
    while (child.exitCode === null) {
      expect(view.get('live', KEY)).toEqual(uint32(7))
      expect(engine.get('live', KEY)).toEqual(uint32(7))
      await delay(1)
    }
    view.close()
    const value = engine.get('live', Buffer.from('large 39')) as Uint8Array
    expect(Buffer.alloc(1_000_000, 39).equals(value)).toBe(true)
  })
})

describe('several engines in one thread', () => {
  test('they exclude each other’s builders, and opening one does not wait for a builder of another', async () => {
    const path = freshPath()
    const first = await openEngine(path)
    const link = freshPath()
    await symlink(path, link)
    let release = (): void => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    const commit = first.commit(async () => held)
    const second = await openEngine(link)
    expect(read(second)).toBe(0)
    const increments = Array.from({ length: 50 }, (_, i) => increment(i % 2 === 0 ? first : second))
    release()
    await Promise.all([commit, ...increments])
    expect(read(second)).toBe(50)
  })

  test('closing one leaves the others open, and the last one closes for good', async () => {
    const path = freshPath()
    for (let round = 0; round < 20; round++) {
      const engines = Array.from({ length: 3 }, () => lmdb(path))
      await Promise.all(engines.map(engine => engine.open()))
      for (const engine of engines) {
        await increment(engine)
        const closing = engine.close()
        if (round % 2 === 0) await closing
      }
    }
    const engine = await openEngine(path)
    expect(read(engine)).toBe(60)
    // LMDB would refuse another handle with other flags only if one were still open.
    await expect(engine.open()).resolves.toBeUndefined()
    await engine.close()
  })
})

describe('opening', () => {
  test('creates the folder, whatever its name looks like', async () => {
    const path = join(freshPath(), 'a', 'b.mdb')
    await increment(await openEngine(path))
    expect(run('open', path)).toBe('"open"\n')
  })

  test.each([
    ['an empty path', ''],
    ['no path', undefined],
    ['a number', 7],
  ])('refuses %s', (_, path) => {
    expect(() => lmdb(path as string)).toThrow(InvalidArgumentError)
  })

  test('says so where the path, or its beginning, is a file', async () => {
    const file = freshPath()
    await writeFile(file, 'text')
    for (const path of [file, join(file, 'folder')]) {
      const error = await failure(lmdb(path).open())
      expect(error.code).toBe('ENGINE_NOT_A_FOLDER')
      expect(error.message).toContain(path)
    }
  })

  test.runIf(process.platform === 'linux')('says so where nothing can be created', async () => {
    for (const path of ['/proc/varve', '/proc/self/fd/varve/store']) {
      const error = await failure(lmdb(path).open())
      expect(error.code).toBe('ENGINE_NOT_WRITABLE')
      expect(error.message).toContain(path)
    }
  })

  test('says so where the folder cannot be written or created', async () => {
    const path = freshPath()
    await mkdir(path)
    await chmod(path, 0o555)
    for (const folder of [path, join(path, 'folder')]) {
      expect(run('unprivileged', folder)).toContain('EngineError ENGINE_NOT_WRITABLE')
    }
  })

  test('says so where the file is of another kind', async () => {
    const path = freshPath()
    await mkdir(path)
    await writeFile(join(path, 'data.mdb'), 'not a database'.repeat(10_000))
    const error = await failure(lmdb(path).open())
    expect(error.code).toBe('ENGINE')
    expect(error.message).toContain('not an LMDB data file')
  })

  test('says so where the file was cut off', async () => {
    const path = freshPath()
    const engine = lmdb(path)
    await engine.open()
    await increment(engine)
    await engine.close()
    const file = join(path, 'data.mdb')
    await truncate(file, 8192)
    const error = await failure(engine.open())
    expect(error.message).toContain('has lost its end')
  })

  test('can be tried again after it failed', async () => {
    const path = freshPath()
    await writeFile(path, 'text')
    const engine = lmdb(path)
    await failure(engine.open())
    await rm(path)
    await engine.open()
    await increment(engine)
    await engine.close()
  })

  test('says so where the lmdb package cannot be loaded', () => {
    const hooks = `export async function resolve(name, context, next) {
      if (name === 'lmdb') throw new Error('no native build was found')
      return next(name, context)
    }`
    const register = `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(hooks))})`
    const output = run('open', freshPath(), { execArgv: ['--import', dataUrl(register)] })
    expect(output).toContain('EngineError ENGINE: The lmdb package')
    expect(output).toContain('no native build was found')
  })
})

describe('failures', () => {
  test('a commit that the disk has no room for leaves nothing, and the process goes on and ends', () => {
    // The limit on the size of a file, in blocks of 512 bytes or 1,024, stands in for a full disk.
    const output = run('overflow', freshPath(), { shell: 'ulimit -f 20000; exec "$@"' })
    const outcomes: string[] = JSON.parse(output)
    expect(outcomes).toHaveLength(8)
    const [first, afterFirst, second, afterSecond, third, afterThird, fourth, end] = outcomes
    for (const outcome of [first, second, fourth])
      expect(outcome).toMatch(/^EngineError ENGINE.*: Cannot write to/)
    expect([afterFirst, afterSecond]).toEqual(['4 undefined', '4 undefined'])
    expect([third, afterThird, end]).toEqual(['committed', '10 10', 'closed'])
  })

  test('more views than there are slots is an EngineError, and no harm', async () => {
    const engine = await openEngine(freshPath())
    await increment(engine)
    const views = []
    let error: unknown
    try {
      for (let i = 0; i < 2000; i++) views.push(engine.read())
    } catch (caught) {
      error = caught
    }
    assert(error instanceof EngineError)
    expect(error.message).toContain('too many views')
    expect(views.length).toBeGreaterThan(500)
    for (const view of views) view.close()
    await increment(engine)
    expect(read(engine)).toBe(2)
  })

  test('a closed view cannot be used', async () => {
    const engine = await openEngine(freshPath())
    const view = engine.read()
    view.close()
    expect(() => view.get('live', KEY)).toThrow(EngineError)
  })

  test('a view that is left open does not keep the engine from closing', async () => {
    const engine = lmdb(freshPath())
    await engine.open()
    const view = engine.read()
    view.get('live', KEY)
    await engine.close()
    view.close()
    await engine.open()
    await increment(engine)
    await engine.close()
  })
})

test('stats tell pages in use from pages that are free again', async () => {
  const engine = await openEngine(freshPath())
  const rows = Array.from({ length: 1000 }, (_, i) => uint32(i))
  await engine.commit((_, batch) => {
    for (const key of rows) batch.put('live', key, Buffer.alloc(1000))
  })
  const full = await engine.stats()
  expect(full.tables.live).toMatchObject({ entries: 1000 })
  expect(full.tables.live?.bytes).toBeGreaterThan(1_000_000)
  expect(full.tables.history).toEqual({ entries: 0, bytes: 0 })
  await engine.commit((_, batch) => {
    for (const key of rows) batch.delete('live', key)
  })
  const empty = await engine.stats()
  expect(empty.tables.live).toEqual({ entries: 0, bytes: 0 })
  expect(empty.bytes).toBeGreaterThanOrEqual(full.bytes)
  expect(empty.freeBytes).toBeGreaterThan(1_000_000)
  expect(empty.freeBytes).toBeLessThan(empty.bytes)
})

async function failure(promise: Promise<unknown>): Promise<EngineError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert(error instanceof EngineError, `an EngineError, and not ${error}`)
  return error
}

function dataUrl(code: string): string {
  return `data:text/javascript,${encodeURIComponent(code)}`
}
