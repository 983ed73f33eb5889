// @ts-check
/**
 * Installs what the benchmarks need where it is not there yet, and runs those that compare varve with its peers; see
 * bench/main.js for the arguments.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * @param {string} command
 * @param {readonly string[]} args
 */
function run(command, args) {
  // On Windows, npm is a script that only a shell runs.
  const { status } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  if (status !== 0) process.exit(status ?? 1)
}

if (!existsSync(new URL('../bench/node_modules', import.meta.url))) run('npm', ['ci', '--prefix', 'bench'])
run('node', ['bench/main.js', ...process.argv.slice(2)])
