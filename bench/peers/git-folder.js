// @ts-check
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { git } from '../lib/git.js'

/** More files than this in a folder of git's are unusual. */
const FOLDERS = 256

/**
 * A folder under git, with a file of JSON for each key; a snapshot is `git add` and `git commit`. Git flushes what it
 * writes to its repository as it does by default.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  await git(folder, ['init', '--quiet'])
  for (let i = 0; i < FOLDERS; i++) await mkdir(join(folder, folderName(i)), { recursive: true })
  /** @type {import('./peer.js').Peer['set']} */
  const set = (key, value) => writeFile(join(folder, pathOf(key)), JSON.stringify(value))
  return {
    set,
    async setMany(entries) {
      for (let start = 0; start < entries.length; start += 100)
        await Promise.all(entries.slice(start, start + 100).map(([key, value]) => set(key, value)))
    },
    get: () => undefined,
    async backup() {
      await git(folder, ['add', '--all'])
      await git(folder, ['commit', '--quiet', '--allow-empty', '--message', 'snapshot'])
    },
    close() {},
  }
}

/** @param {string} key whose end is as good as random */
function pathOf(key) {
  return join(folderName(Number.parseInt(key.slice(-2), 16)), `${encodeURIComponent(key)}.json`)
}

/** @param {number} index */
function folderName(index) {
  return index.toString(16).padStart(2, '0')
}
