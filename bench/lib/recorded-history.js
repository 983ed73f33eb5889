// @ts-check
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'

/**
 * One commit of a recorded history: what it set and what it removed.
 *
 * @typedef {object} RecordedCommit
 * @property {Record<string, unknown>} put
 * @property {string[]} del
 */

/**
 * The lines of a recorded history, oldest first: gzipped JSON Lines, one commit each, as caniuse-dev.jsonl.gz has them.
 *
 * @param {string | URL} file
 */
export async function readHistoryLines(file) {
  const text = gunzipSync(await readFile(file)).toString()
  return text.split('\n').filter(line => line !== '')
}

/**
 * The file of a recorded history: the one given, that which VARVE_DATA names, the one beside the repository, or the slice
 * that the demo has.
 *
 * @param {string} [given]
 */
export function historyFile(given) {
  const named = given ?? process.env.VARVE_DATA
  if (named !== undefined) return named
  const beside = fileURLToPath(new URL('../../../shared/data/caniuse-dev.jsonl.gz', import.meta.url))
  return existsSync(beside)
    ? beside
    : fileURLToPath(new URL('../../demo/data/caniuse-slice.jsonl.gz', import.meta.url))
}

/**
 * Makes the changes of a commit to a store, in one commit of its own.
 *
 * @param {import('varve').Persistence} store
 * @param {RecordedCommit} commit
 */
export async function applyCommit(store, { put, del }) {
  await store.transaction(async transaction => {
    for (const [key, value] of Object.entries(put)) transaction.set(key, value)
    for (const key of del) await transaction.delete(key)
  })
}

/**
 * @param {string} line
 * @returns {RecordedCommit}
 */
export function parseCommit(line) {
  return JSON.parse(line)
}

/**
 * What every key held after every commit, worked out without varve. Values are kept as JSON text.
 */
export class HistoryTruth {
  /** @type {Map<string, { commit: number, text: string | undefined }[]>} */
  #changes = new Map()

  /**
   * Takes the next commits in.
   *
   * @param {number} commit its index, from 0
   * @param {RecordedCommit} changes
   */
  add(commit, { put, del }) {
    for (const [key, value] of Object.entries(put)) this.#note(key, commit, JSON.stringify(value))
    for (const key of del) this.#note(key, commit, undefined)
  }

  /**
   * @param {string} key
   * @param {number} commit
   * @param {string | undefined} text
   */
  #note(key, commit, text) {
    const changes = this.#changes.get(key)
    if (changes === undefined) this.#changes.set(key, [{ commit, text }])
    else changes.push({ commit, text })
  }

  /** Bytes of all values, and of those that were superseded, as JSON text. */
  get bytes() {
    let all = 0
    let newest = 0
    for (const changes of this.#changes.values()) {
      for (const { text } of changes) all += Buffer.byteLength(text ?? '')
      newest += Buffer.byteLength(changes.at(-1)?.text ?? '')
    }
    return { all, superseded: all - newest }
  }

  /** Every key there ever was. */
  get keys() {
    return [...this.#changes.keys()]
  }

  /**
   * The value of a key after a commit; `undefined` for none.
   *
   * @param {string} key
   * @param {number} commit
   * @returns {unknown}
   */
  valueAt(key, commit) {
    const text = this.#changes.get(key)?.findLast(change => change.commit <= commit)?.text
    return text === undefined ? undefined : JSON.parse(text)
  }

  /**
   * The whole state after a commit.
   *
   * @param {number} commit
   */
  stateAt(commit) {
    const entries = this.keys.map(key => /** @type {const} */ ([key, this.valueAt(key, commit)]))
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
  }
}
