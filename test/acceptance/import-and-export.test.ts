import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { TransferProgress } from '../../src/index.ts'
import { ENGINES, openNew, temporaryFolder } from '../support/stores.ts'

const PLAIN = {
  'a/1': { text: 'Grüße\n"\u{1f30d}"', list: [1, null, true, { deep: [] }] },
  b: 'text',
  ['__proto__']: { polluted: true },
  'odd \0 \u2028': -1.5e-10,
  z: null,
}

const TYPED = {
  date: new Date(5),
  map: new Map([[{ a: 1 }, new Set([1n])]]),
  bytes: new Uint8Array([1, 2, 3]),
  odd: [-0, Number.NaN, undefined],
}

describe.each(ENGINES)('import and export, on %s', name => {
  it.each(['.json', '.jsonl', '.json.gz', '.jsonl.gz'])('to and from %s', async extension => {
    const state = await openNew(name)
    const file = join(await temporaryFolder(), `state${extension}`)
    await state.save(PLAIN)
    const summary = await state.exportData(file)
    const content = await readFile(file)
    expect(summary).toStrictEqual({ entries: 5, bytes: content.byteLength })
    const other = await openNew(name)
    await other.save({ b: 'other', c: 'not in the file' })
    const version = await other.createSnapshot()
    expect(await other.importData(file)).toMatchObject({ set: 5, deleted: 1, unchanged: 0 })
    expect(await other.load()).toStrictEqual(PLAIN)
    expect(await other.importData(file)).toMatchObject({ set: 0, deleted: 0, unchanged: 5 })
    // An import is a change of the state like any other.
    expect(await other.getSnapshotData(version)).toStrictEqual({ b: 'other', c: 'not in the file' })
    const text = (extension.endsWith('.gz') ? gunzipSync(content) : content).toString('utf8')
    if (extension.startsWith('.jsonl')) for (const line of text.trim().split('\n')) JSON.parse(line)
    else expect(JSON.parse(text)).toMatchObject({ data: PLAIN, metadata: { format: 'varve' } })
  })

  it('takes a file of another program, in any order and layout', async () => {
    const state = await openNew(name)
    const file = join(await temporaryFolder(), 'other.json')
    await writeFile(
      file,
      '\ufeff{ "x": [1, {"data": 0}],\r\n\t"data" : {\n "b":{"n" :\n1},"a":[ ]} , "metadata":{"by":"hand"} }\n',
    )
    await state.importData(file)
    expect(await state.load()).toStrictEqual({ a: [], b: { n: 1 } })
    await writeFile(file, '{"data":{}}')
    expect(await state.importData(file)).toMatchObject({ deleted: 2 })
    await writeFile(`${file}.gz`, gzipSync('{"data":{"from":"gzip"}}'))
    await state.importData(`${file}.gz`)
    expect(await state.load()).toStrictEqual({ from: 'gzip' })
  })

  it.each(['.json', '.jsonl'])(
    'refuses values that JSON does not carry, or tags them: %s',
    async extension => {
      const state = await openNew(name)
      const folder = await temporaryFolder()
      const file = join(folder, `state${extension}`)
      await state.save({ ...PLAIN, ...TYPED })
      await expect(state.exportData(file)).rejects.toMatchObject({
        code: 'UNSERIALIZABLE_VALUE',
        message: expect.stringContaining('"bytes"'),
      })
      await expect(readFile(file)).rejects.toMatchObject({ code: 'ENOENT' })
      await state.exportData(file, { types: 'tagged' })
      const other = await openNew(name)
      await other.importData(file)
      expect(await other.load()).toStrictEqual({ ...PLAIN, ...TYPED })
    },
  )

  it('exports one moment, whatever is written meanwhile', async () => {
    const state = await openNew(name, { compression: false })
    const keys = Array.from({ length: 400 }, (_, i) => `key ${String(i).padStart(4, '0')}`)
    const data = Object.fromEntries(keys.map(key => [key, key.repeat(1000)]))
    await state.save(data)
    const file = join(await temporaryFolder(), 'state.json')
    let writing: Promise<unknown> | undefined
    const summary = await state.exportData(file, {
      onProgress: () => {
        writing ??= state.save({ later: true })
      },
    })
    await writing
    expect(summary.entries).toBe(400)
    expect(await state.load()).toStrictEqual({ later: true })
    expect(JSON.parse(await readFile(file, 'utf8')).data).toStrictEqual(data)
  })

  it('reports progress', async () => {
    const state = await openNew(name)
    const file = join(await temporaryFolder(), 'state.json')
    await state.save(
      Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`key ${i}`, 'x'.repeat(500)])),
    )
    const exported: TransferProgress[] = []
    const { bytes } = await state.exportData(file, { onProgress: progress => exported.push(progress) })
    expect(exported.at(-1)).toMatchObject({ entries: 3000 })
    const imported: TransferProgress[] = []
    await state.importData(file, { onProgress: progress => imported.push(progress) })
    expect(imported.length).toBeGreaterThan(2)
    expect(imported.at(-1)).toStrictEqual({ entries: 3000, bytes, bytesTotal: bytes })
    for (const [i, { entries }] of imported.entries()) {
      expect(entries).toBeGreaterThanOrEqual(imported[i - 1]?.entries ?? 0)
    }
  })

  it('can be cancelled, and leaves the state as it was', async () => {
    const state = await openNew(name)
    const file = join(await temporaryFolder(), 'state.json')
    await state.save(
      Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`key ${i}`, 'x'.repeat(500)])),
    )
    await state.exportData(file)
    await state.save({ before: true })
    const controller = new AbortController()
    let calls = 0
    const importing = state.importData(file, {
      signal: controller.signal,
      onProgress: () => {
        if (++calls === 2) controller.abort()
      },
    })
    await expect(importing).rejects.toMatchObject({ name: 'AbortError' })
    expect(await state.load()).toStrictEqual({ before: true })
    await expect(state.importData(file, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: 'AbortError',
    })
    await expect(state.exportData(`${file}l`, { signal: AbortSignal.abort('stopped') })).rejects.toBe(
      'stopped',
    )
    expect(await state.verify()).toMatchObject({ ok: true })
  })

  it('refuses names whose format is unknown, and places that cannot be written', async () => {
    const state = await openNew(name)
    const folder = await temporaryFolder()
    await state.set('a', 1)
    for (const file of ['state.txt', 'state', 'state.gz', 'json', '']) {
      await expect(state.exportData(file && join(folder, file))).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      })
    }
    await mkdir(join(folder, 'folder.json'))
    for (const file of ['folder.json', 'missing/state.json']) {
      await expect(state.exportData(join(folder, file))).rejects.toMatchObject({ code: 'EXPORT' })
    }
  })
})
