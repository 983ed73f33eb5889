// @ts-check
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, release, totalmem, type } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** One line that says on what the figures were measured: versions, processor, memory, system, day. */
export function machine() {
  const varve = fileURLToPath(import.meta.resolve('varve'))
  const lmdb = createRequire(varve).resolve('lmdb')
  const processors = cpus()
  return [
    `varve ${versionOf(varve)}, lmdb ${versionOf(lmdb)}, Node.js ${process.versions.node}`,
    `${processors.length} × ${processors[0]?.model.trim() ?? process.arch}`,
    `${Math.round(totalmem() / 2 ** 30)} GiB`,
    `${type()} ${release()}`,
    new Date().toISOString().slice(0, 10),
  ].join('; ')
}

/** Names of packages that varve is compared with here, with their versions. */
const PEERS = ['lmdb', 'better-sqlite3', 'classic-level', 'keyv', '@keyv/sqlite', 'hyperbee', 'hypercore']

/** One line that says with what varve was compared. */
export function peerVersions() {
  const require = createRequire(import.meta.url)
  return PEERS.map(name => `${name} ${versionOf(require.resolve(name))}`).join(', ')
}

/**
 * The version in the package.json above a file.
 *
 * @param {string} file
 * @returns {string}
 */
function versionOf(file) {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    try {
      const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      // A package may have further package.json files inside, which only set the type of the modules there.
      if (version !== undefined) return version
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error
    }
  }
  return 'unknown'
}
