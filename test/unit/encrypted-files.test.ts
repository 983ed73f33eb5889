import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createPersistence, EncryptionError, ImportError, memory, type Persistence } from '../../src/index.ts'
import { runCommand } from '../support/command.ts'
import { remoteEngine } from '../support/remote-engine.ts'
import { temporaryFolder } from '../support/stores.ts'

const key = randomBytes(32)
const MARKER = 'plaintext-marker-6120'

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  return attempt.then(
    () => 'none',
    error => (error instanceof EncryptionError ? error.code : String(error)),
  )
}

async function holdsMarker(folder: string): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    if ((await readFile(path)).includes(MARKER)) found.push(path)
  }
  return found
}

/** A store with two snapshots, of values that do not compress. */
async function filled(): Promise<Persistence> {
  const state = await createPersistence({ encryptionKey: key, compression: false })
  onTestFinished(() => state.close())
  const noise = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`noise/${i}`, randomBytes(4000).toString('base64')]),
  )
  await state.save({ ...noise, marker: MARKER })
  await state.createSnapshot({ tag: MARKER })
  await state.set('marker', `${MARKER} again`)
  await state.createSnapshot()
  return state
}

async function empty(): Promise<Persistence> {
  const state = await createPersistence()
  onTestFinished(() => state.close())
  return state
}

describe('an encrypted snapshot file', () => {
  it.each([['snapshot'], ['snapshot.gz']])(
    'holds nothing in the clear, and is read with its key (.%s)',
    async extension => {
      const folder = await temporaryFolder()
      const state = await filled()
      const [file, difference] = [join(folder, `1.${extension}`), join(folder, `2.${extension}`)] as const
      const written = await state.exportSnapshot('v1', file, { encryptionKey: key })
      expect(written).toMatchObject({ entries: 41, encrypted: true })
      await state.exportSnapshot('v2', difference, {
        base: 'v1',
        encryptionKey: { passphrase: 'open sesame' },
      })
      const bytes = await readFile(file)
      expect((extension === 'snapshot' ? bytes : gunzipSync(bytes)).includes(MARKER)).toBe(false)
      const target = await empty()
      expect(await target.importSnapshot(file, { encryptionKey: key.toString('base64') })).toBe('v1')
      expect(await target.importSnapshot(difference, { encryptionKey: { passphrase: 'open sesame' } })).toBe(
        'v2',
      )
      for (const version of ['v1', 'v2']) {
        expect(await target.getSnapshotData(version)).toEqual(await state.getSnapshotData(version))
      }
      expect((await target.listSnapshots())[0]?.tags).toEqual([MARKER])
    },
  )

  it('is refused without its key, and a plain one with a key', async () => {
    const folder = await temporaryFolder()
    const state = await filled()
    const [sealed, plain] = [join(folder, 'sealed'), join(folder, 'plain')] as const
    await state.exportSnapshot('v1', sealed, { encryptionKey: key })
    expect(await state.exportSnapshot('v1', plain)).not.toHaveProperty('encrypted')
    const target = await empty()
    expect(await codeOf(target.importSnapshot(sealed))).toBe('ENCRYPTION_KEY_MISSING')
    expect(await codeOf(target.importSnapshot(sealed, { encryptionKey: randomBytes(32) }))).toBe(
      'ENCRYPTION_KEY_WRONG',
    )
    expect(await codeOf(target.importSnapshot(plain, { encryptionKey: key }))).toBe(
      'ENCRYPTION_NOT_ENCRYPTED',
    )
    expect(await target.listSnapshots()).toEqual([])
    expect(await target.importSnapshot(plain)).toBe('v1')
  })

  it('is refused where a bit is flipped, a piece is missing or moved, or the end is cut', async () => {
    const folder = await temporaryFolder()
    const state = await filled()
    const file = join(folder, 'sealed')
    await state.exportSnapshot('v1', file, { encryptionKey: key })
    const bytes = await readFile(file)
    const head = 10 + bytes.readUInt16LE(8) + 4
    const piece = 64 * 1024 + 28
    expect(bytes.length).toBeGreaterThan(head + 2 * piece)
    const target = await empty()
    const refuse = async (damaged: Uint8Array): Promise<void> => {
      await writeFile(file, damaged)
      const importing = target.importSnapshot(file, { encryptionKey: key })
      await expect(importing).rejects.toThrow(ImportError)
    }
    for (let trial = 0; trial < 60; trial++) {
      const damaged = Buffer.from(bytes)
      const bit =
        trial < 30 ? 56 + trial * 37 : Math.floor((trial * 7919 * bytes.length * 8) / 60) % (bytes.length * 8)
      damaged[bit >>> 3] = (damaged[bit >>> 3] as number) ^ (1 << (bit & 7))
      await writeFile(file, damaged)
      const failed = await target
        .importSnapshot(file, { encryptionKey: key })
        .catch((error: unknown) => error)
      // A file whose first bytes are others is not taken for an encrypted one.
      if (bit >= 56) expect(failed).toBeInstanceOf(ImportError)
      else expect(failed).toBeInstanceOf(Error)
    }
    const [first, second, rest] = [
      bytes.subarray(head, head + piece),
      bytes.subarray(head + piece, head + 2 * piece),
      bytes.subarray(head + 2 * piece),
    ]
    const start = bytes.subarray(0, head)
    await refuse(Buffer.concat([start, second, first, rest]))
    await refuse(Buffer.concat([start, first, rest]))
    await refuse(Buffer.concat([start, first, second]))
    await refuse(bytes.subarray(0, -1))
    await refuse(bytes.subarray(0, head))
    await refuse(bytes.subarray(0, head - 1))
    await refuse(Buffer.concat([bytes, Buffer.alloc(1)]))
    expect(await target.listSnapshots()).toEqual([])
  })
})

describe('a JSON export of an encrypted store', () => {
  it('is plain, and says so', async () => {
    const path = join(await temporaryFolder(), 'state.json')
    const state = await filled()
    await state.exportData(path)
    const { metadata } = JSON.parse(await readFile(path, 'utf8')) as { metadata: object }
    expect(metadata).toMatchObject({ encrypted: false })
  })
})

describe.each(['persistent', 'tiered'] as const)('the %s cache of an encrypted store', cache => {
  it.each([false, true])(
    'holds nothing in the clear, and is of use to a later process (encryptKeys: %s)',
    async encryptKeys => {
      const folder = await temporaryFolder()
      const engine = remoteEngine(memory())
      const open = async (): Promise<Persistence> =>
        createPersistence({
          engine,
          encryptionKey: key,
          encryptKeys,
          cache,
          cachePath: folder,
          compression: false,
        })
      const state = await open()
      const name = encryptKeys ? `${MARKER}/key` : 'key'
      await state.set(name, MARKER)
      await state.set('other', 1)
      expect(await state.get(name)).toBe(MARKER)
      expect(await state.get(name)).toBe(MARKER)
      await state.set(name, `${MARKER} 2`)
      expect(await state.get(name)).toBe(`${MARKER} 2`)
      await state.close()
      expect(await holdsMarker(folder)).toEqual([])
      const again = await open()
      onTestFinished(() => again.close())
      expect(await again.get(name)).toBe(`${MARKER} 2`)
      expect((await again.getMetrics()).cache).toMatchObject({ hits: 1, misses: 0 })
      // With new keys what the old ones sealed is of no use, and in nobody's way.
      await again.rotateEncryptionKey(randomBytes(32), { reencrypt: true })
      expect(await again.get(name)).toBe(`${MARKER} 2`)
    },
  )
})

describe('the command, with an encrypted store', () => {
  const run = (cwd: string, args: string, env: NodeJS.ProcessEnv = {}) =>
    runCommand(args.split(' '), { cwd, env })

  it('takes the key from a file or the environment', async () => {
    const cwd = await temporaryFolder()
    await writeFile(join(cwd, 'store.key'), `${key.toString('hex')}\n`)
    await writeFile(join(cwd, 'raw.key'), key)
    expect((await run(cwd, 'init --key-file store.key --encrypt-keys')).code).toBe(0)
    expect(
      (await run(cwd, `set ${MARKER} "${MARKER}"`, { VARVE_ENCRYPTION_KEY: key.toString('base64') })).code,
    ).toBe(0)
    expect((await run(cwd, `get ${MARKER} --key-file raw.key`)).stdout).toBe(`"${MARKER}"\n`)
    expect(await holdsMarker(join(cwd, '.varve'))).toEqual([])
    const without = await run(cwd, 'list --json')
    expect(without.code).toBe(3)
    expect(JSON.parse(without.stderr)).toMatchObject({ error: { code: 'ENCRYPTION_KEY_MISSING' } })
    const wrong = await run(cwd, 'list', { VARVE_ENCRYPTION_PASSPHRASE: 'open sesame' })
    expect(wrong).toMatchObject({ code: 3, stderr: expect.stringContaining('not the key') })
    const noKey = await run(cwd, 'list', { VARVE_ENCRYPTION_KEY: 'hunter2' })
    expect(noKey).toMatchObject({ code: 2, stderr: expect.not.stringContaining('hunter2') })
    expect(await run(cwd, 'list --key-file nowhere')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('cannot be read (ENOENT)'),
    })
  })

  it('replaces the key, encrypts snapshot files, and copies to another encrypted store', async () => {
    const cwd = await temporaryFolder()
    const env = { VARVE_ENCRYPTION_KEY: key.toString('hex') }
    const [newKey, otherKey] = [randomBytes(32), randomBytes(32)]
    await writeFile(join(cwd, 'new.key'), newKey)
    await writeFile(join(cwd, 'other.key'), otherKey)
    await run(cwd, 'init', env)
    await run(cwd, `set marker "${MARKER}"`, env)
    await run(cwd, 'snapshot', env)
    expect((await run(cwd, 'rotate-key new.key --reencrypt --json', env)).stdout).toBe(
      '{"rotated":true,"reencrypted":true}\n',
    )
    expect((await run(cwd, 'get marker', env)).code).toBe(3)
    expect((await run(cwd, 'get marker --key-file new.key')).stdout).toBe(`"${MARKER}"\n`)
    await run(cwd, 'export v1.snapshot --snapshot v1 --encrypt --key-file new.key')
    expect((await readFile(join(cwd, 'v1.snapshot'))).subarray(1, 6).toString()).toBe('VARVS')
    expect((await run(cwd, 'import v1.snapshot --key-file new.key')).stdout).toBe('v1.snapshot is v1 here\n')
    expect((await run(cwd, 'export state.json --encrypt --key-file new.key')).code).toBe(2)
    expect((await run(cwd, 'copy .varve copy --key-file new.key --to-key-file other.key')).code).toBe(0)
    expect((await run(cwd, 'get marker --at v1 --store copy --key-file other.key')).stdout).toBe(
      `"${MARKER}"\n`,
    )
    expect(await holdsMarker(cwd)).toEqual([])
  })
})
