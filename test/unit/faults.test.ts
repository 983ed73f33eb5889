import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, chown, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { PersistentCache } from '../../src/cache/index.ts'
import { createPersistence, type Persistence, type PersistenceOptions } from '../../src/index.ts'
import { bundleProgram, removeBundles } from '../support/bundle.ts'
import { mountSmallDisk, type SmallDisk, whyNoSmallDisk } from '../support/small-disk.ts'
import { temporaryFolder } from '../support/stores.ts'

const noDisk = whyNoSmallDisk()
const FULL = { name: 'EngineError', code: 'ENGINE_DISK_FULL' }
const DISK_BYTES = 6 * 1024 * 1024
/** More than there may be room for, in pages that are not used any more, in a file of a few hundred kilobytes. */
const LARGE = randomBytes(1_000_000)

/** A state of so many keys, unlike that of other numbers. */
function stateOf(number: number, keys = 300): Record<string, unknown> {
  return Object.fromEntries(
    Array.from({ length: keys }, (_, i) => [`key/${i}`, `${number} ${'x'.repeat(900)}`]),
  )
}

describe.skipIf(noDisk !== undefined)(
  `a disk that is full${noDisk === undefined ? '' : ` (skipped: ${noDisk})`}`,
  () => {
    async function openSmall(
      options: PersistenceOptions = {},
    ): Promise<{ disk: SmallDisk; state: Persistence; path: string }> {
      const disk = await mountSmallDisk(DISK_BYTES)
      const path = join(disk.path, 'store')
      const state = await createPersistence({ basePath: path, ...options })
      onTestFinished(() => state.close())
      await state.save(stateOf(0))
      return { disk, state, path }
    }

    it.each(['process', 'power'] as const)(
      'fails calls, and nothing else, until there is room (%s)',
      async durability => {
        const { disk, state } = await openSmall({ durability })
        const version = await state.createSnapshot()
        await disk.fill()
        for (const call of [
          () => state.set('large', LARGE),
          () => state.setMany({ ...stateOf(1), LARGE }),
          () => state.save({ ...stateOf(2), LARGE }),
          () => state.transaction(t => t.set('large', LARGE)),
          () => state.update('large', () => LARGE),
        ]) {
          await expect(call()).rejects.toMatchObject(FULL)
          expect(await state.load()).toEqual(stateOf(0))
        }
        expect(await state.getSnapshotData(version)).toEqual(stateOf(0))
        expect(await state.verify()).toMatchObject({ ok: true })
        await disk.free()
        await state.set('large', 1)
        await state.save(stateOf(3))
        expect(await state.load()).toEqual(stateOf(3))
        expect(await state.getSnapshotData(version)).toEqual(stateOf(0))
        expect(await state.verify()).toMatchObject({ ok: true })
      },
    )

    it.each([30, 300].map(kilobytes => kilobytes * 1024))(
      'half-way through a large change, with room for %i bytes, leaves it undone or to be finished',
      async room => {
        const { disk, state, path } = await openSmall()
        const large = Object.fromEntries(Array.from({ length: 25_000 }, (_, i) => [`new/${i}`, i]))
        await disk.fill(room)
        await expect(state.save(large)).rejects.toMatchObject(FULL)
        expect(await state.load()).toEqual(stateOf(0))
        await disk.free()
        await state.set('after', true)
        expect(await state.load()).toEqual({ ...stateOf(0), after: true })
        await state.save(large)
        expect(await state.size()).toBe(25_000)
        expect(await state.verify()).toMatchObject({ ok: true })
        expect((await readdir(path)).sort()).toEqual(['TURNS', 'data.mdb', 'lock.mdb'])
      },
    )

    it('leaves the files as they were when a compaction has no room, however little is missing', async () => {
      const { disk, state, path } = await openSmall()
      await state.createSnapshot()
      await state.save(stateOf(1))
      for (const kilobytes of [0, 4, 64, 68, 72, 128, 132, 136, 140, 200, 300]) {
        await disk.fill(kilobytes * 1024)
        await expect(state.compact(), `${kilobytes} kB`).rejects.toMatchObject(FULL)
        expect((await readdir(path)).sort()).toEqual(['TURNS', 'data.mdb', 'lock.mdb'])
      }
      expect(await state.load()).toEqual(stateOf(1))
      await disk.free()
      await state.compact()
      expect(await state.load()).toEqual(stateOf(1))
      expect(await state.getSnapshotData('v1')).toEqual(stateOf(0))
      expect(await state.verify()).toMatchObject({ ok: true })
    })

    it('keeps a store from being made, or being opened without its lock file', async () => {
      const { disk, state, path } = await openSmall()
      await state.close()
      const other = join(disk.path, 'other')
      for (const kilobytes of [0, 4, 64, 68, 100]) {
        await disk.fill(kilobytes * 1024)
        await expect(createPersistence({ basePath: other }), `${kilobytes} kB`).rejects.toMatchObject(FULL)
        await rm(join(path, 'lock.mdb'), { force: true })
        await expect(createPersistence({ basePath: path }), `${kilobytes} kB`).rejects.toMatchObject(FULL)
      }
      await disk.free()
      await using again = await createPersistence({ basePath: path })
      expect(await again.load()).toEqual(stateOf(0))
      await using made = await createPersistence({ basePath: other })
      await made.set('a', 1)
    })

    it.each(['state.json', 'state.jsonl', 'state.jsonl.gz', 'v1.snapshot'])(
      'half-way through an export to %s leaves what was there',
      async name => {
        const { disk, state } = await openSmall()
        await state.save(Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`key/${i}`, Math.sin(i)])))
        await state.set(
          'random',
          Buffer.from(Array.from({ length: 50_000 }, (_, i) => Math.sin(i) * 2 ** 20)),
        )
        const version = await state.createSnapshot()
        const file = join(disk.path, name)
        const exporting = () =>
          name.endsWith('.snapshot')
            ? state.exportSnapshot(version, file)
            : state.exportData(file, { types: 'tagged' })
        for (const room of [0, 4096, 20_000]) {
          await writeFile(file, 'former')
          await disk.fill(room)
          await expect(exporting()).rejects.toMatchObject({
            code: 'EXPORT',
            message: expect.stringContaining('the disk is full'),
          })
          expect(await readFile(file, 'utf8')).toBe('former')
          expect((await readdir(disk.path)).sort()).toEqual(['ballast', name, 'store'].sort())
        }
        await disk.free()
        await exporting()
        expect(await readFile(file, 'latin1')).not.toBe('former')
      },
    )

    it('is no more than a cache that holds nothing, which says so', async () => {
      const disk = await mountSmallDisk(DISK_BYTES)
      const path = join(disk.path, 'cache')
      await using cache = new PersistentCache<string>({ path })
      const errors: unknown[] = []
      cache.on('error', error => errors.push(error))
      await cache.set('a', 'kept')
      await disk.fill()
      await cache.set('b', 'x'.repeat(100_000))
      expect(errors).toMatchObject([{ code: 'CACHE', message: expect.stringContaining('free space') }])
      expect(cache.stats().failure).toContain('free space')
      expect(await cache.get('b')).toBeUndefined()
      await disk.free()
      await using again = new PersistentCache<string>({ path })
      await again.set('b', 'x'.repeat(100_000))
      expect(await again.get('b')).toHaveLength(100_000)
    })
  },
)

describe('a process that may not do everything', () => {
  let program: string
  beforeAll(async () => {
    program = await bundleProgram(new URL('../soak/faulty.ts', import.meta.url))
  })
  afterAll(removeBundles)

  /** What a task says, run by a shell that may set limits before. */
  function run(task: string, path: string, shell = 'exec "$@"'): unknown {
    const output = execFileSync('sh', ['-c', shell, 'sh', process.execPath, program, task, path], {
      encoding: 'utf8',
      timeout: 50_000,
    })
    return JSON.parse(output)
  }

  it.skipIf(process.platform === 'win32')('has a map that grows where address space is limited', async () => {
    const path = join(await temporaryFolder(), 'store')
    expect(run('outgrow', path, 'ulimit -v 16000000; exec "$@"')).toEqual([40, 1_000_000, true])
  })

  it.skipIf(process.platform === 'win32')(
    'is told when its folder is gone, and goes on when it is back',
    async () => {
      const path = join(await temporaryFolder(), 'store')
      const gone = 'ENGINE_FILES_GONE'
      expect(run('loseFolder', path)).toEqual([gone, gone, gone, gone, gone, 1, null, 3])
    },
  )

  it.skipIf(process.getuid?.() !== 0)(
    `goes on with what it has open when it loses its rights${process.getuid?.() === 0 ? '' : ' (skipped: only root can become somebody else)'}`,
    async () => {
      const folder = await temporaryFolder()
      await chmod(folder, 0o755)
      const path = join(folder, 'store')
      await mkdir(path)
      await chown(path, 65_534, 65_534)
      expect(run('losePermission', path)).toEqual([
        null,
        'ENGINE_NOT_WRITABLE',
        2,
        2,
        'compacted',
        null,
        3,
        true,
      ])
    },
  )
})
