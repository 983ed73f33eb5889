import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { postgresPlace, shownPlace } from '../../src/command/postgres-place.ts'
import { Interruption } from '../../src/command/run.ts'
import { postgres, removeStore } from '../../src/engine/postgres.ts'
import { createPersistence, lmdb } from '../../src/index.ts'
import { type CommandOptions, type CommandResult, runCommand } from '../support/command.ts'
import { POSTGRES, temporaryFolder, toArray } from '../support/stores.ts'

const cli = (cwd: string) => {
  const varve = (line: string, options: Partial<CommandOptions> = {}): Promise<CommandResult> =>
    runCommand(line.split(' '), { cwd, ...options })
  const json = async (line: string, options: Partial<CommandOptions> = {}): Promise<unknown> => {
    const { code, stdout, stderr } = await varve(`${line} --json`, options)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return JSON.parse(stdout)
  }
  return { varve, json }
}

describe('a place on a server', () => {
  it.each([
    ['postgres://h/db', { connectionString: 'postgres://h/db' }],
    ['postgresql://h/db?store=a%20b', { connectionString: 'postgresql://h/db', store: 'a b' }],
    [
      'postgres://u:p@h:1/db?schema=s&sslmode=require&store=x',
      { connectionString: 'postgres://u:p@h:1/db?sslmode=require', schema: 's', store: 'x' },
    ],
    ['postgres:///?host=/tmp', { connectionString: 'postgres:///?host=%2Ftmp' }],
  ])('%s', (place, options) => {
    expect(postgresPlace(place)).toEqual(options)
  })

  it.each([
    ['./.varve', './.varve'],
    ['postgres://ada@host/db', 'postgres://ada@host/db'],
    ['postgres://ada:secret@host/db?store=a', 'postgres://ada@host/db?store=a'],
    ['postgres://ada:se@cr:et@host/db', 'postgres://ada@host/db'],
    ['postgres://host/db?password=secret&store=a', 'postgres://host/db?password=…&store=a'],
  ])('%s is shown without its password', (place, shown) => {
    expect(shownPlace(place)).toBe(shown)
  })
})

describe.skipIf(POSTGRES === '')('the command on a server', () => {
  let cwd: string
  let place: string
  let store: string

  beforeEach(async () => {
    cwd = await temporaryFolder()
    store = randomUUID()
    place = `${POSTGRES}?store=${store}`
    onTestFinished(async () => void (await removeStore({ connectionString: POSTGRES, store })))
  })

  it('does what it does in a folder', async () => {
    const { varve, json } = cli(cwd)
    const env = { VARVE_STORE: place }
    const lines = (line: string) => varve(line, { env })
    expect(await lines('get a')).toMatchObject({ code: 3, stderr: expect.stringContaining('no store') })
    expect(await json('init', { env })).toEqual({ store: shownPlace(place), created: true })
    expect(await json('init', { env })).toMatchObject({ created: false })
    expect(await lines('set a 1')).toMatchObject({ code: 0, stderr: '' })
    expect(await lines('snapshot --tag first')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('v1'),
    })
    await writeFile(join(cwd, 'history.jsonl'), '{"put": {"a": 2, "b": 3}}\n{"del": ["b"]}\n')
    expect(await json('replay history.jsonl', { env })).toMatchObject({ snapshots: 2, last: 'v3' })
    expect(await json('get a --at first', { env })).toMatchObject({ value: 1 })
    expect((await lines('diff first head')).stdout).toContain('a')
    expect(await json('list', { env })).toEqual([{ key: 'a' }])
    expect(await json('log', { env })).toHaveLength(3)
    expect(await json('restore first', { env })).toMatchObject({ set: 1 })
    expect((await lines('export state.json')).code).toBe(0)
    expect((await lines('import state.json')).code).toBe(0)
    expect(await json('prune --keep-last 2', { env })).toMatchObject({ removed: [] })
    expect(await json('verify', { env })).toMatchObject({ ok: true })
    expect(await json('compact', { env })).toMatchObject({ bytesAfter: expect.any(Number) })
    expect((await lines('bench --seconds 0')).code).toBe(0)
    const stats = await lines('stats')
    expect(stats.stdout).toContain('(postgres)')
    expect(stats.stdout).not.toContain(new URL(POSTGRES).password)
  })

  it('tells a server that cannot be used from a store that is not there', async () => {
    const { varve } = cli(cwd)
    const down = await varve('list --store postgres://ada:secret@127.0.0.1:1/db')
    expect(down).toMatchObject({ code: 3, stderr: expect.stringContaining('cannot be reached') })
    const mistyped = await varve(`list --store ${POSTGRES}?store=mistyped`)
    expect(mistyped).toMatchObject({ code: 3, stderr: expect.stringContaining('no store "mistyped"') })
    const other = await varve('list --store mysql://host/db')
    expect(other).toMatchObject({ code: 3, stderr: expect.stringContaining('postgres://') })
  })

  it('copies to a server and back, to the byte, and goes on where it was stopped', async () => {
    const { varve, json } = cli(cwd)
    const source = await createPersistence({ engine: lmdb(join(cwd, 'source')) })
    for (let i = 0; i < 5; i++) {
      await source.setMany(Object.fromEntries(Array.from({ length: 3_000 }, (_, k) => [`key ${k + i}`, i])))
      await source.createSnapshot({ tag: `round ${i}` })
    }
    await source.deleteSnapshot('v2')
    await source.close()

    const stopping = new AbortController()
    const stopped = varve(`copy source ${place}`, { signal: stopping.signal, columns: 100 })
    const target = postgres({ connectionString: POSTGRES, store })
    await target.open()
    while ((await target.stats()).tables.live?.entries === 0);
    stopping.abort(new Interruption(2))
    expect(await stopped).toMatchObject({ code: 130 })
    await target.close()
    expect(await varve(`list --store ${place}`)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('varve copy'),
    })

    const { records, written } = (await json(`copy source ${place}`)) as { records: number; written: number }
    expect(written).toBeLessThan(records)
    expect(await varve(`copy source ${place}`)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('holds data already'),
    })
    expect(await json(`copy ${place} back`)).toEqual({
      from: shownPlace(place),
      to: 'back',
      snapshots: 4,
      keys: 3_004,
      records: expect.any(Number),
      written: expect.any(Number),
    })
    const open = (name: string) => createPersistence({ engine: lmdb(join(cwd, name)) })
    const [one, other] = [await open('source'), await open('back')]
    try {
      const snapshots = await one.listSnapshots()
      expect((await other.listSnapshots()).map(({ version, tags }) => ({ version, tags }))).toEqual(
        snapshots.map(({ version, tags }) => ({ version, tags })),
      )
      for (const { version } of snapshots) {
        expect(await other.getSnapshotData(version)).toEqual(await one.getSnapshotData(version))
      }
      expect(await toArray(other.entries())).toEqual(await toArray(one.entries()))
    } finally {
      await Promise.all([one.close(), other.close()])
    }
  })
})
