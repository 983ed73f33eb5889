import { describe, expect, it } from 'vitest'
import { ImportError } from '../../src/core/errors.ts'
import type { EntryReader, ExportedEntry, ReadOptions } from '../../src/transfer/entries.ts'
import { readJsonLines, writeJsonLines } from '../../src/transfer/json-lines.ts'
import { byteStream, collect, collectText, rejection, singleBytes } from '../support/byte-streams.ts'
import { INVALID, NOT_UTF8, VALID } from '../support/json-cases.ts'

function read(content: string | Uint8Array, options?: ReadOptions): EntryReader {
  return readJsonLines(byteStream(content), 'state.jsonl', options)
}

async function refusal(content: string | Uint8Array, options?: ReadOptions): Promise<ImportError> {
  const error = await rejection(collect(read(content, options)))
  expect(error).toBeInstanceOf(ImportError)
  expect(error).toMatchObject({ code: 'IMPORT', file: 'state.jsonl' })
  return error as ImportError
}

const A = '{"key":"a","value":1}'
const B = '{"value":{"x":[]},"key":"b"}'
const ENTRY_A = { key: 'a', value: 1, line: 1 }

describe('lines', () => {
  it.each([
    ['ended by LF', `${A}\n${B}\n`],
    ['ended by CRLF', `${A}\r\n${B}\r\n`],
    ['without an end of the last', `${A}\n${B}`],
    ['after a byte order mark', `\ufeff${A}\n${B}\n`],
    ['with space around', ` \t${A} \n\t${B}\t`],
  ])('%s', async (_, text) => {
    const expected = [ENTRY_A, { key: 'b', value: { x: [] }, line: 2 }]
    expect(await collect(read(text))).toStrictEqual(expected)
    expect(await collect(readJsonLines(singleBytes(text), 'f'))).toStrictEqual(expected)
    for (let cut = 1; cut < Buffer.from(text).byteLength; cut++) {
      expect(await collect(readJsonLines(byteStream(text, [cut]), 'f'))).toStrictEqual(expected)
    }
  })

  it('that are blank are ignored, and counted', async () => {
    const entries = await collect(read(`\n  \n${A}\n\r\n\t\n${B}\n\n`))
    expect(entries.map(entry => entry.line)).toStrictEqual([3, 6])
  })

  it('may have other members, and members twice', async () => {
    expect(
      await collect(read('{"key":"x","at":[1],"key":"a","value":0,"value":1,"metadata":2}')),
    ).toStrictEqual([ENTRY_A])
  })

  it('may repeat keys, and have any', async () => {
    const keys = ['', '__proto__', '\u0000', 'a', 'a']
    const text = keys.map(key => `{"key":${JSON.stringify(key)},"value":null}`).join('\n')
    expect((await collect(read(text))).map(entry => entry.key)).toStrictEqual(keys)
  })

  it.each(Object.entries(VALID).filter(([, text]) => !text.includes('\n')))('with %s', async (_, text) => {
    const value: unknown = JSON.parse(text)
    expect(await collect(read(`${A}\n{"key":"k","value":${text}}`))).toStrictEqual([
      ENTRY_A,
      { key: 'k', value, line: 2 },
    ])
    expect((await readerAfter(`{"metadata":${text}}`)).metadata).toStrictEqual(value)
  })

  it.each(Object.entries(INVALID))('are refused with %s', async (_, text) => {
    expect((await refusal(`${A}\n{"key":"k","value":${text}}\n${B}`)).line).toBe(2)
    await refusal(`{"metadata":${text}}`)
  })

  it.each(Object.entries(NOT_UTF8))('are refused with %s, as UTF-8', async (_, bytes) => {
    const text = Buffer.concat([
      Buffer.from(`${A}\n{"key":"k","value":"`),
      Buffer.from(bytes),
      Buffer.from('"}'),
    ])
    expect((await refusal(text)).line).toBe(2)
  })
})

async function readerAfter(text: string): Promise<EntryReader> {
  const reader = read(text)
  await collect(reader)
  return reader
}

describe('metadata', () => {
  it('are those of the first line, and known before the first entry', async () => {
    const reader = read(`\n{"metadata":{"types":"tagged"}}\n${A}`)
    expect(reader.metadata).toBeUndefined()
    for await (const batch of reader) {
      expect(reader.metadata).toStrictEqual({ types: 'tagged' })
      expect(batch).toStrictEqual([{ ...ENTRY_A, line: 3 }])
    }
  })

  it('may be all there is, and may be missing', async () => {
    expect(await collect(read('{"metadata":{}}'))).toStrictEqual([])
    expect((await readerAfter(A)).metadata).toBeUndefined()
  })
})

describe('what is refused', () => {
  it.each([
    ['an empty file', '', undefined, 'is empty'],
    ['only blank lines', '\n \r\n', undefined, 'is empty'],
    ['an array', `${A}\n["a",1]`, 2, 'the line is not an object'],
    ['a scalar', `${A}\n\n1`, 3, 'the line is not an object'],
    ['no key', '{"value":1}', 1, 'lacks "key"'],
    ['an empty object', '{}', 1, 'lacks "key"'],
    ['no value', '{"key":"a"}', 1, 'lacks "value"'],
    ['a key that is a number', '{"key":1,"value":1}', 1, '"key" is not a string'],
    ['a key that is null', '{"key":null,"value":1}', 1, '"key" is not a string'],
    ['metadata after an entry', `${A}\n{"metadata":{}}`, 2, 'only the first line'],
    ['metadata twice', '{"metadata":{}}\n{"metadata":{}}', 2, 'only the first line'],
    ['two objects on a line', `${A}${B}`, 1, 'nothing after the value'],
    ['a comma at the end of a line', `${A},\n${B}`, 1, 'nothing after the value'],
    ['an object on two lines', '{"key":"a",\n"value":1}', 1, 'the name of a member'],
    ['a cut line', `${A}\n${B.slice(0, -1)}`, 2, '"," or "}"'],
    ['a document', '{"metadata":{},\n"data":{}}', 1, 'the name of a member'],
    ['a whole document on one line', '{"data":{}}', 1, 'lacks "key"'],
    ['a byte order mark on a later line', `${A}\n\ufeff${B}`, 2, 'expected a value'],
    ['nesting too deep', `{"key":"a","value":${'['.repeat(1e5)}${']'.repeat(1e5)}}`, 1, 'nested more than'],
    ['nesting too deep and not closed', `{"key":"a","value":${'['.repeat(1e5)}`, 1, 'nested more than'],
  ])('%s', async (_, text, line, problem) => {
    expect(await refusal(text)).toMatchObject({ line, message: expect.stringContaining(problem) })
  })

  it('a line longer than maxValueBytes, however the file is cut', async () => {
    const text = `${A}\n${B}\n${A}`
    const bounded = (maxValueBytes: number) => [
      read(text, { maxValueBytes }),
      readJsonLines(singleBytes(text), 'state.jsonl', { maxValueBytes }),
    ]
    for (const reader of bounded(B.length)) expect(await collect(reader)).toHaveLength(3)
    for (const reader of bounded(B.length - 1)) {
      expect(await rejection(collect(reader))).toMatchObject({ code: 'IMPORT', line: 2 })
    }
  })

  it('a line without end, without reading on and on', async () => {
    let produced = 0
    async function* endless() {
      yield Buffer.from('{"key":"a","value":"')
      for (; ; produced += 1_000) yield Buffer.alloc(1_000, 'x')
    }
    const error = await rejection(collect(readJsonLines(endless(), 'f', { maxValueBytes: 100_000 })))
    expect(error).toBeInstanceOf(ImportError)
    expect(produced).toBeLessThan(110_000)
  })

  it('metadata above 16 MiB', async () => {
    expect((await refusal(`{"metadata":"${'x'.repeat(17 * 1024 * 1024)}"}`)).message).toContain(
      'takes more than',
    )
  })

  it('what comes after the signal aborts', async () => {
    const controller = new AbortController()
    async function* source() {
      yield Buffer.from(`${A}\n`)
      controller.abort('enough')
      yield Buffer.from(`${B}\n`)
    }
    const { signal } = controller
    expect(await rejection(collect(readJsonLines(source(), 'f', { signal })))).toBe('enough')
  })
})

describe('writing', () => {
  async function* batchesOf(
    ...batches: readonly ExportedEntry[][]
  ): AsyncGenerator<readonly ExportedEntry[]> {
    yield* batches
  }

  it('puts the metadata first, then one entry a line', async () => {
    const text = await collectText(
      writeJsonLines(batchesOf([['a', '1']], [], [['"\n', '{"x":[]}']]), { n: 1 }),
    )
    expect(text).toBe('{"metadata":{"n":1}}\n{"key":"a","value":1}\n{"key":"\\"\\n","value":{"x":[]}}\n')
    expect((await collect(read(text))).map(entry => entry.key)).toStrictEqual(['a', '"\n'])
  })

  it('writes an empty state so that it can be read', async () => {
    const text = await collectText(writeJsonLines(batchesOf(), {}))
    expect(text).toBe('{"metadata":{}}\n')
    expect(await collect(read(text))).toStrictEqual([])
  })

  it('writes chunks of about 64 KiB', async () => {
    const batch = Array.from({ length: 1_000 }, (_, i) => [`key ${i}`, `"${'x'.repeat(500)}"`] as const)
    const sizes: number[] = []
    for await (const chunk of writeJsonLines(batchesOf([...batch]), {})) sizes.push(chunk.byteLength)
    expect(sizes.length).toBeGreaterThan(5)
    expect(Math.max(...sizes)).toBeLessThan(80 * 1024)
  })
})
