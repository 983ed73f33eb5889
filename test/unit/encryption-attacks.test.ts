import { createHash, randomBytes } from 'node:crypto'
import { cp, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Engine, type Row, TABLES, type Table } from '../../src/engine/engine.ts'
import { withView } from '../../src/engine/with-view.ts'
import {
  createPersistence,
  DataIntegrityError,
  EncryptionError,
  encrypted,
  ImportError,
  lmdb,
  memory,
  type Persistence,
  type PersistenceOptions,
} from '../../src/index.ts'
import { runCommand } from '../support/command.ts'
import { exited, startTask } from '../support/peers.ts'
import { temporaryFolder } from '../support/stores.ts'

/*
 * Somebody who may write to the files, or to the tables, of an encrypted store, and does not have its key.
 */

const key = randomBytes(32)
const NAME = 'key-in-the-clear-7205'

type StoredRow = Row & { readonly table: Table }

async function rowsOf(engine: Engine): Promise<StoredRow[]> {
  const found: StoredRow[] = []
  await engine.open()
  await withView(engine, async view => {
    for (const table of TABLES) {
      const { rows } = await view.scan(table, {})
      found.push(...rows.map(row => ({ ...row, table })))
    }
  })
  await engine.close()
  return found
}

async function put(engine: Engine, rows: readonly StoredRow[]): Promise<void> {
  await engine.open()
  await engine.commit((_, batch) => {
    for (const { table, key, value } of rows) batch.put(table, key, value)
  })
  await engine.close()
}

/** A store with something in every table but that of staged rows, which nobody has open. */
async function filled(options: PersistenceOptions = {}): Promise<Engine> {
  const engine = memory()
  const state = await createPersistence({ engine, encryptionKey: key, ...options })
  for (let round = 0; round < 4; round++) {
    await state.setMany([
      ['a', { round, who: 'a' }],
      ['b', { round, who: 'b' }],
      [NAME, round],
    ])
    await state.createSnapshot({ tag: `tag ${round}` })
  }
  await state.close()
  return engine
}

async function contentsOf(state: Persistence): Promise<unknown> {
  const snapshots = await state.listSnapshots()
  const states = await Promise.all(snapshots.map(({ version }) => state.getSnapshotData(version)))
  return [await state.load(), snapshots.map(({ version, tags }) => [version, tags]), states]
}

/** What reading a store comes to: its contents, or the error that says why not. */
async function read(engine: Engine, options: PersistenceOptions = {}): Promise<unknown> {
  try {
    await using state = await createPersistence({ engine, encryptionKey: key, ...options })
    return (await state.verify()).ok ? await contentsOf(state) : 'found by verify()'
  } catch (error) {
    return error
  }
}

function isRefused(outcome: unknown): boolean {
  return (
    outcome === 'found by verify()' ||
    outcome instanceof DataIntegrityError ||
    outcome instanceof EncryptionError
  )
}

const isKeyRecord = ({ table, key }: StoredRow): boolean =>
  table === 'meta' && Buffer.from(key).toString() === 'encryption'

describe.each([false, true])('rows (encryptKeys: %s)', encryptKeys => {
  it('cannot change places: neither between keys, nor versions, nor tables', async () => {
    const engine = await filled({ encryptKeys })
    const rows = (await rowsOf(engine)).filter(row => !isKeyRecord(row))
    const before = await read(engine)
    expect(new Set(rows.map(({ table }) => table)).size).toBeGreaterThan(4)
    for (const [i, row] of rows.entries()) {
      // Each is put at two places of others.
      for (const other of [rows[(i + 1) % rows.length], rows[(i + 7) % rows.length]] as StoredRow[]) {
        await put(engine, [{ ...other, value: row.value }])
        expect(await read(engine), `${row.table} to ${other.table}`).toSatisfy(isRefused)
        await put(engine, [other])
      }
    }
    expect(await read(engine)).toEqual(before)
  })

  it('cannot come from another store of the same key', async () => {
    const [engine, other] = [await filled({ encryptKeys }), await filled({ encryptKeys })]
    const before = await read(engine)
    const ours = await rowsOf(engine)
    const nameOf = ({ table, key }: StoredRow): string => `${table} ${Buffer.from(key).toString('hex')}`
    const theirs = new Map((await rowsOf(other)).map(row => [nameOf(row), row]))
    let tried = 0
    for (const row of ours) {
      const foreign = theirs.get(nameOf(row))
      if (foreign === undefined) continue
      tried++
      await put(engine, [foreign])
      expect(await read(engine), nameOf(row)).toSatisfy(isRefused)
      await put(engine, [row])
    }
    expect(tried).toBeGreaterThan(5)
    expect(await read(engine)).toEqual(before)
  })

  it('cannot be cut, not even by the last byte of their tags', async () => {
    const engine = await filled({ encryptKeys })
    const rows = (await rowsOf(engine)).filter(row => !isKeyRecord(row))
    for (const row of rows) {
      for (const length of [0, 1, 12, 28, row.value.byteLength - 12, row.value.byteLength - 1]) {
        await put(engine, [{ ...row, value: row.value.subarray(0, length) }])
        expect(await read(engine), `${row.table} cut to ${length}`).toSatisfy(isRefused)
      }
      await put(engine, [row])
    }
  })

  it('cannot be made up', async () => {
    const engine = await filled({ encryptKeys })
    const plain = memory()
    await using state = await createPersistence({ engine: plain })
    await state.set('a', 'forged')
    const forged = (await rowsOf(plain)).filter(({ table }) => table === 'live' || table === 'meta')
    expect(forged.length).toBeGreaterThan(2)
    const before = new Map((await rowsOf(engine)).map(row => [`${row.table} ${String(row.key)}`, row]))
    for (const row of forged) {
      await put(engine, [row])
      expect(await read(engine), row.table).toSatisfy(isRefused)
      const old = before.get(`${row.table} ${String(row.key)}`)
      await engine.open()
      await engine.commit((_, batch) => {
        if (old === undefined) batch.delete(row.table, row.key)
        else batch.put(old.table, old.key, old.value)
      })
      await engine.close()
    }
    // Nor a whole store that is plain.
    expect(await read(plain)).toMatchObject({ code: 'ENCRYPTION_NOT_ENCRYPTED' })
  })
})

/** A record of keys, with a checksum that fits. */
function recordRow(change: (record: Record<string, unknown>) => unknown, row: StoredRow): StoredRow {
  const outer = JSON.parse(Buffer.from(row.value).toString()) as { record: string }
  const record = JSON.stringify(change(JSON.parse(outer.record)))
  return { ...row, value: Buffer.from(JSON.stringify({ ...outer, crc32: crc32(record), record })) }
}

describe('the record of the keys', () => {
  const MANIPULATIONS: [string, (record: Record<string, unknown>) => unknown][] = [
    ['without the key of the keys', ({ keysKey: _, ...record }) => record],
    ['that says that keys are plain', record => ({ ...record, keys: 'plain' })],
    ['that says so, and has no key of them', ({ keysKey: _, ...record }) => ({ ...record, keys: 'plain' })],
    ['that says something else', record => ({ ...record, keys: 'none' })],
    [
      'with the key of the keys for that of rows',
      record => ({ ...record, dataKeys: [{ generation: 1, wrapped: record['keysKey'] }] }),
    ],
    [
      'of another generation',
      record => ({ ...record, dataKeys: [{ ...(record['dataKeys'] as object[])[0], generation: 2 }] }),
    ],
    ['without keys of rows', record => ({ ...record, dataKeys: [] })],
    ['with keys of rows that are none', record => ({ ...record, dataKeys: [null] })],
    [
      'with a key that is not wrapped',
      record => ({ ...record, dataKeys: [{ generation: 1, wrapped: key.toString('base64') }] }),
    ],
    ['that is a list', () => []],
    ['that is nothing', () => null],
    [
      'that asks for much memory',
      record => ({ ...record, derivation: { name: 'scrypt', salt: 'AAAA', n: 2 ** 22, r: 8, p: 1 } }),
    ],
    [
      'that asks for much time',
      record => ({ ...record, derivation: { name: 'scrypt', salt: 'AAAA', n: 2 ** 17, r: 8, p: 32 } }),
    ],
    [
      'that asks for what scrypt cannot do',
      record => ({ ...record, derivation: { name: 'scrypt', salt: 'AAAA', n: 2 ** 17, r: 1, p: 1 } }),
    ],
    [
      'that asks for something cheap',
      record => ({ ...record, derivation: { name: 'scrypt', salt: 'AAAA', n: 2, r: 1, p: 1 } }),
    ],
  ]

  it.each(MANIPULATIONS)('%s is refused, and nothing is written', async (_, change) => {
    for (const encryptionKey of [key, { passphrase: 'open sesame' }]) {
      const engine = await filled({ encryptKeys: true, encryptionKey })
      const row = (await rowsOf(engine)).find(isKeyRecord) as StoredRow
      const forged = recordRow(change, row)
      await put(engine, [forged])
      const before = await rowsOf(engine)
      const began = performance.now()
      expect(await read(engine, { encryptionKey })).toSatisfy(isRefused)
      expect(performance.now() - began).toBeLessThan(8000)
      expect(await rowsOf(engine)).toEqual(before)
    }
  })

  it('cannot be that of another store of the same key', async () => {
    const [engine, other] = [await filled({ encryptKeys: true }), await filled({ encryptKeys: true })]
    await put(engine, [(await rowsOf(other)).find(isKeyRecord) as StoredRow])
    expect(await read(engine)).toSatisfy(isRefused)
  })

  it('that is gone is missed', async () => {
    const engine = await filled()
    await engine.open()
    await engine.commit((_, batch) => batch.delete('meta', Buffer.from('encryption')))
    await engine.close()
    expect(await read(engine)).toMatchObject({ code: 'ENCRYPTION_NOT_ENCRYPTED' })
  })
})

describe('an encrypted file', () => {
  it('that asks for much is refused at once', async () => {
    const file = join(await temporaryFolder(), 'file.snapshot')
    for (const [n, r, p] of [
      [2 ** 22, 8, 1],
      [2 ** 17, 8, 32],
      [2 ** 17, 1, 1],
    ]) {
      const text = JSON.stringify({ derivation: { name: 'scrypt', salt: 'AAAA', n, r, p }, check: 'AAAA' })
      const head = Buffer.from([0x89, ...Buffer.from('VARVS\n'), 1, 0, 0])
      head.writeUInt16LE(text.length, 8)
      const checksum = Buffer.alloc(4)
      checksum.writeUInt32LE(crc32(text))
      await writeFile(file, Buffer.concat([head, Buffer.from(text), checksum]))
      await using state = await createPersistence()
      const importing = state.importSnapshot(file, { encryptionKey: { passphrase: 'open sesame' } })
      await expect(importing).rejects.toThrow(ImportError)
      await expect(importing).rejects.toThrow(/derivation/)
    }
  })
})

/** The nonces of all rows, each with what is sealed with it. */
function noncesOf(rows: readonly StoredRow[], nonces: Map<string, Set<string>>): void {
  for (const row of rows) {
    if (isKeyRecord(row)) continue
    const nonce = Buffer.from(row.value.subarray(1, 13)).toString('hex')
    const sealed = createHash('sha256').update(row.table).update(row.key).update(row.value).digest('hex')
    nonces.set(nonce, (nonces.get(nonce) ?? new Set()).add(sealed))
  }
}

describe('nonces', () => {
  it('do not recur: in processes one after the other and at once, killed or not, in copies, and under new keys', async () => {
    const folder = await temporaryFolder()
    const nonces = new Map<string, Set<string>>()
    const hex = key.toString('hex')
    // All of one store, and so under one key: a store, and two copies of it that are gone on with.
    const original = join(folder, 'original')
    await exited(startTask('seal', original, hex, 'first', 'close'))
    const copies = ['first', 'second'].map(name => join(folder, name))
    for (const copy of copies) await cp(original, copy, { recursive: true })
    for (const path of [original, ...copies]) {
      const writers = ['one', 'two'].map(name => startTask('seal', path, hex, name, 'kill'))
      await Promise.all(writers.map(exited))
      noncesOf(await rowsOf(lmdb(path)), nonces)
      const engine = encrypted(lmdb(path), { key })
      await engine.open()
      await engine.rotateKey(key, { reencrypt: true })
      await engine.close()
      noncesOf(await rowsOf(lmdb(path)), nonces)
    }
    expect(nonces.size).toBeGreaterThan(100)
    expect([...nonces.values()].filter(sealed => sealed.size > 1)).toEqual([])
  })
})

describe('what the old keys open', () => {
  it('is gone from the files after encrypting anew and compact()', async () => {
    const basePath = join(await temporaryFolder(), 'store')
    const state = await createPersistence({ basePath, encryptionKey: key })
    onTestFinished(() => state.close())
    await state.setMany(
      Array.from({ length: 500 }, (_, i): [string, unknown] => [`key ${i}`, randomBytes(60)]),
    )
    const old = (await rowsOf(lmdb(basePath))).filter(row => row.table === 'live').map(({ value }) => value)
    expect(old.length).toBeGreaterThan(50)
    await state.rotateEncryptionKey(randomBytes(32), { reencrypt: true })
    const filesHold = async (pieces: readonly (string | Uint8Array)[]): Promise<boolean> => {
      for (const entry of await readdir(basePath, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue
        const bytes = await readFile(join(entry.parentPath, entry.name))
        if (pieces.some(piece => bytes.includes(Buffer.from(piece)))) return true
      }
      return false
    }
    // The link from the old key to the new one, by which others followed, is in a free page still.
    expect(await filesHold(['successor', ...old])).toBe(true)
    await state.compact()
    expect(await filesHold(['successor', ...old])).toBe(false)
  })
})

describe('the command', () => {
  it('encrypts the keys of a copy, of a repaired store, and of what it measures with, where those of the store are', async () => {
    const cwd = await temporaryFolder()
    const env = { VARVE_ENCRYPTION_KEY: key.toString('hex') }
    const run = async (args: string): Promise<void> => {
      const { code, stderr } = await runCommand(args.split(' '), { cwd, env })
      expect(stderr).toBe('')
      expect(code).toBe(0)
    }
    await writeFile(join(cwd, 'other.key'), randomBytes(32))
    await run('init --encrypt-keys')
    await run(`set ${NAME} 1`)
    await run('copy .varve copied --to-key-file other.key')
    await run('verify --repair --into repaired')
    for (const [store, options] of [
      ['copied', '--key-file other.key'],
      ['repaired', ''],
    ]) {
      const list = await runCommand(`list --store ${store} ${options}`.trim().split(' '), { cwd, env })
      expect(list.stdout).toContain(NAME)
      const bytes = await readFile(join(cwd, store as string, 'data.mdb'))
      expect(bytes.includes(NAME)).toBe(false)
    }
  })
})
