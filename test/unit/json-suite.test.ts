import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import { createPersistence, ImportError, memory, type Persistence } from '../../src/index.ts'
import { INVALID, NOT_UTF8, UNDEFINED, VALID } from '../support/json-cases.ts'
import { scratchFolder } from '../support/stores.ts'

/*
 * The categories of JSONTestSuite (by Nicolas Seriot, "Parsing JSON is a Minefield"), with texts of our own: y_ must be
 * taken, n_ must be refused, i_ is for the reader to decide. Each text is put in every place that a value can have, and what is
 * refused must leave the state as it was.
 */

/** Where a value can stand in a document. */
const PLACES: Readonly<Record<string, (text: string) => string>> = {
  'as a value': text => `{"data":{"k":${text}}}`,
  'in an array': text => `{"data":{"k":[1,${text}]}}`,
  'as a member': text => `{"data":{"k":{"a":${text},"b":2}}}`,
  'as metadata': text => `{"metadata":{"x":${text}},"data":{}}`,
}

/** Documents that are JSON, and the keys and values that they have; and others, by what is wrong with them. */
const DOCUMENTS: Readonly<Record<string, { readonly text: string; readonly taken: boolean }>> = {
  'no data': { text: '{"data":{}}', taken: true },
  'a byte order mark before it': { text: '\ufeff{"data":{"a":1}}', taken: true },
  'space around it': { text: ' \r\n\t{ "data" : { } } \n', taken: true },
  'other members': { text: '{"x":[1],"data":{"a":1},"y":null}', taken: true },
  'an empty text': { text: '', taken: false },
  'space alone': { text: ' \n', taken: false },
  'a byte order mark alone': { text: '\ufeff', taken: false },
  'two byte order marks': { text: '\ufeff\ufeff{"data":{}}', taken: false },
  'an array': { text: '[{"data":{}}]', taken: false },
  'a number': { text: '1', taken: false },
  'a string': { text: '"data"', taken: false },
  null: { text: 'null', taken: false },
  'data that is an array': { text: '{"data":[]}', taken: false },
  'data that is null': { text: '{"data":null}', taken: false },
  'data twice': { text: '{"data":{},"data":{}}', taken: false },
  'the same key twice': { text: '{"data":{"a":1,"a":1}}', taken: false },
  'an empty key': { text: '{"data":{"":1}}', taken: false },
  'a key with a lone surrogate': { text: '{"data":{"\\ud800":1}}', taken: false },
  'two documents': { text: '{"data":{}}{"data":{}}', taken: false },
  'text after it': { text: '{"data":{}}x', taken: false },
  'a comma after it': { text: '{"data":{}},', taken: false },
  'NUL after it': { text: '{"data":{}}\u0000', taken: false },
  'a comment after it': { text: '{"data":{}}/**/', taken: false },
  'a closing brace too many': { text: '{"data":{}}}', taken: false },
  'a closing brace missing': { text: '{"data":{}', taken: false },
  'a comma at its end': { text: '{"data":{},}', taken: false },
  'a comma at the end of data': { text: '{"data":{"a":1,}}', taken: false },
  'no colon': { text: '{"data"{}}', taken: false },
  'an open string': { text: '{"data":{"a', taken: false },
  'no quotes': { text: '{data:{}}', taken: false },
}

describe('.json import, by the categories of JSONTestSuite', () => {
  const stored = { kept: true }
  let state: Persistence
  let file: string
  let cases = 0

  beforeAll(async () => {
    file = join(await scratchFolder(), 'case.json')
    state = await createPersistence({ engine: memory() })
  })

  async function imports(content: string | Uint8Array): Promise<unknown> {
    cases++
    await state.save(stored)
    await writeFile(file, content)
    try {
      await state.importData(file)
    } catch (error) {
      expect(error).toBeInstanceOf(ImportError)
      expect(await state.load()).toEqual(stored)
      return undefined
    }
    return state.load()
  }

  it.each(Object.entries(PLACES))('y_: what is JSON is taken %s', async (_place, around) => {
    for (const [name, text] of Object.entries(VALID)) {
      const document = around(text)
      const { data } = JSON.parse(document) as { data: unknown }
      // Numbers that a double does not reach are refused, as the i_ cases have it.
      const isTooLarge = text.includes('1e999') || /\d{20}/.test(text)
      const found = await imports(document)
      if (isTooLarge) continue
      expect(isDeepStrictEqual(found, data), `${name}: ${document}`).toBe(true)
    }
  })

  it.each(Object.entries(PLACES))('n_: what is no JSON is refused %s', async (_place, around) => {
    for (const [name, text] of Object.entries(INVALID)) {
      const document = around(text)
      // Some texts become JSON where they are put.
      if (isJson(document)) continue
      expect(await imports(document), `${name}: ${document}`).toBeUndefined()
    }
  })

  it('n_: bytes that are not UTF-8 are refused, in values, names and keys', async () => {
    for (const [name, bytes] of Object.entries(NOT_UTF8)) {
      for (const [before, after] of [
        ['{"data":{"k":"', '"}}'],
        ['{"data":{"k":{"', '":1}}}'],
        ['{"data":{"', '":1}}'],
      ] as const) {
        const content = Buffer.concat([Buffer.from(before), Buffer.from(bytes), Buffer.from(after)])
        expect(await imports(content), `${name} after ${before}`).toBeUndefined()
      }
    }
  })

  it('i_: what the standard leaves open is as documented', async () => {
    for (const [name, { text, taken }] of Object.entries(UNDEFINED)) {
      expect((await imports(`{"data":{"k":${text}}}`)) !== undefined, name).toBe(taken)
    }
  })

  it('whole documents are taken or refused', async () => {
    for (const [name, { text, taken }] of Object.entries(DOCUMENTS)) {
      expect((await imports(text)) !== undefined, name).toBe(taken)
    }
  })

  it('are at least 300', () => {
    expect(cases).toBeGreaterThanOrEqual(300)
  })
})

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
