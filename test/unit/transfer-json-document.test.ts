import { describe, expect, it } from 'vitest'
import { ImportError } from '../../src/core/errors.ts'
import type { EntryReader, ExportedEntry, ReadOptions } from '../../src/transfer/entries.ts'
import { readJsonDocument, writeJsonDocument } from '../../src/transfer/json-document.ts'
import { byteStream, collect, collectText, rejection, singleBytes } from '../support/byte-streams.ts'
import { INVALID, NOT_UTF8, VALID } from '../support/json-cases.ts'

function read(content: string | Uint8Array, options?: ReadOptions): EntryReader {
  return readJsonDocument(byteStream(content), 'state.json', options)
}

async function refusal(content: string | Uint8Array, options?: ReadOptions): Promise<ImportError> {
  const error = await rejection(collect(read(content, options)))
  expect(error).toBeInstanceOf(ImportError)
  expect(error).toMatchObject({ code: 'IMPORT', file: 'state.json' })
  return error as ImportError
}

async function* batchesOf(...batches: readonly ExportedEntry[][]): AsyncGenerator<readonly ExportedEntry[]> {
  yield* batches
}

const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)

describe('what is JSON is read as JSON.parse reads it', () => {
  it.each(Object.entries(VALID))('%s', async (_, text) => {
    const value: unknown = JSON.parse(text)
    const asMember = await collect(read(`{"data":{"k":${text},"l":0}}`))
    expect(asMember).toStrictEqual([
      { key: 'k', value, line: 1 },
      { key: 'l', value: 0, line: 1 + (text.split('\n').length - 1) },
    ])
    expect(await collect(read(`{"data":{"k":[${text}]}}`))).toStrictEqual([
      { key: 'k', value: [value], line: 1 },
    ])
    expect(await collect(read(`{"other":${text},"data":{}}`))).toStrictEqual([])
    const reader = read(`{"data":{},"metadata":${text}}`)
    await collect(reader)
    expect(reader.metadata).toStrictEqual(value)
  })

  it('takes any strings as keys', async () => {
    const keys = Object.entries(VALID).filter(([, text]) => text.startsWith('"'))
    const entries = await collect(read(`{"data":{${keys.map(([, text]) => `${text} : 1`)}}}`))
    expect(entries.map(entry => entry.key)).toStrictEqual(keys.map(([, text]) => JSON.parse(text)))
  })
})

describe('what is not JSON is refused, wherever it stands', () => {
  it.each(Object.entries(INVALID))('%s', async (_, text) => {
    await refusal(`{"data":{"k":${text}}}`)
    await refusal(`{"data":{"j":0,"k":[${text},{}],"l":0}}`)
    await refusal(`{"data":{},"metadata":${text}}`)
    await refusal(`{"other":${text},"data":{}}`)
    await refusal(text)
  })

  it.each(Object.entries(NOT_UTF8))('%s, as UTF-8', async (_, bytes) => {
    const around = (before: string, after: string) =>
      Buffer.concat([Buffer.from(before), Buffer.from(bytes), Buffer.from(after)])
    for (const document of [
      around('{"data":{"k":"', '"}}'),
      around('{"data":{"', '":0}}'),
      around('{"other":"', '","data":{}}'),
      around('{"data":{}}', ''),
      around('', '{"data":{}}'),
    ]) {
      await refusal(document)
    }
    expect(await refusal(around('{"data":{\n"j":"é",\n"k":"', '"\n}}'))).toMatchObject({
      line: 3,
      message: expect.stringContaining('UTF-8'),
    })
  })

  it('UTF-16', async () => {
    await refusal(Buffer.from('{"data":{}}', 'utf16le'))
    await refusal(Buffer.from('\ufeff{"data":{}}', 'utf16le'))
  })
})

describe('the document', () => {
  it('has its members in any order, with any space, and others beside them', async () => {
    const text =
      ' \r\n{ "before" : [1, {"data": {"no": 1}}],\t"metadata":{"a":1} , "data" : {\n"k" : 1 , "l":2\n},\n"after":"x" }\n '
    const reader = read(text)
    expect(await collect(reader)).toStrictEqual([
      { key: 'k', value: 1, line: 3 },
      { key: 'l', value: 2, line: 3 },
    ])
    expect(reader.metadata).toStrictEqual({ a: 1 })
  })

  it('may begin with a byte order mark', async () => {
    const entries = [{ key: 'k', value: 1, line: 1 }]
    const marked = '\ufeff{"data":{"k":1}}'
    expect(await collect(read(marked))).toStrictEqual(entries)
    expect(await collect(readJsonDocument(singleBytes(marked), 'f'))).toStrictEqual(entries)
    await refusal('\ufeff\ufeff{"data":{}}')
  })

  it('may escape the names "data" and "metadata"', async () => {
    const reader = read('{"meta\\u0064ata":1,"\\u0064ata":{"k":1}}')
    expect(await collect(reader)).toHaveLength(1)
    expect(reader.metadata).toBe(1)
  })

  it('has its metadata known before the first entry, where they come first', async () => {
    const reader = read('{"metadata":{"a":1},"data":{"k":1}}')
    expect(reader.metadata).toBeUndefined()
    for await (const _ of reader) expect(reader.metadata).toStrictEqual({ a: 1 })
    const late = read('{"data":{"k":1},"metadata":{"a":1}}')
    for await (const _ of late) expect(late.metadata).toBeUndefined()
    expect(late.metadata).toStrictEqual({ a: 1 })
  })

  it('gives repeated keys with their lines, and the last of repeated names inside of a value', async () => {
    expect(await collect(read('{"data":{\n"k":{"a":1,"a":2},\n\n"k":3}}'))).toStrictEqual([
      { key: 'k', value: { a: 2 }, line: 2 },
      { key: 'k', value: 3, line: 4 },
    ])
  })

  it('gives __proto__ as a key and as a member like any other', async () => {
    const [first, second] = await collect(read('{"data":{"__proto__":{"x":1},"k":{"__proto__":{"x":1}}}}'))
    expect(first).toStrictEqual({ key: '__proto__', value: { x: 1 }, line: 1 })
    expect(Object.keys(second?.value as object)).toStrictEqual(['__proto__'])
    expect((second as { value: { x?: number } }).value.x).toBeUndefined()
  })

  it.each([
    ['an empty file', '', 'is empty'],
    ['only space', ' \n\t\r\n', 'is empty'],
    ['only a byte order mark', '\ufeff', 'is empty'],
    ['an array', '[{"data":{}}]', 'found "["'],
    ['a string', '"data"', 'found a string'],
    ['a number', '12', 'found "12"'],
    ['a word', 'hello', 'found "hello"'],
    ['no data', '{"metadata":{}}', 'lacks "data"'],
    ['no member', '{ }', 'lacks "data"'],
    ['data in another case', '{"Data":{}}', 'lacks "data"'],
    ['data that is null', '{"data":null}', '"data" is null'],
    ['data that is an array', '{"data":[1]}', '"data" is an array'],
    ['data that is a string', '{"data":"{}"}', '"data" is a string'],
    ['data that is a number', '{"data":1}', '"data" is a number'],
    ['data that is true', '{"data":true}', '"data" is a boolean'],
    ['data twice', '{"data":{},"data":{}}', '"data" is given twice'],
    ['metadata twice', '{"metadata":{},"data":{},"metadata":{}}', '"metadata" is given twice'],
    ['a second document', '{"data":{}}{"data":{}}', 'nothing after the end'],
    ['text after it', '{"data":{}} x', 'nothing after the end'],
    ['a comma after it', '{"data":{}},', 'nothing after the end'],
    ['one brace too many', '{"data":{}}}', 'nothing after the end'],
    ['a comma before its end', '{"data":{},}', 'the name of a member'],
    ['a comma before the end of data', '{"data":{"k":1,}}', 'the name of a member'],
    ['a comma at its start', '{,"data":{}}', 'the name of a member'],
    ['a comma at the start of data', '{"data":{,"k":1}}', 'the name of a member'],
    ['no comma', '{"data":{} "metadata":{}}', '"," or "}"'],
    ['no colon', '{"data" {}}', '":"'],
    ['data closed as an array', '{"data":{"k":1]}', '"," or "}"'],
    ['typed values announced too late', '{"data":{"k":1},"metadata":{"types":"tagged"}}', 'Move "metadata"'],
  ])('is refused: %s', async (_, text, problem) => {
    expect((await refusal(text)).message).toContain(problem)
  })

  it.each([
    ['{"data":{\n"a":1,\n"b":[1,\n2,\nx]}}', 5, 'expected a value, found "x"'],
    ['{"data":{\n"a":1\n"b":2}}', 3, '"," or "}" after a member'],
    ['{"data":{\n"a":"no end,\n"b":2}}', 2, 'closing quote'],
    ['{"data":{\n"a":{"b":[1,2},\n"c":2}}', 2, '"," or "]" after an element'],
    ['{"data":{\n"a":[1,\n"b":2,\n"c":3}}', 3, 'found ":"'],
    ['{"data":{\r\n"a":1,\r\n"b":\'x\'}}', 3, 'expected a value, found "\'x\'"'],
    ['{"data":{\n"a":1\n},\n"more":[\n01]}', 5, 'found "01"'],
    ['{"data":{\n"a":1\n}\n}\n\nx', 6, 'found "x"'],
    ['{"data":{\n"a":{\n"b":1', 3, 'truncated'],
    ['{"metadata":1,\n"data":\n7}', 3, 'is a number'],
    ['{"data":{},\n\n"data":{}}', 3, 'given twice'],
  ])('says what is wrong and on which line: %j', async (text, line, problem) => {
    expect(await refusal(text)).toMatchObject({ line, message: expect.stringContaining(problem) })
    expect((await refusal(text)).message).toContain(`"state.json", line ${line}: `)
  })
})

describe('bounds', () => {
  it('refuses nesting that is too deep without overflowing the stack', async () => {
    expect(await collect(read(`{"data":{"k":${nested(1_000)}}}`))).toHaveLength(1)
    for (const levels of [100_000, 5_000]) {
      for (const text of [
        `{"data":{"k":${nested(levels)}}}`,
        `{"other":${nested(levels)},"data":{}}`,
        `{"data":{},"metadata":${nested(levels)}}`,
        `{"data":{"k":${'['.repeat(levels)}`,
        `{"data":{"k":${'{"a":'.repeat(levels)}`,
      ]) {
        expect((await refusal(text)).message).toContain('nested more than')
      }
    }
    await refusal('['.repeat(100_000))
    await refusal('{"data":'.repeat(100_000))
  })

  it('refuses a member larger than maxValueBytes, however the file is cut', async () => {
    const member = '"k":"0123456789"'
    const document = `{"other":[],"data":{ ${member} , "l" : 1}}`
    const bounded = (maxValueBytes: number) => [
      read(document, { maxValueBytes }),
      readJsonDocument(singleBytes(document), 'state.json', { maxValueBytes }),
    ]
    for (const reader of bounded(member.length + 2)) expect(await collect(reader)).toHaveLength(2)
    for (const reader of bounded(member.length + 1)) {
      const error = await rejection(collect(reader))
      expect(error).toBeInstanceOf(ImportError)
      expect((error as Error).message).toContain('maxValueBytes')
    }
  })

  it('refuses metadata above 16 MiB', async () => {
    const document = `{"data":{},"metadata":"${'x'.repeat(17 * 1024 * 1024)}"}`
    expect((await refusal(document)).message).toContain('takes more than')
  })

  it('reads a value that spans many chunks in linear time', async () => {
    const size = 8 * 1024 * 1024
    async function* chunks() {
      yield Buffer.from('{"data":{"k":["')
      for (let i = 0; i < size / 1024; i++) yield Buffer.alloc(1024, 'x')
      yield Buffer.from('"]}}')
    }
    const [entry] = await collect(readJsonDocument(chunks(), 'f'))
    expect((entry as { value: string[] }).value[0]).toHaveLength(size)
    // Scanning it anew with each chunk takes half a minute.
  }, 5_000)

  it.each([
    ['a member without end', '{"data":{"k":["', 'x', 'takes more than'],
    ['metadata without end', '{"metadata":["', 'x', 'takes more than'],
    ['an ignored member without end', '{"other":["', 'x', 'takes more than'],
    ['a string that lacks its closing quote', '{"data":{"k":["abc\n', '"l":1,', 'closing quote'],
    ['a bracket that is not closed', '{"data":{"k":[1,\n', '"l":1,', 'found ":"'],
  ])('does not read on and on after %s', async (_, start, more, problem) => {
    let produced = 0
    async function* endless() {
      yield Buffer.from(start)
      for (; ; produced += 6_000) yield Buffer.from(more.repeat(6_000 / more.length))
    }
    const error = await rejection(collect(readJsonDocument(endless(), 'f', { maxValueBytes: 1_000_000 })))
    expect(error).toBeInstanceOf(ImportError)
    expect((error as Error).message).toContain(problem)
    expect(produced).toBeLessThan(problem === 'closing quote' ? 20_000 : 1_100_000)
  })

  it('keeps characters whole as it moves on through the file', async () => {
    const emoji = '\u{1F600}€'.repeat(20)
    const text = `{"data":{${Array.from({ length: 20_000 }, (_, i) => `"${i}":"${emoji}"`)}}}`
    const bytes = Buffer.from(text)
    async function* chunks() {
      for (let at = 0; at < bytes.byteLength; at += 997) yield bytes.subarray(at, at + 997)
    }
    const entries = await collect(readJsonDocument(chunks(), 'f'))
    expect(entries).toHaveLength(20_000)
    expect(entries.every(({ key, value }, i) => key === String(i) && value === emoji)).toBe(true)
  })
})

describe('the source', () => {
  it('is ended, and the reason thrown, when the signal aborts', async () => {
    const controller = new AbortController()
    const reason = new Error('no longer wanted')
    let ended = false
    async function* source() {
      try {
        yield Buffer.from('{"data":{"a":1,')
        controller.abort(reason)
        yield Buffer.from('"b":2,')
        expect.unreachable()
      } finally {
        ended = true
      }
    }
    const keys: string[] = []
    const reading = async () => {
      const reader = readJsonDocument(source(), 'f', { signal: controller.signal })
      for await (const batch of reader) keys.push(...batch.map(entry => entry.key))
    }
    expect(await rejection(reading())).toBe(reason)
    expect(keys).toStrictEqual(['a'])
    expect(ended).toBe(true)
  })

  it('has its own errors thrown as they are', async () => {
    const failure = new Error('disk on fire')
    async function* source() {
      yield Buffer.from('{"data":{')
      throw failure
    }
    expect(await rejection(collect(readJsonDocument(source(), 'f')))).toBe(failure)
  })
})

describe('writing', () => {
  it('puts the metadata first, and each entry on a line of its own', async () => {
    const text = await collectText(
      writeJsonDocument(batchesOf([['a', '{"x":1}']], [], [['"\n', '[]']]), { format: 1 }),
    )
    expect(text).toBe('{"metadata":{"format":1},\n"data":{\n"a":{"x":1},\n"\\"\\n":[]\n}}\n')
    expect(JSON.parse(text)).toStrictEqual({ metadata: { format: 1 }, data: { a: { x: 1 }, '"\n': [] } })
  })

  it('writes an empty state', async () => {
    const text = await collectText(writeJsonDocument(batchesOf(), {}))
    expect(JSON.parse(text)).toStrictEqual({ metadata: {}, data: {} })
    expect(await collect(read(text))).toStrictEqual([])
  })

  it('writes chunks of about 64 KiB, as the entries come', async () => {
    let given = 0
    async function* batches() {
      for (; given < 1_000; given++) yield [[`key ${given}`, `"${'é'.repeat(500)}"`] as const]
    }
    const sizes: number[] = []
    for await (const chunk of writeJsonDocument(batches(), {})) {
      if (sizes.length === 0) expect(given).toBeLessThan(200)
      sizes.push(chunk.byteLength)
    }
    expect(sizes.length).toBeGreaterThan(5)
    expect(Math.max(...sizes)).toBeLessThan(160 * 1024)
  })
})
