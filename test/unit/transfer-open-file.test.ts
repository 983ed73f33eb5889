import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImportError } from '../../src/core/errors.ts'
import { type ImportProgress, isGzipName, openImport } from '../../src/transfer/open-file.ts'
import { collectText, rejection } from '../support/byte-streams.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'varve-open-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true })
})

async function fileOf(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

/** Bytes that gzip cannot make much smaller. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = 1
  for (let i = 0; i < length; i++) {
    state = (state * 48_271) % 0x7fffffff
    bytes[i] = state >> 8
  }
  return bytes
}

async function refusal(path: string): Promise<ImportError> {
  const error = await rejection(collectText(openImport(path)))
  expect(error).toBeInstanceOf(ImportError)
  expect(error).toMatchObject({ code: 'IMPORT', file: path, line: undefined })
  return error as ImportError
}

it('tells a compressed file by its name', () => {
  expect(['a.gz', 'a.json.GZ'].every(isGzipName)).toBe(true)
  expect(['a.json', 'gz', 'a.gz.json', ''].some(isGzipName)).toBe(false)
})

describe('the contents', () => {
  const content = noise(700_000)

  it.each([
    ['as they are', 'a.json', content],
    ['unpacked', 'a.json.gz', gzipSync(content)],
    [
      'of several compressed parts',
      'a.GZ',
      Buffer.concat([gzipSync(content.subarray(0, 9)), gzipSync(content.subarray(9))]),
    ],
  ])('%s', async (_, name, stored) => {
    const path = await fileOf(name, stored)
    const progress: ImportProgress[] = []
    const chunks: Uint8Array[] = []
    for await (const chunk of openImport(path, { onProgress: step => progress.push(step) }))
      chunks.push(chunk)
    expect(Buffer.concat(chunks).equals(content)).toBe(true)
    expect(progress.length).toBeGreaterThan(2)
    expect(progress.every(step => step.bytesTotal === stored.byteLength)).toBe(true)
    expect(progress.at(-1)?.bytesRead).toBe(stored.byteLength)
    const read = progress.map(step => step.bytesRead)
    expect(read).toStrictEqual([...read].sort((a, b) => a - b))
  })

  it('of an empty file', async () => {
    expect(await collectText(openImport(await fileOf('a.json', '')))).toBe('')
  })

  it('only as far as they are taken', async () => {
    const path = await fileOf('bomb.gz', gzipSync(Buffer.alloc(50_000_000)))
    let taken = 0
    for await (const chunk of openImport(path)) {
      taken += chunk.byteLength
      if (taken > 1_000_000) break
    }
    expect(taken).toBeLessThan(2_000_000)
  })
})

describe('what cannot be opened is refused', () => {
  it('a missing file', async () => {
    expect((await refusal(join(folder, 'none.json'))).message).toContain('there is no such file')
    expect((await refusal(join(folder, 'none', 'none.gz'))).message).toContain('(ENOENT)')
  })

  it('a folder', async () => {
    expect((await refusal(folder)).message).toContain('it is a folder')
    const named = join(folder, 'folder.gz')
    await mkdir(named)
    expect((await refusal(named)).message).toContain('it is a folder')
  })

  it('a path through a file', async () => {
    expect((await refusal(join(await fileOf('a', ''), 'b'))).message).toContain('not a folder')
  })

  it('data that are not compressed', async () => {
    expect((await refusal(await fileOf('a.json.gz', '{"data":{}}'))).message).toContain('not gzip data')
  })

  it('compressed data that are cut anywhere', async () => {
    const whole = gzipSync(noise(100))
    for (let length = 1; length < whole.byteLength; length++) {
      const error = await refusal(await fileOf('cut.gz', whole.subarray(0, length)))
      expect(error.message, `cut at ${length}`).toContain('truncated')
    }
  })

  it('compressed data with a byte changed', async () => {
    const whole = gzipSync(noise(100))
    for (let at = 20; at < whole.byteLength; at++) {
      const damaged = Buffer.from(whole)
      damaged[at] = (damaged[at] as number) ^ 0x10
      expect((await refusal(await fileOf('damaged.gz', damaged))).message).toMatch(/damaged|truncated/)
    }
  })

  it('compressed data with something else behind', async () => {
    await refusal(await fileOf('a.gz', Buffer.concat([gzipSync('{}'), Buffer.from('more')])))
  })
})

describe('the signal', () => {
  it.each(['a.json', 'a.json.gz'])('ends the reading of %s with its reason', async name => {
    const path = await fileOf(name, name.endsWith('.gz') ? gzipSync(noise(2_000_000)) : noise(2_000_000))
    for (const reason of [new Error('enough'), 'enough']) {
      const controller = new AbortController()
      const { signal } = controller
      const onProgress = () => controller.abort(reason)
      expect(await rejection(collectText(openImport(path, { signal, onProgress })))).toBe(reason)
      expect(await rejection(collectText(openImport(path, { signal })))).toBe(reason)
    }
  })

  it.each(['a.json', 'a.json.gz'])('may be an error of the progress callback: %s', async name => {
    const path = await fileOf(name, name.endsWith('.gz') ? gzipSync('{}') : '{}')
    const failure = new Error('broken progress bar')
    const onProgress = () => {
      throw failure
    }
    expect(await rejection(collectText(openImport(path, { onProgress })))).toBe(failure)
  })
})
