import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { link, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { describe, expect, onTestFinished, test } from 'vitest'
import { EngineError } from '../../src/core/errors.ts'
import { type Engine, lmdb, type Row, TABLES, type Table } from '../../src/engine/index.ts'
import { loadLmdb } from '../../src/engine/lmdb/binding.ts'
import { prepareFolder } from '../../src/engine/lmdb/data-file.ts'
import { removeGeneration, writeCurrentGeneration } from '../../src/engine/lmdb/generation.ts'
import { newPaths, openEngine } from '../support/lmdb-engines.ts'

const PEER = fileURLToPath(new URL('../fixtures/lmdb-compact-peer.mjs', import.meta.url))

/** What is in a store's folder, without the file of those who wait for their turn. */
async function namesIn(path: string): Promise<string[]> {
  return (await readdir(path)).filter(name => name !== 'TURNS')
}

const freshPath = newPaths()

test('a store that moves while it is about to be opened is found where it has moved to', async () => {
  const path = freshPath()
  const engine = await openEngine(path)
  await engine.commit((_, batch) => batch.put('live', Buffer.from('a'), Buffer.from('1')))
  await engine.close()
  const data = await readFile(join(path, 'data.mdb'))
  let moving = true
  const opening = Array.from({ length: 12 }, async () => {
    while (moving) expect(await prepareFolder(await loadLmdb(), path)).toMatchObject({ writable: true })
  })
  for (let n = 1; n <= 100; n++) {
    await mkdir(join(path, `generation-${n}`))
    await writeFile(join(path, `generation-${n}`, 'data.mdb'), data)
    await writeCurrentGeneration(path, n)
    await removeGeneration(path, n - 1)
  }
  moving = false
  await Promise.all(opening)
})

type Peer = ChildProcess | Worker
const PEERS = ['process', 'worker thread'] as const

/** Starts a task of the peer and resolves once it has the store open. */
async function start(kind: (typeof PEERS)[number], task: string, path: string): Promise<Peer> {
  let peer: Peer
  if (kind === 'process') {
    const child = fork(PEER, [task, path], { execArgv: [] })
    onTestFinished(() => void child.kill('SIGKILL'))
    peer = child
  } else {
    const worker = new Worker(PEER, { workerData: [task, path] })
    onTestFinished(async () => void (await worker.terminate()))
    peer = worker
  }
  await once(peer, 'message')
  return peer
}

function tell(peer: Peer, message: string | number): void {
  if (peer instanceof Worker) peer.postMessage(message)
  else peer.send(message)
}

interface Answer {
  readonly got: string
  readonly viewed: string
}

/** The numbers that a peer has acknowledged, and its answers. */
function listen(peer: Peer): { acknowledged: number; ask(): Promise<Answer> } {
  const waiting: ((answer: Answer) => void)[] = []
  const heard = {
    acknowledged: -1,
    ask: () =>
      new Promise<Answer>(resolve => {
        waiting.push(resolve)
        tell(peer, '?')
      }),
  }
  peer.on('message', (message: number | Answer) => {
    if (typeof message === 'number') heard.acknowledged = message
    else waiting.shift()?.(message)
  })
  return heard
}

function put(engine: Engine, table: Table, key: string, value: string | Uint8Array): Promise<void> {
  return engine.commit((_, batch) => batch.put(table, Buffer.from(key), Buffer.from(value)))
}

function get(engine: Engine, table: Table, key: string): string | undefined {
  const value = engine.get(table, Buffer.from(key)) as Uint8Array | undefined
  return value && Buffer.from(value).toString()
}

async function rowsOf(engine: Engine, table: Table): Promise<Row[]> {
  const view = engine.read()
  const all: Row[] = []
  for (;;) {
    const page = await view.scan(table, { gt: all.at(-1)?.key })
    all.push(...page.rows)
    if (!page.more) break
  }
  view.close()
  return all
}

/** Every row of the store, in one string a row. */
async function contentsOf(engine: Engine): Promise<string[]> {
  const all: string[] = []
  for (const table of TABLES) {
    for (const { key, value } of await rowsOf(engine, table))
      all.push(`${table} ${Buffer.from(key).toString('latin1')} ${Buffer.from(value).toString('latin1')}`)
  }
  return all
}

/** Fills a store with rows of 0.7 to 4 kB, of which every sixth stays. */
async function fill(engine: Engine, rows: number): Promise<void> {
  const key = (i: number): Buffer => Buffer.from(String((i * 7919) % rows).padStart(6, '0'))
  for (let i = 0; i < rows; i += 100) {
    await engine.commit((_, batch) => {
      for (let j = i; j < i + 100; j++)
        batch.put('history', key(j), Buffer.alloc(700 + ((j * 1301) % 3300), j))
    })
  }
  await engine.commit((_, batch) => {
    for (let i = 0; i < rows; i++) if (i % 6 !== 0) batch.delete('history', key(i))
    for (const table of TABLES) batch.put(table, Buffer.from(`of ${table}`), Buffer.alloc(0))
  })
}

const PACKED = ['CURRENT', 'generation-1']

test('gives file space back and keeps every row', async () => {
  const path = freshPath()
  const engine = await openEngine(path)
  await fill(engine, 3000)
  const before = await engine.stats()
  const contents = await contentsOf(engine)
  expect(before.freeBytes).toBeGreaterThan(5_000_000)

  await engine.compact?.()
  const after = await engine.stats()
  expect(await namesIn(path)).toEqual(PACKED)
  expect(after.bytes).toBeLessThan(before.bytes / 4)
  expect(after.freeBytes).toBeLessThan(100_000)
  expect(after.tables.history?.entries).toBe(before.tables.history?.entries)
  expect(await contentsOf(engine)).toEqual(contents)

  await put(engine, 'live', 'a', 'b')
  await engine.close()
  await engine.open()
  expect(get(engine, 'live', 'a')).toBe('b')
  expect(await namesIn(path)).toEqual(PACKED)
})

test('compacts an empty store, again and again, and large values', async () => {
  const path = freshPath()
  const engine = await openEngine(path)
  await engine.compact?.()
  const large = Buffer.alloc(9_000_000, 'large')
  await put(engine, 'live', 'large', large)
  await put(engine, 'log', 'k'.repeat(1200), 'v')
  for (let i = 0; i < 3; i++) await engine.compact?.()
  expect(await namesIn(path)).toEqual(['CURRENT', 'generation-4'])
  expect(large.equals(engine.get('live', Buffer.from('large')) as Uint8Array)).toBe(true)
  expect(get(engine, 'log', 'k'.repeat(1200))).toBe('v')
})

test('views that were opened before read their commit after', async () => {
  const path = freshPath()
  const engine = await openEngine(path)
  await put(engine, 'live', 'a', 'old')
  const views = [engine.read(), engine.read()]
  await put(engine, 'live', 'a', 'new')
  const newer = engine.read()
  await engine.compact?.()
  await put(engine, 'live', 'a', 'newest')
  await engine.compact?.()
  for (const view of views) {
    expect(view.get('live', Buffer.from('a'))).toEqual(Buffer.from('old'))
    expect(await view.scan('live', {})).toMatchObject({ rows: [{ value: Buffer.from('old') }] })
  }
  expect(newer.get('live', Buffer.from('a'))).toEqual(Buffer.from('new'))
  expect(get(engine, 'live', 'a')).toBe('newest')
  views[0]?.close()
  newer.close()
  await nextTurn()
  expect(views[1]?.get('live', Buffer.from('a'))).toEqual(Buffer.from('old'))
  // The last one is left open: closing the engine does not wait for it.
})

test('reads and commits of this thread go on meanwhile, and all engines of it follow', async () => {
  const path = freshPath()
  const engine = await openEngine(path)
  const other = await openEngine(path)
  await fill(engine, 1200)
  let done = false
  const compacting = engine.compact?.().then(() => {
    done = true
  })
  let reads = 0
  const commits = Array.from({ length: 20 }, (_, i) => put(other, 'meta', `${i}`, `${i}`))
  while (!done) {
    expect(get(other, 'live', 'of live')).toBe('')
    reads += 1
    await nextTurn()
  }
  await Promise.all([compacting, ...commits])
  expect(reads).toBeGreaterThan(3)
  for (let i = 0; i < 20; i++) expect(get(engine, 'meta', `${i}`)).toBe(`${i}`)
  expect(await namesIn(path)).toEqual(PACKED)
})

describe.each(PEERS)('another %s', kind => {
  test('loses nothing that it commits throughout, and each sees what the other commits', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await fill(engine, 600)
    const peer = await start(kind, 'write', path)
    const heard = listen(peer)
    const seesTold = async (value: string): Promise<void> => {
      await put(engine, 'meta', 'told', value)
      expect(await heard.ask()).toEqual({ got: value, viewed: value })
    }
    const seeAcknowledged = (): void => {
      const number = heard.acknowledged
      expect(get(engine, 'live', `peer/${number}`)).toBe(number < 0 ? undefined : `${number}`)
    }
    for (let round = 0; round < 10; round++) {
      await seesTold(`before ${round}`)
      const compacting = engine.compact?.()
      for (let i = 0; i < 5; i++) {
        expect((await heard.ask()).got).toBe(`before ${round}`)
        seeAcknowledged()
      }
      await compacting
      seeAcknowledged()
      await seesTold(`after ${round}`)
      const seen = heard.acknowledged
      while (heard.acknowledged < seen + 3) await delay(1)
      seeAcknowledged()
    }
    tell(peer, 'stop')
    expect((await once(peer, 'exit'))[0]).toBe(0)
    expect(heard.acknowledged).toBeGreaterThan(30)
    for (let i = 0; i <= heard.acknowledged; i++) expect(get(engine, 'live', `peer/${i}`)).toBe(`${i}`)
    expect(await namesIn(path)).toEqual(['CURRENT', 'generation-10'])
  })

  test('that only reads follows, also after several moves at once', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await put(engine, 'meta', 'told', '-1')
    const peer = await start(kind, 'read', path)
    const heard = listen(peer)
    for (let round = 0; round < 5; round++) {
      for (let move = 0; move <= round; move++) await engine.compact?.()
      await put(engine, 'meta', 'told', `${round}`)
      expect(await heard.ask()).toEqual({ got: `${round}`, viewed: `${round}` })
    }
    tell(peer, 'stop')
    expect((await once(peer, 'exit'))[0]).toBe(0)
  })

  test('may compact at the same time', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await fill(engine, 300)
    const peers = await Promise.all([start(kind, 'compact', path), start(kind, 'compact', path)])
    const ends = peers.map(peer => once(peer, 'exit'))
    for (let i = 0; i < 5; i++) {
      await put(engine, 'meta', `${i}`, `${i}`)
      await engine.compact?.()
    }
    for (const end of ends) expect((await end)[0]).toBe(0)
    for (let i = 0; i < 5; i++) {
      expect(get(engine, 'meta', `${i}`)).toBe(`${i}`)
      expect(get(engine, 'live', `peer/${i}`)).toBe(`${i}`)
    }
    await engine.close()
    await engine.open()
    const names = await namesIn(path)
    expect(names).toHaveLength(2)
  })
})

describe('what is left over', () => {
  test('a process that is killed while it compacts leaves the store whole', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await fill(engine, 300)
    await rowsOf(engine, 'history')
    const history = (await contentsOf(engine)).filter(row => row.startsWith('history'))
    let next = start('process', 'compactForever', path)
    let rows = 0
    for (let kill = 0; kill < 20; kill++) {
      const peer = (await next) as ChildProcess
      if (kill < 19) next = start('process', 'compactForever', path)
      const heard = listen(peer)
      tell(peer, rows)
      await delay(Math.random() * 80)
      peer.kill('SIGKILL')
      await once(peer, 'exit')
      // Half of the time it is somebody who had the store open, else somebody who opens it now.
      if (kill % 2 === 0) {
        await engine.close()
        await engine.open()
      }
      while (get(engine, 'live', `peer/${rows}`) === `${rows}`) rows += 1
      expect(rows).toBeGreaterThan(heard.acknowledged)
      expect((await rowsOf(engine, 'live')).length).toBe(rows + 1)
      expect((await contentsOf(engine)).filter(row => row.startsWith('history'))).toEqual(history)
      await put(engine, 'meta', 'kill', `${kill}`)
      expect(get(engine, 'meta', 'kill')).toBe(`${kill}`)
    }
    await engine.compact?.()
    const names = await namesIn(path)
    expect(names.filter(name => name.startsWith('generation'))).toHaveLength(1)
    // What somebody has left who died while opening the files goes when it is older.
    expect(names.filter(name => !/^(generation|OPENING)-|^CURRENT\.tmp$/.test(name))).toEqual(['CURRENT'])
  })

  test('an unfinished copy is removed when the store is opened or compacted', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await put(engine, 'live', 'a', 'b')
    const leave = async (generation: number): Promise<void> => {
      await mkdir(join(path, `generation-${generation}`))
      await writeFile(join(path, `generation-${generation}`, 'data.mdb'), 'unfinished')
    }
    await leave(1)
    await engine.close()
    await engine.open()
    expect((await namesIn(path)).sort()).toEqual(['data.mdb', 'lock.mdb'])
    await leave(1)
    await engine.compact?.()
    expect(get(engine, 'live', 'a')).toBe('b')
    expect(await namesIn(path)).toEqual(PACKED)
  })

  test('a move that was recorded, but not named by CURRENT, counts', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await engine.compact?.()
    await put(engine, 'live', 'a', 'b')
    const file = join(path, 'generation-1', 'data.mdb')
    const aside = join(path, 'aside')
    await link(file, aside)
    await engine.compact?.()
    await put(engine, 'live', 'a', 'c')
    await engine.close()
    await mkdir(join(path, 'generation-1'))
    await link(aside, file)
    await rm(aside)
    await writeFile(join(path, 'CURRENT'), '1\n')

    await engine.open()
    expect(get(engine, 'live', 'a')).toBe('c')
    expect(await readFile(join(path, 'CURRENT'), 'utf8')).toBe('2\n')
    expect(await namesIn(path)).toEqual(['CURRENT', 'generation-2'])
    await put(engine, 'live', 'a', 'd')
    await engine.close()
    await engine.open()
    expect(get(engine, 'live', 'a')).toBe('d')
  })

  test('a move that is cut short before CURRENT names it is finished by the next commit', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    await engine.compact?.()
    await put(engine, 'live', 'a', 'b')
    const inTheWay = join(path, 'CURRENT.tmp')
    await mkdir(inTheWay)
    await expect(engine.compact?.()).rejects.toThrow(EngineError)
    expect(await readFile(join(path, 'CURRENT'), 'utf8')).toBe('1\n')
    await rm(inTheWay, { recursive: true })
    expect(await namesIn(path)).toEqual(['CURRENT', 'generation-1', 'generation-2'])

    await put(engine, 'live', 'a', 'c')
    expect(await readFile(join(path, 'CURRENT'), 'utf8')).toBe('2\n')
    expect(await namesIn(path)).toEqual(['CURRENT', 'generation-2'])
    expect(get(engine, 'live', 'a')).toBe('c')
  })

  test('files that whoever moved the store has not removed go with the next commit of another', async () => {
    const path = freshPath()
    const engine = await openEngine(path)
    const peer = await start('process', 'compact', path)
    expect((await once(peer, 'exit'))[0]).toBe(0)
    for (const file of ['data.mdb', 'lock.mdb']) await writeFile(join(path, file), '')
    await put(engine, 'live', 'a', 'b')
    expect(await namesIn(path)).toEqual(['CURRENT', 'generation-5'])
  })

  test.each([
    { files: ['data.mdb', 'lock.mdb'] },
    // What somebody makes who is about to open the files that another is removing.
    { files: ['lock.mdb'] },
    { files: ['lock.mdb.unfinished', 'data.mdb.unfinished'] },
  ])('files of generations before are removed when the store is opened: $files', async ({ files }) => {
    const path = freshPath()
    const engine = await openEngine(path)
    await engine.compact?.()
    await put(engine, 'live', 'a', 'b')
    await engine.close()
    for (const file of files) await writeFile(join(path, file), '')
    await engine.open()
    expect(get(engine, 'live', 'a')).toBe('b')
    expect(await namesIn(path)).toEqual(PACKED)
  })
})

describe('aborted', () => {
  test.each(['at once', 'while it copies'])('%s, it leaves all as it was, and no files', async when => {
    const path = freshPath()
    const engine = await openEngine(path)
    await fill(engine, 6000)
    const contents = await contentsOf(engine)
    const names = await namesIn(path)
    const controller = new AbortController()
    const reason = new Error('enough')
    const compacting = engine.compact?.({ signal: controller.signal })
    if (when === 'while it copies')
      while (!existsSync(join(path, 'generation-1', 'data.mdb'))) await nextTurn()
    controller.abort(reason)
    await expect(compacting).rejects.toBe(reason)
    expect(await namesIn(path)).toEqual(names)
    expect(await contentsOf(engine)).toEqual(contents)
    await put(engine, 'live', 'a', 'b')
    await engine.compact?.()
    expect(get(engine, 'live', 'a')).toBe('b')
    expect(await namesIn(path)).toEqual(PACKED)
  })
})

describe('damage', () => {
  test('of CURRENT, or a generation that is missing, is an EngineError', async () => {
    const path = freshPath()
    const engine = lmdb(path)
    await engine.open()
    await put(engine, 'live', 'a', 'b')
    await engine.compact?.()
    await engine.close()
    for (const [text, message] of [
      ['7\n', /generation-7/],
      ['', /CURRENT/],
      ['x\n', /CURRENT/],
    ] as const) {
      await writeFile(join(path, 'CURRENT'), text)
      const error = await engine.open().then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error).toBeInstanceOf(EngineError)
      expect(String(error)).toMatch(message)
    }
    expect((await namesIn(path)).sort()).toEqual(PACKED)
    await writeFile(join(path, 'CURRENT'), '1\n')
    await engine.open()
    expect(get(engine, 'live', 'a')).toBe('b')
    await engine.close()
  })
})
