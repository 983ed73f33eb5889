// @ts-check
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
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

/** @returns {Promise<string | undefined>} git's version; `undefined` where there is no git */
export async function gitVersion() {
  try {
    return (await git('.', ['--version'])).trim().replace(/^git version /, '')
  } catch {
    return undefined
  }
}

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

const AUTHOR = 'bench'
const EMAIL = 'bench@example.com'

/** Git without the settings of whoever runs this, and without packing before it is asked for. */
const ENVIRONMENT = {
  ...process.env,
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_COUNT: '2',
  GIT_CONFIG_KEY_0: 'gc.auto',
  GIT_CONFIG_VALUE_0: '0',
  GIT_CONFIG_KEY_1: 'init.defaultBranch',
  GIT_CONFIG_VALUE_1: 'main',
  GIT_AUTHOR_NAME: AUTHOR,
  GIT_AUTHOR_EMAIL: EMAIL,
  GIT_COMMITTER_NAME: AUTHOR,
  GIT_COMMITTER_EMAIL: EMAIL,
}

/**
 * @param {string} folder where it runs
 * @param {readonly string[]} args
 * @param {string} [input] a file for its standard input
 * @returns {Promise<string>} what it printed
 */
async function git(folder, args, input) {
  const source = input === undefined ? undefined : await open(input)
  try {
    const child = spawn('git', args, {
      cwd: folder,
      env: ENVIRONMENT,
      stdio: [source?.fd ?? 'ignore', 'pipe', 'pipe'],
    })
    const [output, complaint, code] = await Promise.all([
      text(/** @type {import('node:stream').Readable} */ (child.stdout)),
      text(/** @type {import('node:stream').Readable} */ (child.stderr)),
      once(child, 'close').then(([status, signal]) => status ?? signal),
    ])
    if (code !== 0) throw new Error(`git ${args[0]} ended with ${code}: ${complaint.trim()}`)
    return output
  } finally {
    await source?.close()
  }
}
