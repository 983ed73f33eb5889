// @ts-check
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The state as one JSON file, which is written whole at each change, beside its place, and renamed over it. Nothing
 * waits for a flush.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  const file = join(folder, 'state.json')
  /** @type {Map<string, unknown>} */
  const state = new Map(Object.entries(JSON.parse(await readFile(file, 'utf8').catch(() => '{}'))))
  const write = async () => {
    await writeFile(`${file}.new`, JSON.stringify(Object.fromEntries(state)))
    await rename(`${file}.new`, file)
  }
  return {
    set(key, value) {
      state.set(key, value)
      return write()
    },
    setMany(entries) {
      for (const [key, value] of entries) state.set(key, value)
      return write()
    },
    get: key => state.get(key),
    close() {},
  }
}
