import { randomUUID } from 'node:crypto'
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

const withUrl = (change: Partial<URL>): string => Object.assign(new URL(POSTGRES), change).href

describe('options of postgres()', () => {
  it.each<[string, unknown, RegExp]>([
    ['none', undefined, /must be an object/],
    ['neither string nor pool', {}, /either a connectionString, such as .* or a pool/],
    ['both', { connectionString: 'postgres://x', pool: { connect() {} } }, /either a connectionString/],
    ['an empty string', { connectionString: '' }, /connectionString/],
    ['a pool that is none', { pool: {} }, /a Pool of the package pg/],
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

  it('takes no writes', async () => {
    const { user, url } = await newUser()
    const schema = newSchema()
    const connectionString = `${url}?options=-c%20default_transaction_read_only%3Don`
    await open({ schema })
    await query(
      `GRANT USAGE ON SCHEMA "${schema}" TO ${user}; GRANT SELECT ON ALL TABLES IN SCHEMA "${schema}" TO ${user}`,
    )
    await expect(open({ connectionString, schema })).rejects.toMatchObject({
      code: expect.stringMatching(/ENGINE_READ_ONLY|ENGINE_ACCESS_DENIED/),
    })
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
    const state = await open({ connectionString: url, schema })
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

  it('that is used up is a clear error', async () => {
    const pool = new pg.Pool({
      connectionString: POSTGRES,
      pipeline: true,
      max: 2,
      connectionTimeoutMillis: 50,
    })
    onTestFinished(() => pool.end())
    const state = await createPersistence({
      engine: postgres({ pool, store: randomUUID(), retryTimeout: 100 }),
    })
    onTestFinished(() => state.close())
    await state.setMany({ a: 1, b: 2 })
    const clients: pg.PoolClient[] = []
    // Lookups may hold one a little longer.
    for (let client = await next(pool); client !== undefined; client = await next(pool)) clients.push(client)
    await expect(state.getMany(['a', 'b'])).rejects.toMatchObject({ code: 'ENGINE_TOO_MANY_CONNECTIONS' })
    for (const client of clients) client.release()
    expect(await state.getMany(['a', 'b'])).toEqual([1, 2])
  })
})
