import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createPersistence } from '../../src/index.ts'
import { temporaryFolder } from '../support/stores.ts'

/** Writes one value, as text, to files of both forms. */
async function filesOf(text: string): Promise<string[]> {
  const folder = await temporaryFolder()
  const files = [join(folder, 'state.json'), join(folder, 'state.jsonl')]
  await writeFile(files[0] as string, `{"data":\n{"before":1,\n"a":${text}}}`)
  const line = `{"ignored":9007199254740993,"value":${text},"key":"a","x":[9007199254740993]}`
  await writeFile(files[1] as string, `{"key":"before","value":1}\n\n${line}\n`)
  return files
}

describe('an integer in a file to import', () => {
  it.each([
    ['9007199254740993', '$', '9007199254740993', '9007199254740992'],
    ['{"ids":[1, 2,\t-9007199254740993 ]}', '$.ids[2]', '-9007199254740993', '-9007199254740992'],
    [
      '{"a\\"b":{"s":"9007199254740993"},"c":12345678901234567890}',
      '$.c',
      '12345678901234567890',
      '12345678901234567000',
    ],
    [
      '[[],{},[{"odd key":1234567890123456789e1}]]',
      '$[2][0]["odd key"]',
      '1234567890123456789e1',
      '12345678901234567000',
    ],
  ])('%s is refused, with its key and path, and not rounded', async (text, path, integer, read) => {
    const files = await filesOf(text)
    await using state = await createPersistence()
    await state.set('kept', 1)
    for (const file of files) {
      const error = await state.importData(file).catch(caught => caught)
      expect(error).toMatchObject({ code: 'IMPORT', file, line: 3 })
      expect(error.message).toContain(`"a" has the integer ${integer} at ${path},`)
      expect(error.message).toContain(`become ${read}.`)
      expect(await state.load()).toEqual({ kept: 1 })
    }
  })

  it.each([
    ['in range', '[9007199254740991,-9007199254740991,9007199254740992]'],
    ['a double holds though it is out of range', '1152921504606846976'],
    ['a double prints', '[1152921504606847000,100000000000000000000000,1e23,1e300,12345678901234567e3]'],
    [
      'a fraction, as of any reader of JSON',
      '[0.1,1.0,0.1000000000000000055,3.14159265358979323846264338327950288]',
    ],
    ['a string', '["9007199254740993",":9007199254740993",{"[9007199254740993":1}]'],
  ])('is taken where it is %s', async (_, text) => {
    for (const file of await filesOf(text)) {
      await using state = await createPersistence()
      await state.importData(file)
      expect(await state.get('a')).toEqual(JSON.parse(text))
    }
  })
})
