// @ts-check
import { execFile } from 'node:child_process'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * A tool that writes the delta of two files into a third.
 *
 * @typedef {object} Tool
 * @property {string} name
 * @property {string} command
 * @property {(base: string, target: string, delta: string) => string[]} args
 */

/** @type {readonly Tool[]} */
export const TOOLS = [
  {
    name: 'xdelta3 -9',
    command: 'xdelta3',
    args: (base, target, delta) => ['-9', '-e', '-f', '-s', base, target, delta],
  },
  { name: 'bsdiff', command: 'bsdiff', args: (base, target, delta) => [base, target, delta] },
]

/**
 * The tools that are installed here.
 *
 * @returns {Promise<Tool[]>}
 */
export async function installedTools() {
  const found = await Promise.all(
    TOOLS.map(async tool => {
      try {
        await run('which', [tool.command])
        return true
      } catch {
        return false
      }
    }),
  )
  return TOOLS.filter((_, i) => found[i])
}

/**
 * How many bytes the delta of each tool takes.
 *
 * @param {readonly Tool[]} tools
 * @param {string} folder for the files
 * @param {import('./pairs.js').Pair} pair
 * @returns {Promise<number[]>}
 */
export async function deltaSizes(tools, folder, { base, target }) {
  const [from, to, delta] = ['base', 'target', 'delta'].map(name => join(folder, name))
  if (from === undefined || to === undefined || delta === undefined) throw new TypeError('three files')
  await writeFile(from, base)
  await writeFile(to, target)
  /** @type {number[]} */
  const sizes = []
  for (const tool of tools) {
    await run(tool.command, tool.args(from, to, delta))
    sizes.push((await stat(delta)).size)
  }
  return sizes
}
