import { randomUUID } from 'node:crypto'
import { inspect } from 'node:util'
import pg from 'pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type PostgresOptions, postgres } from '../../src/engine/postgres.ts'
import { createPersistence, type Persistence } from '../../src/index.ts'
import { POSTGRES, toArray } from '../support/stores.ts'

async function query(text: string, connectionString = POSTGRES): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    const result = await client.query(text)
    return result.rows ?? []
  } finally {
    await client.end()
  }
}

async function open(options: Partial<PostgresOptions> = {}): Promise<Persistence> {
  const state = await createPersistence({
    engine: postgres({ connectionString: POSTGRES, store: randomUUID(), ...options }),
  })
  onTestFinished(() => state.close())
  return state
}

/** A user with a password, and its connection string; dropped when the test ends. */
async function newUser(attributes = ''): Promise<{ user: string; url: string }> {
  const user = `user_${randomUUID().slice(0, 8)}`
  await query(`CREATE USER ${user} PASSWORD 'secret' ${attributes}`)
  onTestFinished(async () => {
    await query(`DROP OWNED BY ${user}; DROP USER ${user}`)
  })
  const url = new URL(POSTGRES)
  url.username = user
  url.password = 'secret'
  return { user, url: url.href }
}

function newSchema(): string {
  const schema = `schema ${randomUUID().slice(0, 8)}`
  onTestFinished(async () => {
    await query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`)
  })
  return schema
}

const withSettings = (settings: Readonly<Record<string, string>>): string => {
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  return `${POSTGRES}?options=${encodeURIComponent(options.join(' '))}`
}
const withUrl = (change: Partial<URL>): string => Object.assign(new URL(POSTGRES), change).href

describe('options of postgres()', () => {
  it.each<[string, unknown, RegExp]>([
    ['none', undefined, /must be an object/],
    ['neither string nor pool', {}, /either a connectionString, such as .* or a pool/],
    ['both', { connectionString: 'postgres://x', pool: { connect() {} } }, /either a connectionString/],
    ['an empty string', { connectionString: '' }, /connectionString/],
    ['a pool that is none', { pool: {} }, /a Pool of the package pg/],
    [
      'a pool that is too small',
      { pool: new pg.Pool({ max: 4 }) },
      /4 connections at most, and varve needs 5/,
    ],
    ['a misspelt option', { connectionstring: 'postgres://x' }, /Did you mean "connectionString"/],
    ['a store without a name', { connectionString: 'postgres://x', store: '' }, /store/],
    ['a store with NUL', { connectionString: 'postgres://x', store: 'a\0b' }, /without NUL/],
    ['a name that is too long', { connectionString: 'postgres://x', schema: 'ä'.repeat(32) }, /63 bytes/],
    ['a lone surrogate', { connectionString: 'postgres://x', store: '\ud800' }, /well-formed/],
  ])('%s', (_, options, message) => {
    expect(() => postgres(options as PostgresOptions)).toThrow(message)
  })
})

describe.skipIf(POSTGRES === '')('a server that cannot be used', () => {
  it.each<[string, Partial<URL>, string, RegExp]>([
    ['is not there', { port: '1' }, 'ENGINE_UNREACHABLE', /cannot be reached/],
    ['has another name', { hostname: 'nowhere.invalid' }, 'ENGINE_UNREACHABLE', /cannot be reached/],
    ['knows another password', { password: 'wrong' }, 'ENGINE_ACCESS_DENIED', /Check user and password/],
    ['lacks the database', { pathname: '/nothing' }, 'ENGINE', /Create the database/],
  ])('%s', async (_, change, code, message) => {
    const opening = open({ connectionString: withUrl(change), retryTimeout: 100 })
    await expect(opening).rejects.toMatchObject({ name: 'EngineError', code })
    await expect(opening).rejects.toThrow(message)
  })

  it('gives no right to create tables; with those there are, it can be used', async () => {
    const { user, url } = await newUser()
    const schema = newSchema()
    await expect(open({ connectionString: url, schema })).rejects.toMatchObject({
      code: 'ENGINE_ACCESS_DENIED',
    })
    await open({ schema })
    await expect(open({ connectionString: url, schema })).rejects.toMatchObject({
      code: 'ENGINE_ACCESS_DENIED',
    })
    await query(
      `GRANT USAGE ON SCHEMA "${schema}" TO ${user};
       GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "${schema}" TO ${user}`,
    )
    const state = await open({ connectionString: url, schema })
    await state.set('a', 1)
    await query(`REVOKE INSERT, UPDATE ON ALL TABLES IN SCHEMA "${schema}" FROM ${user}`)
    await expect(state.set('a', 2)).rejects.toMatchObject({ code: 'ENGINE_ACCESS_DENIED' })
    expect(await state.get('a')).toBe(1)
  })

  it('is named by a string that cannot be read, without telling its password', async () => {
    const opening = open({ connectionString: 'postgres://ada:secret@host:99999/db' })
    const error = await opening.catch((error: unknown) => error)
    expect(error).toMatchObject({ name: 'EngineError', message: expect.stringContaining('%-codes') })
    expect(inspect(error)).not.toContain('secret')
  })

  it('takes no writes: what is there can be read', async () => {
    const schema = newSchema()
    const store = 'one'
    const connectionString = withSettings({ default_transaction_read_only: 'on' })
    await expect(open({ connectionString, schema, store })).rejects.toMatchObject({
      code: 'ENGINE_READ_ONLY',
    })
    await (await open({ schema, store })).set('a', 1)
    const state = await open({ connectionString, schema, store })
    expect(await state.load()).toEqual({ a: 1 })
    await expect(state.set('a', 2)).rejects.toMatchObject({ code: 'ENGINE_READ_ONLY' })
    await expect(open({ connectionString, schema, store: 'other' })).rejects.toMatchObject({
      code: 'ENGINE_READ_ONLY',
    })
  })

  it('gives no right to write: what is there can be read', async () => {
    const { user, url } = await newUser()
    const schema = newSchema()
    const writer = await open({ schema, store: 'one' })
    await writer.set('a', 1)
    await writer.createSnapshot()
    await query(
      `GRANT USAGE ON SCHEMA "${schema}" TO ${user}; GRANT SELECT ON ALL TABLES IN SCHEMA "${schema}" TO ${user}`,
    )
    const state = await open({ connectionString: url, schema, store: 'one' })
    expect(await state.at('v1').load()).toEqual({ a: 1 })
    await expect(state.set('a', 2)).rejects.toMatchObject({ code: 'ENGINE_ACCESS_DENIED' })
  })

  it('lets nobody wait for long: a clear error, and nothing written', async () => {
    const schema = newSchema()
    const connectionString = withSettings({ statement_timeout: '200ms' })
    const state = await open({ connectionString, schema, store: 'one', retryTimeout: 0 })
    const client = new pg.Client(POSTGRES)
    await client.connect()
    try {
      await client.query(`BEGIN; SELECT 1 FROM "${schema}".varve_stores FOR UPDATE`)
      await expect(state.set('a', 1)).rejects.toMatchObject({ code: 'ENGINE_TIMEOUT' })
    } finally {
      await client.end()
    }
    expect(await state.size()).toBe(0)
    await state.set('a', 1)
  })

  it.each([
    { bytea_output: 'escape' },
    { search_path: '""' },
    { search_path: 'nowhere,pg_catalog' },
    { standard_conforming_strings: 'off' },
    { default_transaction_isolation: 'serializable' },
    { client_encoding: 'LATIN1' },
    { synchronous_commit: 'off' },
    { plan_cache_mode: 'force_generic_plan' },
    { idle_session_timeout: '50ms' },
  ])('has the setting %o', async settings => {
    const schema = newSchema()
    const state = await open({ connectionString: withSettings(settings), schema: `${schema} \\'\\` })
    onTestFinished(async () => {
      await query(`DROP SCHEMA "${schema} \\'\\" CASCADE`)
    })
    const values = { 'ä\\x': 'ü\\x\0'.repeat(500), b: new Uint8Array([0, 92, 120, 255]) }
    await state.setMany(values)
    await state.createSnapshot()
    await state.clear()
    await state.restoreSnapshot('v1')
    expect(await state.load()).toEqual(values)
    expect(await state.verify()).toMatchObject({ ok: true })
    expect((await state.getMetrics()).storage.bytes).toBeGreaterThan(0)
  })

  it('takes no more connections', async () => {
    const { user, url } = await newUser('CONNECTION LIMIT 2')
    const schema = newSchema()
    await query(`CREATE SCHEMA "${schema}" AUTHORIZATION ${user}`)
    const [one, two] = [new pg.Client(url), new pg.Client(url)]
    await Promise.all([one.connect(), two.connect()])
    await expect(open({ connectionString: url, schema, retryTimeout: 100 })).rejects.toMatchObject({
      code: 'ENGINE_TOO_MANY_CONNECTIONS',
    })
    await Promise.all([one.end(), two.end()])
    // Sooner than connections that nobody uses are closed by the clock.
    const state = await open({ connectionString: url, schema, retryTimeout: 8_000 })
    // With the two that are left it goes on, whatever asks at the same time.
    await Promise.all(Array.from({ length: 30 }, (_, i) => state.set(`key ${i}`, i)))
    const reads = Array.from({ length: 30 }, (_, i) => state.getMany([`key ${i}`]))
    expect((await Promise.all(reads)).flat()).toEqual(Array.from({ length: 30 }, (_, i) => i))
  })
})

describe.skipIf(POSTGRES === '')('tables', () => {
  it('of a newer version are refused, and left as they are', async () => {
    const schema = newSchema()
    await open({ schema })
    await query(`UPDATE "${schema}".varve_schema SET version = 99`)
    await expect(open({ schema })).rejects.toMatchObject({ code: 'FORMAT_TOO_NEW' })
    expect(await query(`SELECT version FROM "${schema}".varve_schema`)).toEqual([{ version: 99 }])
  })

  it('are created once, by however many hosts at the same time', async () => {
    const schema = newSchema()
    const store = randomUUID()
    const states = await Promise.all(Array.from({ length: 8 }, () => open({ schema, store })))
    await Promise.all(states.map((state, i) => state.set(`key ${i}`, i)))
    expect(await states[0]?.size()).toBe(8)
  })

  it('are not created where that is not wanted', async () => {
    const schema = newSchema()
    await expect(open({ schema, create: false })).rejects.toMatchObject({ code: 'ENGINE_NO_STORE' })
    expect(await query(`SELECT 1 FROM pg_namespace WHERE nspname = '${schema}'`)).toEqual([])
    await open({ schema, store: 'one' })
    await expect(open({ schema, store: 'other', create: false })).rejects.toMatchObject({
      code: 'ENGINE_NO_STORE',
    })
    expect(await query(`SELECT store FROM "${schema}".varve_stores`)).toEqual([{ store: 'one' }])
    await open({ schema, store: 'one', create: false })
  })

  it('that were removed are a clear error', async () => {
    const schema = newSchema()
    const state = await open({ schema })
    await query(`DROP SCHEMA "${schema}" CASCADE`)
    await expect(state.get('a')).rejects.toThrow(/tables were removed/)
    await expect(state.set('a', 1)).rejects.toMatchObject({ code: 'ENGINE' })
  })

  it.each(['"; DROP TABLE varve.varve_live; --', "' OR '1'='1", 'Ünï "quoted" \\ name', '$1', '%s'])(
    'hold a store and a schema with the name %s',
    async name => {
      const quoted = `"${name.replaceAll('"', '""')}"`
      onTestFinished(async () => {
        await query(`DROP SCHEMA IF EXISTS ${quoted} CASCADE`)
      })
      const state = await open({ schema: name, store: name })
      const other = await open({ schema: name, store: `${name} ` })
      await state.set(name, name)
      await state.createSnapshot({ tag: name })
      expect(await state.at('v1').load()).toEqual({ [name]: name })
      expect(await other.size()).toBe(0)
      expect((await state.getMetrics()).storage.bytes).toBeGreaterThan(0)
      await state.compact()
    },
  )

  it('keep stores apart', async () => {
    const [one, other] = [await open({ store: 'one' }), await open({ store: 'one\u{1f600}' })]
    await one.clear()
    await other.clear()
    await one.set('a', 1)
    await other.set('a', 2)
    expect(await one.load()).toEqual({ a: 1 })
    await other.clear()
    expect(await toArray(one.entries())).toEqual([['a', 1]])
  })
})

describe.skipIf(POSTGRES === '')('a value', () => {
  it('that is too large is refused, with the commit it is in', async () => {
    const engine = postgres({ connectionString: POSTGRES, store: randomUUID() })
    await engine.open()
    onTestFinished(() => engine.close())
    const key = Buffer.from('key')
    const writing = engine.commit((_, batch) => {
      batch.put('live', Buffer.from('other'), key)
      // Not touched, so that it takes no memory.
      batch.put('live', key, new Uint8Array(1024 ** 3 + 1))
    })
    await expect(writing).rejects.toMatchObject({ code: 'ENGINE_VALUE_TOO_LARGE' })
    expect(await engine.get('live', Buffer.from('other'))).toBeUndefined()
    await engine.commit((_, batch) => batch.put('live', key, key))
    expect(await engine.get('live', key)).toEqual(key)
  })
})

const next = (pool: pg.Pool): Promise<pg.PoolClient | undefined> => pool.connect().catch(() => undefined)

describe.skipIf(POSTGRES === '')('a pool of the caller’s', () => {
  it.each([true, false])('serves, with pipeline: %s, and is not ended', async pipeline => {
    const pool = new pg.Pool({ connectionString: POSTGRES, pipeline, max: 5 })
    onTestFinished(() => pool.end())
    const warnings: string[] = []
    const listen = (warning: Error): void => void warnings.push(warning.message)
    process.on('warning', listen)
    onTestFinished(() => void process.off('warning', listen))
    const engine = postgres({ pool, store: randomUUID() })
    const state = await createPersistence({ engine })
    await Promise.all(Array.from({ length: 20 }, (_, i) => state.set(`key ${i}`, i)))
    await state.createSnapshot()
    expect(await state.getMany(['key 1', 'key 2'])).toEqual([1, 2])
    await expect(state.restoreSnapshot('v9')).rejects.toThrow('no snapshot')
    await state.close()
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    expect(warnings).toEqual([])
  })

  it('goes on however many views are open', async () => {
    const pool = new pg.Pool({ connectionString: POSTGRES, pipeline: true, max: 5 })
    onTestFinished(() => pool.end())
    const engine = postgres({ pool, store: randomUUID() })
    await engine.open()
    onTestFinished(() => engine.close())
    const key = Buffer.from('key')
    const views = Array.from({ length: 8 }, () => engine.read())
    const answers = views.map(view => view.get('live', key))
    await Promise.all(answers.slice(0, 2))
    await engine.commit((_, batch) => batch.put('live', key, key))
    expect(await engine.get('live', key)).toEqual(key)
    // Each that is closed lets in another; those see the newer commit.
    for (const [i, view] of views.entries()) {
      expect(await answers[i]).toEqual(i < 2 ? undefined : key)
      view.close()
    }
  })

  it('that others left transactions on is used, and nothing of theirs is committed', async () => {
    const pool = new pg.Pool({ connectionString: POSTGRES, pipeline: true, max: 6 })
    onTestFinished(() => pool.end())
    const schema = newSchema()
    const state = await createPersistence({ engine: postgres({ pool, schema, store: 'one' }) })
    onTestFinished(() => state.close())
    await pool.query(`CREATE TABLE "${schema}".own (a integer)`)
    /** Leaves all connections that are free in the middle of something. */
    const leave = async (text: string): Promise<void> => {
      const clients = await Promise.all(Array.from({ length: 4 }, () => pool.connect()))
      for (const client of clients) {
        await client.query(text).catch(() => undefined)
        client.release()
      }
    }
    const use = async (value: number): Promise<void> => {
      await state.set('a', value)
      expect(await state.getMany(['a', 'b'])).toEqual([value, undefined])
      expect(await state.get('a')).toBe(value)
      await state.createSnapshot()
    }
    await use(1)
    await leave(`BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO "${schema}".own VALUES (1)`)
    await use(2)
    await leave('BEGIN; SELECT 1 / 0')
    await use(3)
    // As some do to be on the safe side: it takes away what was prepared.
    await leave('DISCARD ALL')
    await use(4)
    expect(await query(`SELECT * FROM "${schema}".own`)).toEqual([])
  })

  it('may hand out connections that show bytes otherwise', async () => {
    const pool = new pg.Pool({ connectionString: POSTGRES, pipeline: true, max: 5 })
    onTestFinished(() => pool.end())
    const state = await createPersistence({ engine: postgres({ pool, store: randomUUID() }) })
    onTestFinished(() => state.close())
    pool.on('acquire', client => void client.query("SET bytea_output TO 'escape'"))
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
    await state.setMany({ bytes, text: '\\x41\\134 ü' })
    expect(await state.load()).toEqual({ bytes, text: '\\x41\\134 ü' })
  })

  it('that is used up is a clear error', async () => {
    const max = 5
    const pool = new pg.Pool({
      connectionString: POSTGRES,
      pipeline: true,
      max,
      connectionTimeoutMillis: 1_000,
    })
    onTestFinished(() => pool.end())
    const state = await createPersistence({
      engine: postgres({ pool, store: randomUUID(), retryTimeout: 100 }),
    })
    onTestFinished(() => state.close())
    await state.setMany({ a: 1, b: 2 })
    const clients: pg.PoolClient[] = []
    const releaseAll = (): void => {
      for (const client of clients.splice(0)) client.release()
    }
    onTestFinished(releaseAll)
    // Lookups may hold one a little longer.
    while (clients.length < max) {
      const client = await next(pool)
      if (client !== undefined) clients.push(client)
    }
    await expect(state.getMany(['a', 'b'])).rejects.toMatchObject({ code: 'ENGINE_TOO_MANY_CONNECTIONS' })
    releaseAll()
    expect(await state.getMany(['a', 'b'])).toEqual([1, 2])
  })
})
