import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { PersistentCache, type PersistentCacheOptions } from '../../src/cache/persistent-cache.ts'
import { TieredCache } from '../../src/cache/tiered-cache.ts'
import { temporaryFolder, toArray } from '../support/stores.ts'

const WRITER = fileURLToPath(new URL('../fixtures/cache-writer.mjs', import.meta.url))

/** Opens a cache, which is closed when the test ends. */
function open<V = unknown>(options: PersistentCacheOptions): PersistentCache<V> {
  const cache = new PersistentCache<V>(options)
  onTestFinished(() => cache.close())
  return cache
}

async function filesIn(folder: string): Promise<string[]> {
  return (await readdir(folder)).sort().map(name => join(folder, name))
}

describe('a cache on disk', () => {
  it('keeps what a store can hold, and copies it', async () => {
    const path = join(await temporaryFolder(), 'a', 'b')
    const cache = open({ path })
    const value = { at: new Date(0), list: [1, 2], bytes: Buffer.from('abc'), big: 2n ** 70n }
    const set = cache.set('a', value)
    value.list.push(3)
    await set
    const found = (await cache.get('a')) as typeof value
    expect(found).toEqual({ at: new Date(0), list: [1, 2], bytes: Buffer.from('abc'), big: 2n ** 70n })
    found.list.push(4)
    expect(await cache.get('a')).toMatchObject({ list: [1, 2] })
    await expect(cache.set('f', () => 1)).rejects.toThrow('a function')
  })

  it('keeps keys apart that become the same in UTF-8', async () => {
    const path = await temporaryFolder()
    const cache = open({ path })
    await cache.set('\ufffd', 'right')
    await expect(cache.set('\ud800', 'wrong')).rejects.toThrow('"key" must be well-formed')
    expect(await cache.get('\ud800')).toBeUndefined()
    await cache.close()
    expect(await open({ path }).get('\ufffd')).toBe('right')
  })

  it('has few files open, however often it was opened', async () => {
    const path = await temporaryFolder()
    for (let i = 0; i < 80; i++) {
      const cache = new PersistentCache<number>({ path })
      await cache.set(`key ${i}`, i)
      await cache.close()
    }
    expect((await readdir(path)).length).toBeLessThanOrEqual(64)
    for (let i = 0; i < 3; i++) {
      const cache = new PersistentCache<number>({ path })
      expect(await cache.size()).toBe(80)
      await cache.close()
    }
  })

  it('leaves nothing behind where nothing was written', async () => {
    const path = await temporaryFolder()
    const cache = new PersistentCache<number>({ path })
    await cache.set('a', 1)
    await cache.close()
    const files = await readdir(path)
    const idle = new PersistentCache<number>({ path })
    await idle.open()
    await idle.close()
    expect(await readdir(path)).toEqual(files)
  })

  it('keeps everything if it dies while it begins a new file', async () => {
    const path = await temporaryFolder()
    const dying = new PersistentCache({ path })
    await dying.set('a', 1)
    await dying.close()
    const [file = ''] = await filesIn(path)
    const unfinished = join(path, '000000000002.segment.0123456789ab')
    await writeFile(unfinished, '')
    const cache = open({ path })
    expect(await cache.get('a')).toBe(1)
    expect(await filesIn(path)).toContain(file)
    expect(await filesIn(path)).not.toContain(unfinished)
  })

  it('never brings back what was replaced, killed at any moment', async () => {
    const path = await temporaryFolder()
    const certain = new Map<string, number>()
    for (let round = 0; round < 4; round++) {
      const next = Math.max(0, ...certain.values()) + 10_000
      const writer = fork(WRITER, [path, `${next}`], { execArgv: [] })
      let reports = 0
      writer.on('message', (report: [string, number][]) => {
        for (const [key, number] of report) certain.set(key, number)
        if (++reports === 3 * round + 1) writer.kill('SIGKILL')
      })
      await once(writer, 'exit')
      const cache = open<{ number: number; padding: string }>({ path, maxBytes: 400_000 })
      let found = 0
      for (const [key, number] of certain) {
        const value = await cache.get(key)
        if (value === undefined) continue
        found++
        expect(value.number).toBeGreaterThanOrEqual(number)
        expect(value.padding).toHaveLength(value.number % 3_000)
      }
      expect(found).toBeGreaterThan(0)
      await cache.close()
    }
  })

  it('lets folders, pipes and other files alone', async () => {
    const path = await temporaryFolder()
    await mkdir(join(path, '000000000001.segment'))
    execFileSync('mkfifo', [join(path, '000000000002.segment')])
    await writeFile(join(path, 'README'), 'not a segment')
    const cache = open({ path })
    await cache.set('a', 1)
    await cache.close()
    expect(await open({ path }).get('a')).toBe(1)
    expect(await readdir(path)).toHaveLength(5)
  })

  it('lets the oldest go where there is no room, and keeps what is read', async () => {
    const path = await temporaryFolder()
    const cache = open<string>({ path, maxBytes: 100_000 })
    await cache.set('kept', 'x'.repeat(1_000))
    for (let i = 0; i < 300; i++) {
      await cache.set(`key ${i}`, 'x'.repeat(1_000))
      await cache.get('kept')
    }
    expect(await cache.has('kept')).toBe(true)
    expect(await cache.has('key 0')).toBe(false)
    expect(await cache.has('key 299')).toBe(true)
    const { entries, bytes, evictions } = cache.stats()
    expect(bytes).toBeLessThanOrEqual(100_000)
    expect(evictions.bytes + entries).toBe(301)
    expect(entries).toBe(await cache.size())
  })

  it('refuses an entry that is too large, and forgets what the key held', async () => {
    const cache = open<string>({ path: await temporaryFolder(), maxBytes: 10_000 })
    await cache.set('other', 'stays')
    await cache.set('a', 'small')
    await cache.set('a', 'x'.repeat(3_000))
    expect(await cache.get('a')).toBeUndefined()
    expect(await cache.get('other')).toBe('stays')
    expect(cache.stats()).toMatchObject({ rejected: 1, evictions: { entries: 0, bytes: 0, expired: 0 } })
  })

  it('gives the room of expired entries back', async () => {
    let time = 0
    const cache = open<string>({ path: await temporaryFolder(), maxBytes: 1_000_000, now: () => time })
    const expired: string[] = []
    cache.on('expire', ({ key }) => expired.push(key))
    await cache.set('stays', 'x')
    for (let i = 0; i < 500; i++) await cache.set(`key ${i}`, 'x'.repeat(1_000), { ttl: 10 })
    expect(cache.stats().bytes).toBeGreaterThan(500_000)
    time = 11
    await cache.purgeExpired()
    expect(expired).toHaveLength(500)
    expect(cache.stats().bytes).toBeLessThan(200_000)
    expect(await toArray(cache.keys())).toEqual(['stays'])
  })

  it('takes nothing from a segment with any one byte changed, and no older value instead', async () => {
    const path = await temporaryFolder()
    const old = new PersistentCache({ path })
    await old.set('a', 'old')
    await old.set('b', 'old')
    await old.close()
    const newer = new PersistentCache({ path })
    await newer.set('a', 'new')
    await newer.delete('b')
    await newer.close()
    const files = await filesIn(path)
    const intact = new Map(await Promise.all(files.map(async file => [file, await readFile(file)] as const)))
    const newest = files.at(-1) as string
    const bytes = intact.get(newest) as Buffer
    for (let at = 0; at < bytes.length; at++) {
      for (const [file, content] of intact) await writeFile(file, content)
      const damaged = Buffer.from(bytes)
      damaged[at] = (damaged[at] as number) ^ 0x55
      await writeFile(newest, damaged)
      const cache = new PersistentCache({ path })
      expect(['new', undefined]).toContain(await cache.get('a'))
      expect(await cache.get('b')).toBeUndefined()
      await cache.set('a', 'newest')
      await cache.close()
      const again = new PersistentCache({ path })
      expect(await again.get('a')).toBe('newest')
      await again.close()
      for (const file of await filesIn(path)) await truncate(file, 0)
      for (const file of (await filesIn(path)).filter(file => !intact.has(file))) await writeFile(file, '')
    }
  })

  it('keeps what was written before a record that is cut off', async () => {
    const path = await temporaryFolder()
    const dying = new PersistentCache({ path })
    await dying.set('a', 'whole')
    const [file = ''] = await filesIn(path)
    const { length } = await readFile(file)
    await dying.set('b', 'cut off')
    await dying.close()
    await truncate(file, length + 20)
    const cache = open({ path })
    expect(await cache.get('a')).toBe('whole')
    expect(await cache.get('b')).toBeUndefined()
  })

  it('drops older segments if one in between is short or gone', async () => {
    for (const harm of ['cut', 'empty'] as const) {
      const path = await temporaryFolder()
      for (const key of ['first', 'second', 'third']) {
        const cache = new PersistentCache({ path })
        await cache.set(key, key)
        await cache.close()
      }
      const file = (await filesIn(path))[1] as string
      await truncate(file, harm === 'cut' ? (await readFile(file)).length - 1 : 0)
      const cache = open({ path })
      expect(await toArray(cache.keys())).toEqual(['third'])
    }
  })

  it('goes on as an empty one where the folder cannot be used, and says so once', async () => {
    const folder = await temporaryFolder()
    await writeFile(join(folder, 'file'), '')
    const cache = open({ path: join(folder, 'file', 'cache') })
    const errors: Error[] = []
    cache.on('error', error => errors.push(error))
    await cache.set('a', 1)
    expect(await cache.get('a')).toBeUndefined()
    expect(await cache.delete('a')).toBe(false)
    await cache.clear()
    expect(await cache.size()).toBe(0)
    expect(errors).toHaveLength(1)
    expect(errors[0]).toMatchObject({ code: 'CACHE', message: expect.stringContaining('cannot be opened') })
    expect(cache.stats().failure).toBe(errors[0]?.message)
    await expect(cache.open()).rejects.toBe(errors[0])
  })

  it('goes on as an empty one where the folder vanishes', async () => {
    const path = await temporaryFolder()
    const cache = open<string>({ path, maxBytes: 40_000 })
    await cache.set('a', 'x')
    await rm(path, { recursive: true })
    // Until a new segment is due, the files are there for whoever has them open.
    for (let i = 0; i < 40; i++) await cache.set(`key ${i}`, 'x'.repeat(1_000))
    expect(cache.stats().failure).toContain('cannot be written')
    expect(await cache.get('a')).toBeUndefined()
  })

  it.each([
    [{}, 'needs the option "path"'],
    [{ path: '' }, 'a non-empty string'],
    [{ path: 'x', maxBytes: 0 }, 'a whole number, 1 or more, not 0'],
    [{ path: 'x', maxBytes: Number.NaN }, 'not NaN'],
    [{ path: 'x', ttl: -1 }, 'a finite number of milliseconds above 0, not -1'],
    [{ path: 'x', maxByte: 1 }, 'Did you mean "maxBytes"?'],
  ])('refuses %o', (options, message) => {
    expect(() => new PersistentCache(options as PersistentCacheOptions)).toThrow(message)
  })
})

describe('a cache in tiers', () => {
  it('loses none that fall to disk, however fast they come', async () => {
    const path = await temporaryFolder()
    const cache = new TieredCache<number>({ memory: { maxEntries: 10 }, disk: { path } })
    const count = 25_000
    for (let i = 0; i < count; i++) await cache.set(`key ${i}`, i)
    await cache.close()

    const again = new TieredCache<number>({ memory: { maxEntries: 10 }, disk: { path } })
    onTestFinished(() => again.close())
    const gone: number[] = []
    for (let i = 0; i < count; i++) if ((await again.get(`key ${i}`)) !== i) gone.push(i)
    expect(gone).toEqual([])
  })

  it('lets entries fall to disk, and serves them from there after a restart', async () => {
    const path = await temporaryFolder()
    const cache = new TieredCache<number>({ memory: { maxEntries: 10 }, disk: { path } })
    for (let i = 0; i < 100; i++) await cache.set(`key ${i}`, i)
    expect(await cache.get('key 0')).toBe(0)
    expect(cache.stats()).toMatchObject({ hits: 1, misses: 0, tiers: { disk: { hits: 1 } } })
    expect(await cache.get('key 0')).toBe(0)
    expect(cache.stats()).toMatchObject({ hits: 2, tiers: { memory: { hits: 1 }, disk: { hits: 1 } } })
    expect(await cache.metadata('key 0')).toMatchObject({ tier: 'memory' })
    await cache.close()

    const again = new TieredCache<number>({ memory: { maxEntries: 10 }, disk: { path } })
    onTestFinished(() => again.close())
    expect(await again.size()).toBe(100)
    for (let i = 0; i < 100; i++) expect(await again.get(`key ${i}`)).toBe(i)
    expect(again.stats()).toMatchObject({ hits: 100, misses: 0 })
  })

  it('loads what it lacks once, and nothing that failed', async () => {
    const path = await temporaryFolder()
    let loads = 0
    const load = async (key: string): Promise<string> => {
      loads++
      await new Promise(resolve => setImmediate(resolve))
      if (key === 'bad') throw new Error('no such page')
      return key.toUpperCase()
    }
    const cache = new TieredCache({ disk: { path }, load })
    onTestFinished(() => cache.close())
    expect(await Promise.all([cache.get('a'), cache.get('a'), cache.get('a')])).toEqual(['A', 'A', 'A'])
    expect(await cache.get('a')).toBe('A')
    expect(loads).toBe(1)
    await expect(cache.get('bad')).rejects.toThrow('no such page')
    await expect(cache.get('bad')).rejects.toThrow('no such page')
    expect(loads).toBe(3)
  })

  it('does not bring up what was set or removed while it was being loaded', async () => {
    const path = await temporaryFolder()
    let proceed: () => void = () => undefined
    const waiting = new Promise<void>(resolve => {
      proceed = resolve
    })
    const load = async (): Promise<string> => {
      await waiting
      return 'old'
    }
    const cache = new TieredCache<string>({ disk: { path }, load })
    onTestFinished(() => cache.close())
    await cache.open()
    const loading = Promise.all([cache.get('a'), cache.get('b')])
    await cache.set('a', 'new')
    await cache.delete('b')
    proceed()
    expect(await loading).toEqual(['old', 'old'])
    expect(await cache.get('a')).toBe('new')
    expect(await cache.has('b')).toBe(false)
  })

  it('lets go of what a disk cannot hold, and stays whole', async () => {
    const cache = new TieredCache<unknown>({
      memory: { maxEntries: 2 },
      disk: { path: await temporaryFolder() },
    })
    const value = (): number => 1
    await cache.set('function', value)
    expect(await cache.get('function')).toBe(value)
    for (let i = 0; i < 5; i++) await cache.set(`key ${i}`, i)
    expect(await cache.get('function')).toBeUndefined()
    expect(await cache.get('key 0')).toBe(0)
    await cache.set('function', value)
    await cache.close()
    expect(cache.stats().failure).toBeUndefined()
    await expect(cache.set('\udc00', 1)).rejects.toThrow('"key" must be well-formed')
    await expect(cache.set('a', 1, { tll: 1 } as never)).rejects.toThrow('Did you mean "ttl"?')
  })

  it('goes on in memory where the folder cannot be used', async () => {
    const folder = await temporaryFolder()
    await mkdir(join(folder, 'x'))
    await writeFile(join(folder, 'x', 'file'), '')
    const cache = new TieredCache({ disk: { path: join(folder, 'x', 'file') } })
    onTestFinished(() => cache.close())
    await cache.set('a', 1)
    expect(await cache.get('a')).toBe(1)
    expect(await cache.get('b')).toBeUndefined()
    expect(cache.stats().failure).toContain('cannot be opened')
  })

  it.each([
    [{}, 'needs the option "disk"'],
    [{ disk: 7 }, 'a cache, or the options of one, not 7'],
    [{ disk: { path: 'x' }, memory: { maxEntries: -1 } }, 'a whole number, 1 or more, not -1'],
    [{ disk: { path: 'x' }, ttl: 0 }, 'milliseconds above 0, not 0'],
  ])('refuses %o', (options, message) => {
    expect(() => new TieredCache(options as never)).toThrow(message)
  })
})
