// @ts-check
import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { keyOf } from './filled-store.js'
import { progress } from './progress.js'
import { seededRandom } from './random.js'

const CHUNK_LENGTH = 1 << 20
const WORDS =
  'delta layer sediment core drill river winter summer state value key snapshot past present'.split(' ')
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/**
 * Writes a document `{"data": {...}, "metadata": {...}}` as another program would: data first and in no order of the
 * keys, white space between tokens, metadata that varve did not write.
 *
 * @param {string} path
 * @param {object} form
 * @param {number} form.bytes about how long the file will be
 * @param {number} form.memberBytes about how long each member of `data` is
 * @param {boolean} form.compressible words that repeat, or else random letters
 * @returns {Promise<number>} the number of members
 */
export async function writeForeignJson(path, { bytes, memberBytes, compressible }) {
  const random = seededRandom(1)
  const show = progress(`write ${Math.round(bytes / 1e6)} MB`, bytes)
  let members = 0
  async function* chunks() {
    let text = '{\n  "data": {'
    let written = 0
    while (written + text.length < bytes) {
      const member = memberOf(random, members, memberBytes, compressible ? words : letters)
      text += `${members === 0 ? '' : ','}\n    "${keyOf(members)}": ${member}`
      members++
      if (text.length < CHUNK_LENGTH) continue
      written += text.length
      show(written)
      yield text
      text = ''
    }
    yield `${text}\n  },\n  "metadata": { "exportedBy": "another program", "rows": ${members} }\n}\n`
    show(bytes)
  }
  await pipeline(chunks, createWriteStream(path))
  return members
}

/**
 * A record with a list, as JSON with white space.
 *
 * @param {() => number} random
 * @param {number} id
 * @param {number} length about how long the text is to be
 * @param {(random: () => number, length: number) => string} text
 */
function memberOf(random, id, length, text) {
  let items = ''
  while (items.length < length - 100) {
    const item = `{ "title": "${text(random, 40)}", "note": "${text(random, 120)}", "amount": ${(random() * 1000).toFixed(2)} }`
    items += items === '' ? item : `, ${item}`
  }
  return `{ "id": ${id}, "active": ${id % 2 === 0}, "items": [${items}] }`
}

/**
 * @param {() => number} random
 * @param {number} length
 */
function words(random, length) {
  let text = ''
  while (text.length < length) text += `${WORDS[Math.floor(random() * WORDS.length)]} `
  return text.slice(0, length)
}

/**
 * @param {() => number} random
 * @param {number} length
 */
function letters(random, length) {
  let text = ''
  while (text.length < length) text += LETTERS[Math.floor(random() * LETTERS.length)]
  return text
}
