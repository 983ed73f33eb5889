import { createHash, createSecretKey, randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { EncryptedEngine } from '../../src/encryption/is-encrypted.ts'
import { type Engine, type Row, TABLES, type Table } from '../../src/engine/engine.ts'
import { withView } from '../../src/engine/with-view.ts'
import {
  copyStore,
  createPersistence,
  DataIntegrityError,
  EncryptionError,
  encrypted,
  InvalidArgumentError,
  lmdb,
  memory,
  type Persistence,
  type PersistenceOptions,
  repair,
  verify,
} from '../../src/index.ts'
import { remoteEngine } from '../support/remote-engine.ts'
import { EMBEDDED, ENGINES, newPlace, type Place, take, temporaryFolder, toArray } from '../support/stores.ts'

const key = randomBytes(32)
const MARKER = 'plaintext-marker-8051'

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt
    return 'none'
  } catch (error) {
    return error instanceof EncryptionError ? error.code : String(error)
  }
}

/** All bytes of all files in a folder. */
async function filesIn(folder: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>()
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile()) files.set(path, await readFile(path))
  }
  return files
}

/** The marker in the forms in which it may stand: it is compressible, so what is deflated is not looked for. */
function holdsMarker(bytes: Uint8Array, marker = MARKER): boolean {
  return Buffer.from(bytes).includes(marker) || Buffer.from(bytes).includes(raised(marker))
}

/** As keys stand in the history. */
function raised(text: string): Buffer {
  return Buffer.from(text).map(byte => byte + 1) as Buffer
}

async function rowsOf(engine: Engine): Promise<(Row & { table: Table })[]> {
  const rows: (Row & { table: Table })[] = []
  await withView(engine, async view => {
    for (const table of TABLES) {
      let gt: Uint8Array | undefined
      for (let more = true; more; ) {
        const page = await view.scan(table, { gt })
        rows.push(...page.rows.map(row => ({ ...row, table })))
        gt = page.rows.at(-1)?.key ?? gt
        more = page.more
      }
    }
  })
  return rows
}

/** Everything that a store can hold: values plain and deflated, versions loose and packed, snapshots with all they carry. */
async function fill(state: Persistence, rounds = 20): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await state.set('counter', { round, note: `${MARKER} ${round}` })
    await state.set(`only/${round}`, `${MARKER} `.repeat(200))
    await state.createSnapshot({ tag: `${MARKER}-${round}`, description: MARKER, userInfo: { by: MARKER } })
  }
  await state.delete('only/1')
  await state.compact()
  await state.set('counter', { round: rounds, note: MARKER })
}

/** An encrypted engine, open until the test ends. */
async function openedEncrypted(engine: EncryptedEngine): Promise<EncryptedEngine> {
  await engine.open()
  onTestFinished(() => engine.close())
  return engine
}

async function contents(state: Persistence): Promise<unknown> {
  const snapshots = await state.listSnapshots()
  const states = await Promise.all(snapshots.map(({ version }) => state.getSnapshotData(version)))
  return [await state.load(), snapshots.map(({ bytes: _, ...described }) => described), states]
}

describe.each(ENGINES)('an encrypted store, on %s', name => {
  const openAt = (place: Place, options: PersistenceOptions) => place.open({ ...options })

  it('reads as any other, also when it is opened again', async () => {
    const place = await newPlace(name)
    const plain = await (await newPlace('memory')).open()
    const state = await openAt(place, { encryptionKey: key })
    for (const store of [plain, state]) await fill(store)
    const expected = await plain.load()
    expect(await state.load()).toEqual(expected)
    expect(await state.getSnapshotData('v7')).toEqual(await plain.getSnapshotData('v7'))
    expect((await state.verify()).problems).toEqual([])
    const before = await contents(state)
    await state.close()
    expect(await contents(await openAt(place, { encryptionKey: key.toString('hex') }))).toEqual(before)
  })

  it('opens with its own key and no other, and is left as it was', async () => {
    const place = await newPlace(name)
    const state = await openAt(place, { encryptionKey: key })
    await state.set('a', MARKER)
    await state.close()
    const engine = place.engine()
    await engine.open()
    onTestFinished(() => engine.close())
    const before = await rowsOf(engine)
    const open = (options: PersistenceOptions) =>
      codeOf(createPersistence({ engine: place.engine(), ...options }))
    expect(await open({ encryptionKey: randomBytes(32) })).toBe('ENCRYPTION_KEY_WRONG')
    expect(await open({ encryptionKey: { passphrase: 'open sesame' } })).toBe('ENCRYPTION_KEY_WRONG')
    expect(await open({})).toBe('ENCRYPTION_KEY_MISSING')
    expect(await open({ encryptionKey: key, encryptKeys: true })).toBe('ENCRYPTION_OTHER_MODE')
    expect(await codeOf(copyStore(place.engine(), memory()))).toBe('ENCRYPTION_KEY_MISSING')
    expect(await rowsOf(engine)).toEqual(before)
  })

  it('is not made of a plain store by opening it with a key', async () => {
    const place = await newPlace(name)
    const state = await place.open()
    await state.set('a', 1)
    expect(await codeOf(createPersistence({ engine: place.engine(), encryptionKey: key }))).toBe(
      'ENCRYPTION_NOT_ENCRYPTED',
    )
    expect(await state.get('a')).toBe(1)
  })

  it('is made of a plain store by copyStore(), and back', async () => {
    const from = await newPlace(name)
    const state = await from.open()
    await fill(state)
    const target = await newPlace(name)
    await copyStore(from.engine(), encrypted(target.engine(), { key }))
    const copy = await openAt(target, { encryptionKey: key })
    expect(await contents(copy)).toEqual(await contents(state))
    const back = await newPlace(name)
    await copyStore(encrypted(target.engine(), { key }), back.engine())
    expect(await contents(await back.open())).toEqual(await contents(state))
  })

  it('is made of a store whose keys are stored otherwise, and back', async () => {
    const from = await newPlace(name)
    const state = await from.open()
    await fill(state)
    const target = await newPlace(name)
    const sealed = (): Engine => encrypted(target.engine(), { key, encryptKeys: true })
    const abort = new AbortController()
    const broken = copyStore(from.engine(), sealed(), {
      signal: abort.signal,
      onProgress: () => abort.abort(new Error('enough')),
    })
    await expect(broken).rejects.toThrow('enough')
    await copyStore(from.engine(), sealed())
    const copy = await openAt(target, { encryptionKey: key })
    expect(await contents(copy)).toEqual(await contents(state))
    expect((await copy.verify()).problems).toEqual([])
    expect(await toArray(copy.keys())).toEqual(await toArray(state.keys()))
    expect(await copy.compareSnapshots('v2', 'v9')).toEqual(await state.compareSnapshots('v2', 'v9'))
    expect(await toArray(copy.diff('v9', 'head', { reverse: true }))).toEqual(
      await toArray(state.diff('v9', 'head', { reverse: true })),
    )
    const back = await newPlace(name)
    await copyStore(sealed(), back.engine())
    const returned = await back.open()
    expect(await contents(returned)).toEqual(await contents(state))
    expect((await returned.verify()).problems).toEqual([])
  })

  it('holds no key in the clear, if it is made so', async () => {
    const place = await newPlace(name)
    const state = await openAt(place, { encryptionKey: key, encryptKeys: true, compression: false })
    await fill(state)
    await state.set(MARKER, MARKER)
    await state.createSnapshot()
    await state.set(MARKER, '')
    const engine = place.engine()
    await engine.open()
    onTestFinished(() => engine.close())
    const shown = [MARKER, 'counter', 'only/']
    const rows = await rowsOf(engine)
    expect(rows.filter(row => shown.some(text => holdsMarker(row.value, text)))).toEqual([])
    expect(rows.filter(row => shown.some(text => holdsMarker(row.key, text)))).toEqual([])
    await state.close()
    const again = await openAt(place, { encryptionKey: key })
    expect(await toArray(again.keys({ prefix: 'only/1' }))).toEqual([
      'only/10',
      'only/11',
      'only/12',
      'only/13',
      'only/14',
      'only/15',
      'only/16',
      'only/17',
      'only/18',
      'only/19',
    ])
    expect(await toArray(again.keys({ reverse: true, limit: 2 }))).toEqual([MARKER, 'only/9'])
  })

  it('holds nothing in the clear but its keys', async () => {
    const place = await newPlace(name)
    const state = await openAt(place, { encryptionKey: key, compression: false })
    await fill(state)
    const engine = place.engine()
    await engine.open()
    onTestFinished(() => engine.close())
    const rows = await rowsOf(engine)
    expect(rows.length).toBeGreaterThan(50)
    expect(rows.filter(row => holdsMarker(row.value) || holdsMarker(row.key))).toEqual([])
    expect(rows.some(row => row.table === 'live' && holdsMarker(row.key, 'counter'))).toBe(true)
  })

  it('is opened by several who share it', async () => {
    const place = await newPlace(name)
    const engines = [place.engine(), place.engine()]
    // Both find the place empty.
    const [one, other] = await Promise.all(
      engines.map(engine => createPersistence({ engine, encryptionKey: key })),
    )
    onTestFinished(async () => {
      await one?.close()
      await other?.close()
    })
    await one?.set('a', MARKER)
    expect(await other?.get('a')).toBe(MARKER)
  })
})

const TRIALS = 100

describe.each(EMBEDDED)('damage of an encrypted store, on %s', name => {
  it('is found, wherever a bit is flipped', async () => {
    const place = await newPlace(name)
    const state = await place.open({ encryptionKey: key })
    await fill(state, 5)
    const before = await contents(state)
    await state.close()
    const engine = place.engine()
    await engine.open()
    onTestFinished(() => engine.close())
    const rows = (await rowsOf(engine)).filter(row => Buffer.from(row.key).toString() !== 'encryption')
    for (let trial = 0; trial < TRIALS; trial++) {
      const row = rows[Math.floor((trial * rows.length) / TRIALS)] as (typeof rows)[number]
      const bit = (trial * 7919) % (row.value.byteLength * 8)
      const value = Buffer.from(row.value)
      value[bit >>> 3] = (value[bit >>> 3] as number) ^ (1 << (bit & 7))
      await engine.commit((_, batch) => batch.put(row.table, row.key, value))
      let found: unknown
      try {
        const damaged = await createPersistence({ engine: place.engine(), encryptionKey: key })
        try {
          expect((await damaged.verify()).ok).toBe(false)
          expect(await contents(damaged)).toEqual(before)
        } finally {
          await damaged.close()
        }
      } catch (error) {
        found = error
      }
      if (found !== undefined) expect(found).toBeInstanceOf(DataIntegrityError)
      await engine.commit((_, batch) => batch.put(row.table, row.key, row.value))
    }
  })

  it('is found where rows have changed places', async () => {
    const place = await newPlace(name)
    const state = await place.open({ encryptionKey: key })
    await state.setMany({ a: 1, b: 2 })
    const engine = place.engine()
    await engine.open()
    onTestFinished(() => engine.close())
    await engine.commit(async (view, batch) => {
      batch.put('live', Buffer.from('a'), (await view.get('live', Buffer.from('b'))) as Uint8Array)
    })
    await expect(state.get('a')).rejects.toThrow(DataIntegrityError)
    expect(await state.get('b')).toBe(2)
    expect((await state.verify()).problems).toMatchObject([{ table: 'live', key: 'a' }])
  })

  it.each([[false], [true]])('is repaired, into a store of any kind (encryptKeys: %s)', async encryptKeys => {
    const place = await newPlace(name)
    const state = await place.open({ encryptionKey: key, encryptKeys })
    await fill(state, 5)
    await state.rotateEncryptionKey(key, { reencrypt: true })
    const before = (await contents(state)) as [Record<string, unknown>, unknown, unknown]
    const changes = await state.compareSnapshots('v2', 'head')
    await state.close()
    const from = (): EncryptedEngine => encrypted(place.engine(), { key })
    expect(await verify(from())).toMatchObject({ ok: true })
    const engine = place.engine()
    await engine.open()
    onTestFinished(() => engine.close())
    const stored = (text: string): Uint8Array => (encryptKeys ? keys.encode(text) : Buffer.from(text))
    const { keyCodec: keys } = await openedEncrypted(from())
    await engine.commit(async (view, batch) => {
      batch.put('live', stored('only/0'), (await view.get('live', stored('only/2'))) as Uint8Array)
    })
    expect((await verify(from())).problems).toMatchObject([{ table: 'live', key: 'only/0' }])
    for (const to of [
      memory(),
      encrypted(memory(), { key }),
      encrypted(memory(), { key: randomBytes(32), encryptKeys: true }),
    ]) {
      const { lost } = await repair(from(), to)
      expect(lost.keys.map(lostKey => lostKey.key)).toEqual(['only/0'])
      await using repaired = await createPersistence({ engine: to })
      expect((await repaired.verify()).problems).toEqual([])
      const [current, snapshots, states] = (await contents(repaired)) as typeof before
      const { 'only/0': _, ...rest } = before[0]
      expect(current).toEqual(rest)
      const tagsOf = (list: unknown): unknown => (list as { tags: unknown }[]).map(({ tags }) => tags)
      expect(tagsOf(snapshots)).toEqual(tagsOf(before[1]))
      const whole = (before[2] as Record<string, unknown>[]).map(({ 'only/0': _, ...rest }) => rest)
      expect(states).toEqual(whole)
      expect(await repaired.compareSnapshots('v2', 'head')).toEqual(changes)
    }
    expect(await codeOf(verify(place.engine()))).toBe('ENCRYPTION_KEY_MISSING')
    expect(await codeOf(verify(encrypted(place.engine(), { key: randomBytes(32) })))).toBe(
      'ENCRYPTION_KEY_WRONG',
    )
  })

  it('of the keys is not taken for a wrong key', async () => {
    const place = await newPlace(name)
    await (await place.open({ encryptionKey: key })).close()
    const engine = place.engine()
    await engine.open()
    onTestFinished(() => engine.close())
    await engine.commit(async (view, batch) => {
      const record = Buffer.from((await view.get('meta', Buffer.from('encryption'))) as Uint8Array)
      const at = record.length >>> 1
      record[at] = (record[at] as number) ^ 1
      batch.put('meta', Buffer.from('encryption'), record)
    })
    await expect(place.open({ encryptionKey: key })).rejects.toThrow(DataIntegrityError)
  })
})

describe('the key of a store', () => {
  it.each([
    ['bytes', key],
    ['a KeyObject', createSecretKey(key)],
    ['hexadecimal', key.toString('hex')],
    ['Base64', key.toString('base64')],
    ['Base64 for URLs, without padding', key.toString('base64url')],
  ])('may be %s', async (_, encryptionKey) => {
    const engine = memory()
    const made = await createPersistence({ engine, encryptionKey: key })
    await made.set('a', 1)
    await made.close()
    await using state = await createPersistence({ engine, encryptionKey })
    expect(await state.get('a')).toBe(1)
  })

  it('may be a passphrase, however its accents are composed', async () => {
    const engine = memory()
    const made = await createPersistence({ engine, encryptionKey: { passphrase: 'caf\u00e9 au lait' } })
    await made.set('a', 1)
    await made.close()
    await using state = await createPersistence({
      engine,
      encryptionKey: { passphrase: 'cafe\u0301 au lait' },
    })
    expect(await state.get('a')).toBe(1)
    expect(await codeOf(createPersistence({ engine, encryptionKey: { passphrase: 'caf' } }))).toBe(
      'ENCRYPTION_KEY_WRONG',
    )
  })

  it.each([
    ['a key that is too short', randomBytes(16)],
    ['a passphrase that is not marked as one', 'correct horse battery staple'],
    ['an empty passphrase', { passphrase: '' }],
    ['a misspelt passphrase', { passPhrase: 'secret-3391' }],
    ['a number', 5],
    ['null', null],
  ])('is not %s, and no message shows it', async (_, encryptionKey) => {
    const opening = createPersistence({ encryptionKey: encryptionKey as Buffer })
    await expect(opening).rejects.toThrow(InvalidArgumentError)
    await expect(opening).rejects.toThrow(/"encryptionKey" must be/)
    await expect(opening).rejects.not.toThrow(/correct horse|secret-3391/)
  })

  it('is needed for encryptKeys', async () => {
    await expect(createPersistence({ encryptKeys: true })).rejects.toThrow(/needs the option "encryptionKey"/)
  })

  it('is given once', () => {
    expect(() => encrypted(encrypted(memory(), { key }), { key })).toThrow(/encrypted already/)
  })
})

describe.each(ENGINES)('a new key for a store, on %s', name => {
  const newKey = randomBytes(32)

  it('opens it, and the old one does not, while those who have it open go on', async () => {
    const place = await newPlace(name)
    const state = await place.open({ encryptionKey: key })
    const other = await place.open({ encryptionKey: key })
    await fill(state)
    await state.rotateEncryptionKey(newKey)
    await other.set('a', 1)
    expect(await state.get('a')).toBe(1)
    expect(await codeOf(place.open({ encryptionKey: key }))).toBe('ENCRYPTION_KEY_WRONG')
    const later = await place.open({ encryptionKey: newKey })
    expect(await contents(later)).toEqual(await contents(state))
  })

  it('comes with new keys of the rows, if that is asked for', async () => {
    const place = await newPlace(name)
    const state = await place.open({ encryptionKey: key })
    await fill(state)
    const before = await contents(state)
    const engine = place.engine()
    await engine.open()
    onTestFinished(() => engine.close())
    const old = await rowsOf(engine)
    const idle = await place.open({ encryptionKey: key })
    // Whoever reads meanwhile follows, and what the background does after opening reads too.
    await idle.compact()
    const busy = await place.open({ encryptionKey: key })
    let done = false
    const writing = (async () => {
      let writes = 0
      while (!done) {
        await busy.set(`busy/${writes % 20}`, writes++)
        await nextTurn()
      }
      return writes
    })()
    let looked = 0
    await state.rotateEncryptionKey(newKey, {
      reencrypt: true,
      onProgress: rows => {
        looked = rows
      },
    })
    done = true
    expect(await writing).toBeGreaterThan(0)
    expect(looked).toBeGreaterThan(50)
    // Of what was there, no row is as it was, and none is sealed with the old key any more.
    const values = new Set(old.map(row => `${row.table} ${Buffer.from(row.value).toString('hex')}`))
    const generations = new Set<number | undefined>()
    for (const { table, key, value } of await rowsOf(engine)) {
      if (Buffer.from(key).toString() === 'encryption') continue
      expect(values.has(`${table} ${Buffer.from(value).toString('hex')}`)).toBe(false)
      generations.add(value[0])
    }
    expect([...generations]).toEqual([0x82])
    // Who wrote meanwhile has followed; who did not is told.
    expect(await busy.load()).toEqual(await state.load())
    expect(await codeOf(idle.get('counter'))).toBe('ENCRYPTION_KEY_OUTDATED')
    expect(await codeOf(idle.set('counter', 1))).toBe('ENCRYPTION_KEY_OUTDATED')
    for (let i = 0; i < 20; i++) await busy.delete(`busy/${i}`)
    const later = await place.open({ encryptionKey: newKey })
    expect(await contents(later)).toEqual(before)
    expect((await later.verify()).problems).toEqual([])
  })

  it('is taken up again where encrypting anew was broken off', async () => {
    const place = await newPlace(name)
    const state = await place.open({ encryptionKey: key })
    await fill(state)
    const before = await contents(state)
    const abort = new AbortController()
    const rotating = state.rotateEncryptionKey(newKey, {
      reencrypt: true,
      signal: abort.signal,
      onProgress: () => abort.abort(new Error('enough')),
    })
    await expect(rotating).rejects.toThrow('enough')
    expect(await contents(state)).toEqual(before)
    const later = await place.open({ encryptionKey: newKey })
    expect(await contents(later)).toEqual(before)
    const last = randomBytes(32)
    await later.rotateEncryptionKey(last, { reencrypt: true })
    await later.rotateEncryptionKey(last, { reencrypt: true })
    expect(await contents(await place.open({ encryptionKey: last }))).toEqual(before)
  })
})

describe('rotateEncryptionKey()', () => {
  it('is refused by a store that is not encrypted, and for what is no key', async () => {
    await using plain = await createPersistence()
    expect(await codeOf(plain.rotateEncryptionKey(key))).toBe('ENCRYPTION_NOT_ENCRYPTED')
    await using state = await createPersistence({ encryptionKey: key })
    await expect(state.rotateEncryptionKey('short')).rejects.toThrow(InvalidArgumentError)
    await expect(state.rotateEncryptionKey(key, { renecrypt: true } as object)).rejects.toThrow(
      /Did you mean "reencrypt"/,
    )
  })

  it('works far away', async () => {
    const engine = memory()
    await using state = await createPersistence({ engine: remoteEngine(engine), encryptionKey: key })
    await using other = await createPersistence({ engine: remoteEngine(engine), encryptionKey: key })
    await state.set('a', 1)
    const changes = other.watch()
    await take(changes, 0)
    await state.rotateEncryptionKey(randomBytes(32), { reencrypt: true })
    expect(await state.get('a')).toBe(1)
  })
})

describe('the files of an encrypted store', () => {
  it('hold no plaintext, whatever was done with it', { timeout: 60_000 }, async () => {
    const folder = await temporaryFolder()
    const basePath = join(folder, 'store')
    const state = await createPersistence({ basePath, encryptionKey: key, compression: false })
    await fill(state)
    // More than fits in memory is staged in the store.
    const large = Object.fromEntries(
      Array.from({ length: 21_000 }, (_, i) => [`large/${i}`, `${MARKER} ${i}`]),
    )
    await state.save(large)
    await state.restoreSnapshot('v3')
    await state.compact()
    await state.close()
    const files = await filesIn(folder)
    expect([...files.keys()].some(path => path.endsWith('data.mdb'))).toBe(true)
    expect([...files].filter(([, bytes]) => holdsMarker(bytes)).map(([path]) => path)).toEqual([])
  })

  it('do not change when a wrong key is tried', async () => {
    const basePath = join(await temporaryFolder(), 'store')
    const state = await createPersistence({ basePath, encryptionKey: key })
    await state.set('a', MARKER)
    await state.close()
    const digest = async () =>
      [...(await filesIn(basePath))]
        .filter(([path]) => path.endsWith('data.mdb'))
        .map(([, bytes]) => createHash('sha256').update(bytes).digest('hex'))
    const before = await digest()
    for (const options of [{}, { encryptionKey: randomBytes(32) }]) {
      expect(await codeOf(createPersistence({ engine: lmdb(basePath), ...options }))).toMatch(/^ENCRYPTION_/)
    }
    expect(await digest()).toEqual(before)
  })
})
