import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ExportError } from '../../src/core/errors.ts'
import { type AtomicWriteOptions, atomicWrite } from '../../src/transfer/atomic-write.ts'
import { byteStream, rejection } from '../support/byte-streams.ts'

let folder: string
let path: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'varve-write-'))
  path = join(folder, 'state.json')
})

afterEach(async () => {
  await rm(folder, { recursive: true })
})

describe('a file that is written', () => {
  it('has all chunks, and its size is returned', async () => {
    expect(await atomicWrite(path, byteStream('one two three', [3, 4]))).toBe(13)
    expect(await readFile(path, 'utf8')).toBe('one two three')
    expect(await readdir(folder)).toStrictEqual(['state.json'])
  })

  it('may be empty', async () => {
    expect(await atomicWrite(path, byteStream(''))).toBe(0)
    expect(await readFile(path, 'utf8')).toBe('')
  })

  it('may be compressed', async () => {
    const text = 'text '.repeat(100_000)
    const size = await atomicWrite(path, byteStream(text, [10, 5_000, 70_000]), { gzip: true })
    const packed = await readFile(path)
    expect(packed.byteLength).toBe(size)
    expect(size).toBeLessThan(text.length / 10)
    expect(gunzipSync(packed).toString()).toBe(text)
  })

  it('replaces the former one only when it is complete, and keeps its permissions', async () => {
    await writeFile(path, 'former')
    await chmod(path, 0o600)
    async function* chunks() {
      yield Buffer.from('ne')
      expect(await readFile(path, 'utf8')).toBe('former')
      yield Buffer.from('w')
    }
    await atomicWrite(path, chunks())
    expect(await readFile(path, 'utf8')).toBe('new')
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  it('has nothing beside it that processes which died have left there a day ago', async () => {
    const names = ['.varve-11b03c9e-3b67-4b20-992c-16a1b627abea.tmp', '.varve-mine.tmp']
    const recent = '.varve-22b03c9e-3b67-4b20-992c-16a1b627abea.tmp'
    for (const name of [...names, recent]) await writeFile(join(folder, name), 'unfinished')
    const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000)
    for (const name of names) await utimes(join(folder, name), yesterday, yesterday)
    await atomicWrite(path, byteStream('new'))
    expect((await readdir(folder)).sort()).toStrictEqual([recent, '.varve-mine.tmp', 'state.json'].sort())
  })

  it('is the one that a symbolic link leads to', async () => {
    await mkdir(join(folder, 'elsewhere'))
    const file = join(folder, 'elsewhere', 'file')
    await writeFile(file, 'former')
    await symlink(file, path)
    await atomicWrite(path, byteStream('new'))
    expect((await lstat(path)).isSymbolicLink()).toBe(true)
    expect(await readFile(file, 'utf8')).toBe('new')
    expect(await readdir(join(folder, 'elsewhere'))).toStrictEqual(['file'])
  })

  it('is written as fast as chunks are produced, and no faster than it takes them', async () => {
    let produced = 0
    let size = 0
    async function* chunks() {
      for (; produced < 500; produced++) {
        const files = await readdir(folder)
        if (files.length > 0) size = (await stat(join(folder, files[0] as string))).size
        // What has been produced and not been written stays bounded.
        expect(produced * 10_000 - size).toBeLessThan(200_000)
        yield Buffer.alloc(10_000)
      }
    }
    expect(await atomicWrite(path, chunks())).toBe(5_000_000)
  })
})

describe('what fails leaves nothing behind, and the former file as it was', () => {
  async function expectUntouched(
    chunks: AsyncIterable<Uint8Array>,
    options: AtomicWriteOptions,
    expected: unknown,
  ): Promise<void> {
    await writeFile(path, 'former')
    expect(await rejection(atomicWrite(path, chunks, options))).toBe(expected)
    expect(await readFile(path, 'utf8')).toBe('former')
    expect(await readdir(folder)).toStrictEqual(['state.json'])
  }

  it.each([false, true])('a source that fails (gzip: %s)', async gzip => {
    const failure = new Error('no more')
    async function* chunks() {
      yield Buffer.alloc(200_000, 'x')
      throw failure
    }
    await expectUntouched(chunks(), { gzip }, failure)
  })

  it.each([false, true])('an abort (gzip: %s)', async gzip => {
    for (const reason of [new Error('enough'), 'enough']) {
      const controller = new AbortController()
      let ended = false
      async function* chunks() {
        try {
          for (let i = 0; ; i++) {
            if (i === 5) controller.abort(reason)
            yield Buffer.from(Uint8Array.from({ length: 50_000 }, () => Math.random() * 256))
          }
        } finally {
          ended = true
        }
      }
      await expectUntouched(chunks(), { gzip, signal: controller.signal }, reason)
      expect(ended).toBe(true)
    }
  })

  it('an abort after the last chunk', async () => {
    const controller = new AbortController()
    async function* chunks() {
      yield Buffer.from('new')
      controller.abort('too late')
    }
    await expectUntouched(chunks(), { signal: controller.signal }, 'too late')
  })

  it('an abort before the first', async () => {
    await expectUntouched(byteStream('new'), { signal: AbortSignal.abort('never') }, 'never')
  })
})

describe('what cannot be written is refused', () => {
  async function refusal(target: string): Promise<ExportError> {
    const error = await rejection(atomicWrite(target, byteStream('new')))
    expect(error).toBeInstanceOf(ExportError)
    expect(error).toMatchObject({ code: 'EXPORT', file: target })
    return error as ExportError
  }

  it('in a folder that is missing', async () => {
    expect((await refusal(join(folder, 'none', 'state.json'))).message).toContain('(ENOENT)')
  })

  it('over a folder', async () => {
    expect((await refusal(folder)).message).toContain('it is a folder')
    expect(await readdir(folder)).toStrictEqual([])
  })

  it('under a file', async () => {
    await writeFile(path, 'former')
    expect((await refusal(join(path, 'below'))).message).toContain('not a folder')
  })

  it('under a name that is too long', async () => {
    expect((await refusal(join(folder, 'x'.repeat(300)))).message).toContain('too long')
    expect(await readdir(folder)).toStrictEqual([])
  })
})
