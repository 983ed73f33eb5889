// @ts-check
import { createWriteStream } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { AUTHOR, EMAIL, git } from './git.js'
import { progress } from './progress.js'
import { parseCommit } from './recorded-history.js'
import { bytesIn } from './temp.js'

/**
 * What git made of a history: each value a file of compact JSON, one commit a line.
 *
 * @typedef {object} GitResult
 * @property {number} milliseconds writing and packing
 * @property {number} bytes of its objects
 */

/**
 * Git's quickest way in: one stream for `git fast-import`, then a repack that looks for the best deltas it can find.
 *
 * @param {string} folder for its files; must be empty
 * @param {readonly string[]} lines
 * @returns {Promise<GitResult>}
 */
export async function fastImport(folder, lines) {
  const repository = join(folder, 'fast.git')
  const stream = join(folder, 'stream')
  await writeImportStream(stream, lines)
  await git('.', ['init', '--quiet', '--bare', repository])
  const start = performance.now()
  await git(repository, ['fast-import', '--quiet'], stream)
  await git(repository, ['repack', '-q', '-adf', '--depth=50', '--window=50'])
  const milliseconds = performance.now() - start
  return { milliseconds, bytes: await bytesIn(join(repository, 'objects')) }
}

/**
 * Git's ordinary way: files in a folder, `git add` and `git commit` for each line, then `git gc`.
 *
 * @param {string} folder for its files; must be empty
 * @param {readonly string[]} lines
 * @returns {Promise<GitResult & { aggressive: GitResult }>} `aggressive` with `git gc --aggressive` in place of `git gc`
 */
export async function ordinaryCommits(folder, lines) {
  const repository = join(folder, 'ordinary')
  await mkdir(repository)
  await git(repository, ['init', '--quiet'])
  const show = progress('git commit', lines.length)
  let milliseconds = 0
  for (const [i, line] of lines.entries()) {
    const { put, del } = parseCommit(line)
    const files = Object.entries(put).map(([key, value]) => ({
      name: fileOf(key),
      json: JSON.stringify(value),
    }))
    const start = performance.now()
    await Promise.all([
      ...files.map(({ name, json }) => writeFile(join(repository, name), json)),
      ...del.map(key => rm(join(repository, fileOf(key)), { force: true })),
    ])
    await git(repository, ['add', '--all'])
    await git(repository, ['commit', '--quiet', '--allow-empty', '--message', `commit ${i}`])
    milliseconds += performance.now() - start
    show(i + 1)
  }
  /** @param {readonly string[]} args */
  const collect = async (...args) => {
    const start = performance.now()
    await git(repository, ['gc', '--quiet', ...args])
    const time = milliseconds + performance.now() - start
    return { milliseconds: time, bytes: await bytesIn(join(repository, '.git', 'objects')) }
  }
  // The aggressive one throws away what the first has found, and starts over.
  return { ...(await collect()), aggressive: await collect('--aggressive') }
}

/**
 * @param {string} path
 * @param {readonly string[]} lines
 */
async function writeImportStream(path, lines) {
  function* chunks() {
    for (const [i, line] of lines.entries()) {
      const { put, del } = parseCommit(line)
      const message = `commit ${i}`
      const parts = [
        `commit refs/heads/main\ncommitter ${AUTHOR} <${EMAIL}> ${1_300_000_000 + i} +0000\n`,
        `data ${message.length}\n${message}\n`,
      ]
      for (const [key, value] of Object.entries(put)) {
        const json = JSON.stringify(value)
        parts.push(`M 100644 inline ${fileOf(key)}\ndata ${Buffer.byteLength(json)}\n${json}\n`)
      }
      for (const key of del) parts.push(`D ${fileOf(key)}\n`)
      parts.push('\n')
      yield parts.join('')
    }
  }
  await pipeline(chunks, createWriteStream(path))
}

/** @param {string} key */
function fileOf(key) {
  return `${encodeURIComponent(key)}.json`
}
