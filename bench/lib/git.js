// @ts-check
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

export const AUTHOR = 'bench'
export const EMAIL = 'bench@example.com'

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
export async function git(folder, args, input) {
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

/** @returns {Promise<string | undefined>} git's version; `undefined` where there is no git */
export async function gitVersion() {
  try {
    return (await git('.', ['--version'])).trim().replace(/^git version /, '')
  } catch {
    return undefined
  }
}

/** The commit of the repository that is measured, and whether its files differ from it. */
export async function commit() {
  const folder = fileURLToPath(new URL('../..', import.meta.url))
  try {
    const name = (await git(folder, ['rev-parse', '--short', 'HEAD'])).trim()
    // Figures that an earlier section of the same run has written are no difference.
    const changed = await git(folder, [
      'status',
      '--porcelain',
      '--',
      '.',
      ':!bench/results',
      ':!bench/RESULTS.md',
    ])
    return changed === '' ? name : `${name} with changes`
  } catch {
    return 'unknown'
  }
}
