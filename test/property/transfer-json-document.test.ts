import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ImportError } from '../../src/core/errors.ts'
import { readJsonDocument, writeJsonDocument } from '../../src/transfer/json-document.ts'
import { findJsonError } from '../../src/transfer/json-syntax.ts'
import { byteStream, collect, collectText, rejection, singleBytes } from '../support/byte-streams.ts'

/** A document that has everything a chunk boundary could cut. */
const RICH = `\ufeff { "other" : [ true , { "data" : "\\u00e9" } ] ,\r
"metadata":{"a":[]},"data":{"k\\"\\\\":"\\ud83d\\ude00 é€😀",
 "é€😀" : {"x":[1,-2.5e+3,[]],"y":null} , "n":-0.5E-7,"t" :true
,"__proto__":{"__proto__":1},"":""}\t,"more":{"}":"]"}}\n`

const strings = fc.string({ unit: 'binary' })
const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/)
const documents = fc
  .record({
    data: fc.array(fc.tuple(strings, fc.jsonValue({ depthSize: 'small' }))),
    metadata: fc.option(fc.jsonValue()),
    other: fc.jsonValue(),
    indent: fc.constantFrom('', ' ', '\t'),
    space,
    dataFirst: fc.boolean(),
  })
  .map(({ data, metadata, other, indent, space, dataFirst }) => {
    const members = data.map(
      ([key, value]) =>
        `${space}${JSON.stringify(key)}${space}:${JSON.stringify(value, null, indent)}${space}`,
    )
    const parts = [
      `"data"${space}:{${data.length === 0 ? space : members}}`,
      `"other":${space}${JSON.stringify(other)}${space}`,
      ...(metadata === null ? [] : [`"metadata":${JSON.stringify(metadata)}`]),
    ]
    return `${space}{${(dataFirst ? parts : parts.reverse()).join(',')}}${space}`
  })

async function readAll(stream: AsyncIterable<Uint8Array>) {
  const reader = readJsonDocument(stream, 'f')
  return { entries: await collect(reader), metadata: reader.metadata }
}

/** The entries and metadata, or the line of the error and what it is about. */
async function outcome(stream: AsyncIterable<Uint8Array>) {
  return readAll(stream).catch((error: unknown) => {
    expect(error).toBeInstanceOf(ImportError)
    const { line, message } = error as ImportError
    return { line, forRounding: isForRounding(message) }
  })
}

/** Whether an import was refused for an integer that `JSON.parse` takes, but for another one. */
function isForRounding(message: string): boolean {
  const [, digits, exponent = '0'] = /the integer (-?\d+)(?:[eE]\+?(\d+))? at/.exec(message) ?? []
  if (digits === undefined) return false
  return BigInt(digits) * 10n ** BigInt(exponent) !== BigInt(Number(`${digits}e${exponent}`))
}

/** What the standard library makes of the bytes; `undefined` for what is no document with `data`. */
function parse(bytes: Uint8Array): { data: object; metadata?: unknown } | undefined {
  try {
    const document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    const isObject =
      typeof document.data === 'object' && document.data !== null && !Array.isArray(document.data)
    return isObject ? document : undefined
  } catch {
    return undefined
  }
}

describe('chunk boundaries do not matter', () => {
  it('one cut, at each byte', async () => {
    const whole = await readAll(byteStream(RICH))
    expect(whole.entries).toHaveLength(6)
    const { length } = Buffer.from(RICH)
    for (let cut = 0; cut <= length; cut++)
      expect(await readAll(byteStream(RICH, [cut]))).toStrictEqual(whole)
    expect(await readAll(singleBytes(RICH))).toStrictEqual(whole)
  })

  it('any cuts of any document', async () => {
    await fc.assert(
      fc.asyncProperty(documents, fc.array(fc.nat(400)), async (text, cuts) => {
        const bytes = Buffer.from(text)
        const inside = cuts.map(cut => cut % (bytes.byteLength + 1))
        const whole = await readAll(byteStream(bytes))
        expect(await readAll(byteStream(bytes, inside))).toStrictEqual(whole)
        expect(await readAll(singleBytes(bytes))).toStrictEqual(whole)
      }),
    )
  })

  it('nor for what is refused, and on which line', async () => {
    await fc.assert(
      fc.asyncProperty(documents, fc.nat(), fc.nat(255), fc.nat(), async (text, at, byte, cut) => {
        const bytes = Buffer.from(text)
        bytes[at % bytes.byteLength] = byte
        const whole = await outcome(byteStream(bytes))
        expect(await outcome(byteStream(bytes, [cut % bytes.byteLength]))).toStrictEqual(whole)
        expect(await outcome(singleBytes(bytes))).toStrictEqual(whole)
      }),
      { numRuns: 300 },
    )
  })
})

describe('it takes what JSON.parse takes, and nothing else', () => {
  it('as the entries of a document with any byte changed', async () => {
    await fc.assert(
      fc.asyncProperty(documents, fc.nat(), fc.nat(255), async (text, at, byte) => {
        const bytes = Buffer.from(text)
        bytes[at % bytes.byteLength] = byte
        const result = await outcome(byteStream(bytes))
        const document = parse(bytes)
        if (!('entries' in result)) {
          if (!result.forRounding) expect(document).toBeUndefined()
          return
        }
        expect(Object.fromEntries(result.entries.map(({ key, value }) => [key, value]))).toStrictEqual(
          Object.fromEntries(Object.entries(document?.data ?? [])),
        )
        expect(result.metadata).toStrictEqual(document?.metadata)
      }),
      { numRuns: 1_000 },
    )
  })

  it('and the search for the error finds one exactly where JSON.parse refuses', () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '1',
      '-',
      '0',
      '.',
      'e',
      'true',
      '\\',
      '\\u00e9',
      ' ',
      '\n',
      '\t',
      'é',
      '\u0001',
      '"a":',
      '{"a":1}',
    )
    const texts = fc.oneof(
      fc.array(pieces, { maxLength: 12 }).map(parts => parts.join('')),
      fc.tuple(fc.json(), fc.nat(), pieces).map(([json, at, piece]) => {
        const cut = at % (json.length + 1)
        return json.slice(0, cut) + piece + json.slice(cut + (at % 2))
      }),
    )
    fc.assert(
      fc.property(texts, text => {
        let parses = true
        try {
          JSON.parse(text)
        } catch {
          parses = false
        }
        const bytes = Buffer.from(text.toWellFormed())
        expect(findJsonError(bytes, 0, bytes.byteLength, 'document') === undefined).toBe(parses)
      }),
      { numRuns: 5_000 },
    )
  })

  it('and not a document that was cut anywhere', async () => {
    const bytes = Buffer.from(RICH.trimEnd())
    for (let length = 0; length < bytes.byteLength; length++) {
      const error = await rejection(readAll(byteStream(bytes.subarray(0, length))))
      expect(error, `cut at ${length}`).toBeInstanceOf(ImportError)
    }
    await fc.assert(
      fc.asyncProperty(documents, fc.nat(), async (text, at) => {
        const whole = Buffer.from(text.trimEnd())
        const cut = whole.subarray(0, at % whole.byteLength)
        const error = await rejection(readAll(byteStream(cut)))
        expect(error).toBeInstanceOf(ImportError)
        expect((error as Error).message).toMatch(/truncated|empty/)
      }),
    )
  })
})

describe('what is written is read back', () => {
  it('with any keys and values', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.tuple(strings, fc.jsonValue()))),
        fc.dictionary(strings, fc.jsonValue()),
        async (batches, metadata) => {
          async function* exported() {
            for (const batch of batches)
              yield batch.map(([key, value]) => [key, JSON.stringify(value)] as const)
          }
          const plain = { ...metadata, types: 'plain' }
          const text = await collectText(writeJsonDocument(exported(), plain))
          const { entries, metadata: read } = await readAll(byteStream(text))
          const expected = batches
            .flat()
            .map(([key, value], i) => ({ key, value: JSON.parse(JSON.stringify(value)), line: i + 3 }))
          expect(entries).toStrictEqual(expected)
          expect(read).toStrictEqual(JSON.parse(JSON.stringify(plain)))
        },
      ),
    )
  })
})
