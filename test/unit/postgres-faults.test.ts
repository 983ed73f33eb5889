import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import type { View } from '../../src/engine/engine.ts'
import { type PostgresPool, postgres } from '../../src/engine/postgres.ts'
import { createPersistence, type Persistence } from '../../src/index.ts'
import { startProcess, startTask } from '../support/peers.ts'
import { startPostgres } from '../support/postgres-server.ts'
import { POSTGRES, take, toArray } from '../support/stores.ts'
import { startProxy, type TcpProxy } from '../support/tcp-proxy.ts'

/** A server of its own: what is done to it here would harm the tests beside these. */
const server = POSTGRES === '' ? undefined : await startPostgres().catch(() => undefined)
const url = server?.url ?? ''
afterAll(() => server?.end())

async function open(url: string, store: string, retryTimeout = 10_000): Promise<Persistence> {
  const state = await createPersistence({ engine: postgres({ connectionString: url, store, retryTimeout }) })
  onTestFinished(() => state.close())
  return state
}

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

const terminateAll = (url: string): Promise<unknown> =>
  query(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'varve'")

/** Does harm again and again, at random moments, until the work is done. */
async function during(harm: () => Promise<unknown>, work: () => Promise<void>): Promise<void> {
  let done = false
  const harming = (async () => {
    while (!done) {
      await delay(50 + 200 * Math.random())
      await harm()
    }
  })()
  try {
    await work()
  } finally {
    done = true
    await harming
  }
}

const COMMIT = Buffer.from('COMMIT\0')
/** What the server says before it ends a connection. */
const SHUTDOWN = Buffer.concat([
  Buffer.from('E\0\0\0\x22'),
  Buffer.from('SFATAL\0C57P01\0Mit shuts down\0\0'),
])

describe.skipIf(server === undefined)('a connection that breaks at a commit', () => {
  const increment = (state: Persistence): Promise<unknown> =>
    state.update('counter', (value: unknown) => ((value as number | undefined) ?? 0) + 1)

  async function openBehindProxy(retryTimeout?: number): Promise<{
    state: Persistence
    proxy: TcpProxy
    direct: Persistence
  }> {
    const proxy = await startProxy(url)
    const store = randomUUID()
    const state = await open(proxy.url, store, retryTimeout)
    return { state, proxy, direct: await open(url, store) }
  }

  it('after it was made and before its answer, does not make it a second time', async () => {
    const { state, proxy, direct } = await openBehindProxy()
    for (let i = 1; i <= 5; i++) {
      let cuts = 0
      proxy.judge = piece => (piece.includes(COMMIT) && cuts++ === 0 ? 'cut the answer' : 'pass')
      expect(await increment(state)).toBe(i)
      expect(cuts).toBeGreaterThan(0)
      expect(await direct.get('counter')).toBe(i)
      // Another host commits in between: the answer is found all the same.
      await direct.set('other', i)
    }
  })

  it('before the server heard of it, makes it after all', async () => {
    const { state, proxy, direct } = await openBehindProxy()
    for (let i = 1; i <= 5; i++) {
      let cuts = 0
      proxy.judge = piece => (piece.includes(COMMIT) && cuts++ === 0 ? 'cut' : 'pass')
      expect(await increment(state)).toBe(i)
      expect(cuts).toBeGreaterThan(0)
      expect(await direct.get('counter')).toBe(i)
    }
  })

  it('says that it does not know, where the server cannot be asked', async () => {
    const { state, proxy, direct } = await openBehindProxy(300)
    await increment(state)
    proxy.judge = piece => {
      if (!piece.includes(COMMIT)) return 'pass'
      proxy.refuse = true
      return 'cut the answer'
    }
    await expect(increment(state)).rejects.toMatchObject({ code: 'ENGINE_COMMIT_UNKNOWN' })
    proxy.judge = undefined
    proxy.refuse = false
    expect(await direct.get('counter')).toBe(2)
    expect(await increment(state)).toBe(3)
  })

  it('at any moment, loses nothing and does nothing twice', async () => {
    const { state, proxy, direct } = await openBehindProxy()
    await during(
      async () => proxy.cutAll(),
      async () => {
        for (let i = 1; i <= 40; i++) expect(await increment(state)).toBe(i)
      },
    )
    expect(await direct.get('counter')).toBe(40)
    expect(await direct.verify()).toMatchObject({ ok: true })
  })

  it('reads go on, and a longer one that has begun says that it was broken off', async () => {
    const { state, proxy } = await openBehindProxy()
    await state.setMany(Object.fromEntries(Array.from({ length: 9_000 }, (_, i) => [`key ${i}`, i])))
    proxy.cutAll()
    expect(await state.getMany(['key 1', 'key 2'])).toEqual([1, 2])
    proxy.cutAll()
    expect(await state.get('key 3')).toBe(3)
    const entries = state.entries()
    const keys = [(await entries.next()).value?.[0]]
    proxy.cutAll()
    // It may move on to a fresh view at any time.
    for await (const [key] of entries) keys.push(key)
    expect(new Set(keys).size).toBe(9_000)
    expect(keys.length).toBe(9_000)
    expect(await state.size()).toBe(9_000)
  })

  it('in the middle of a transaction, lets it run once more', async () => {
    const { state, proxy, direct } = await openBehindProxy()
    await state.setMany({ a: 1, b: 1 })
    let runs = 0
    await state.transaction(async transaction => {
      const a = await transaction.get('a', 0)
      // Others commit meanwhile: both reads are of one moment all the same.
      if (runs++ === 0) {
        await direct.setMany({ a: 2, b: 2 })
        proxy.cutAll()
      }
      transaction.set('sum', (a as number) + ((await transaction.get('b', 0)) as number))
    })
    expect(runs).toBe(2)
    expect(await direct.get('sum')).toBe(4)
  })

  it('in the middle of a read of everything, begins that again', async () => {
    const { proxy, direct } = await openBehindProxy()
    const engine = postgres({ connectionString: proxy.url, store: randomUUID() })
    let cuts = 0
    const cutting = (view: View): View => ({
      ...view,
      get: (...args) => view.get(...args),
      getMany: (...args) => view.getMany(...args),
      seek: (...args) => view.seek(...args),
      seekMany: (...args) => view.seekMany(...args),
      close: () => view.close(),
      scan: async (...args) => {
        const page = await view.scan(...args)
        if (cuts > 0) {
          cuts--
          proxy.cutAll()
        }
        return page
      },
    })
    const state = await createPersistence({ engine: { ...engine, read: () => cutting(engine.read()) } })
    onTestFinished(() => state.close())
    const data = Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`key ${i}`, i]))
    await state.save(data)
    await state.createSnapshot()
    await state.clear()
    for (const read of [
      () => state.getSnapshotData('v1'),
      async () => Object.fromEntries(await toArray(state.at('v1').entries())),
      async () => ((await state.compareSnapshots('v1', 'head')).removed.length === 3_000 ? data : 'too few'),
      async () => state.restoreSnapshot('v1').then(() => state.load()),
    ]) {
      cuts = 1
      expect(await read()).toEqual(data)
      expect(cuts).toBe(0)
    }
    // Again and again, it is said.
    cuts = Number.POSITIVE_INFINITY
    await expect(state.load()).rejects.toMatchObject({ code: 'ENGINE_VIEW_LOST' })
    cuts = 0
    expect(await direct.size()).toBe(0)
  })

  it('as soon as it is there, does not end the process', async () => {
    const proxy = await startProxy(url)
    const state = await open(proxy.url, randomUUID())
    await state.set('a', 1)
    // The server says that it shuts down in the same piece as that it is ready.
    let ends = 0
    proxy.lastWords = () => (ends++ % 2 === 0 ? SHUTDOWN : undefined)
    for (let i = 0; i < 5; i++) {
      proxy.cutAll()
      expect(await state.getMany(['a', 'b'])).toEqual([1, undefined])
    }
    expect(ends).toBeGreaterThan(0)
  })
})

describe.skipIf(server === undefined)('several hosts on one store', () => {
  it('add up their increments while their connections are cut', async () => {
    const place = `${url}#${randomUUID()}`
    const state = await open(url, place.split('#')[1] as string)
    const peers = await Promise.all(Array.from({ length: 3 }, () => startProcess(place)))
    await during(
      () => terminateAll(url),
      async () => {
        const writing = peers.map(async (peer, name) => {
          for (let i = 0; i < 20; i++) await peer.call('set', `${name}/${i}`, i)
        })
        for (let i = 0; i < 20; i++) await state.update('counter', (value: unknown) => Number(value ?? 0) + 1)
        await Promise.all(writing)
      },
    )
    expect(await state.get('counter')).toBe(20)
    expect(await state.size()).toBe(61)
    expect(await state.verify()).toMatchObject({ ok: true })
    await Promise.all(peers.map(peer => peer.end()))
  })

  it('go on when one is killed in the middle of its commits, of which those acknowledged are there', async () => {
    const place = `${url}#${randomUUID()}`
    const state = await open(url, place.split('#')[1] as string)
    for (let round = 0; round < 3; round++) {
      const child = startTask('setForever', place)
      let acknowledged = 0
      child.on('message', message => {
        acknowledged = message as number
      })
      while (acknowledged < 20) await delay(5)
      child.kill('SIGKILL')
      await new Promise(resolve => child.once('exit', resolve))
      const [counter, copy] = await state.getMany(['counter', 'copy'])
      expect(counter).toBeGreaterThanOrEqual(acknowledged)
      expect(copy).toBe(counter)
      await state.set('own', round)
    }
    expect(await state.verify()).toMatchObject({ ok: true })
  })

  it('finish a large commit of one that was killed', async () => {
    const place = `${url}#${randomUUID()}`
    const state = await open(url, place.split('#')[1] as string)
    await state.set('old', 1)
    const child = startTask('saveLarge', place, '25000')
    let heard: unknown
    child.on('message', message => {
      heard = message
    })
    // It tells of the first rows that are in place.
    while (typeof heard !== 'number') await delay(1)
    child.kill('SIGKILL')
    await new Promise(resolve => child.once('exit', resolve))
    await state.set('new', 2)
    expect(await state.size()).toBe(25_001)
    expect(await state.has('old')).toBe(false)
  })

  it('watch each other, also after the listener was cut off', async () => {
    const store = randomUUID()
    const [one, other] = [await open(url, store), await open(url, store)]
    const changes = one.watch()
    // Once something is answered, the watcher begins before whatever others commit.
    await one.size()
    const first = take(changes, 1)
    await other.set('a', 1)
    expect(await first).toMatchObject([{ key: 'a', type: 'added', value: 1 }])
    for (let i = 2; i < 5; i++) {
      const next = take(changes, 1)
      await terminateAll(url)
      await other.set('a', i)
      expect(await next).toMatchObject([{ key: 'a', type: 'changed', value: i }])
    }
    await changes.return?.()
  })
})

describe.skipIf(server === undefined)('a watcher that begins as another ends', () => {
  it('takes one connection, which is given back', async () => {
    const pool = new pg.Pool({ connectionString: url, pipeline: true, max: 8 })
    onTestFinished(() => pool.end())
    let late = 0
    const slow: PostgresPool = {
      options: pool.options,
      connect: async () => {
        await delay(late)
        return pool.connect()
      },
    }
    const state = await createPersistence({ engine: postgres({ pool: slow, store: randomUUID() }) })
    onTestFinished(() => state.close())
    const listens = (): Promise<unknown[]> =>
      query(url, `SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'`)
    const first = state.watch()
    while ((await listens()).length === 0) await delay(5)
    // The end of the first connection is heard before there is a second.
    late = 100
    await first.return?.()
    const second = state.watch()
    // Longer than until a server that was lost would be listened to again.
    await delay(1_000)
    expect(await listens()).toHaveLength(1)
    await second.return?.()
    await state.close()
    await vi.waitFor(() => expect(pool.idleCount).toBe(pool.totalCount), { timeout: 5_000 })
  })
})

describe.skipIf(server === undefined)('a server that is stopped', () => {
  it.each(['fast', 'immediate'] as const)(
    'and started again (%s), has every commit that was acknowledged, once',
    async how => {
      const store = randomUUID()
      const state = await open(url, store, 30_000)
      let acknowledged = 0
      let done = false
      const writing = (async () => {
        while (!done) {
          acknowledged = (await state.update('counter', (value: unknown) => Number(value ?? 0) + 1)) as number
        }
      })()
      for (let i = 0; i < 2; i++) {
        const before = acknowledged
        while (acknowledged < before + 20) await delay(5)
        await server?.stop(how)
        await server?.start()
      }
      const before = acknowledged
      while (acknowledged < before + 5) await delay(5)
      done = true
      await writing
      expect(await state.get('counter')).toBe(acknowledged)
      const [row] = await query(
        url,
        `SELECT count(*)::int AS n FROM varve.varve_log WHERE store = '${store}'`,
      )
      // One entry a commit: none was made that nobody was told of, and none twice.
      expect(row).toEqual({ n: acknowledged })
    },
  )

  it('is a clear error, and no longer one when it is back', async () => {
    const state = await open(url, randomUUID(), 200)
    await state.set('a', 1)
    await server?.stop('fast')
    await expect(state.get('a')).rejects.toMatchObject({ code: 'ENGINE_UNREACHABLE' })
    await expect(state.set('a', 2)).rejects.toMatchObject({ code: 'ENGINE_UNREACHABLE' })
    await expect(state.load()).rejects.toMatchObject({ code: 'ENGINE_UNREACHABLE' })
    await expect(createPersistence({ engine: postgres({ connectionString: url }) })).rejects.toMatchObject({
      code: 'ENGINE_UNREACHABLE',
    })
    await server?.start()
    expect(await state.get('a')).toBe(1)
    await state.set('a', 2)
    expect(await state.load()).toEqual({ a: 2 })
  })
})
