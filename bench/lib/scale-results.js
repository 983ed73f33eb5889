// @ts-check
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { commit } from './git.js'
import { machine } from './machine.js'

/**
 * What the stages of scale.js came to, each with what it ran on.
 *
 * @typedef {object} Stages
 * @property {Awaited<ReturnType<typeof import('../sides/scale.js').keys>> & Origin} keys
 * @property {Awaited<ReturnType<typeof import('../sides/scale.js').snapshots>> & Origin} snapshots
 * @property {Awaited<ReturnType<typeof import('../sides/scale.js').changes>> & Origin} changes
 * @property {Awaited<ReturnType<typeof import('../sides/scale.js').rewind>> & Origin} rewind
 *
 * @typedef {object} Origin
 * @property {string} [machine]
 * @property {string} [commit]
 */

const FILE = new URL('../results/scale.json', import.meta.url)

/** @returns {Promise<Partial<Stages>>} those of the last runs */
export async function readStages() {
  const text = await readFile(FILE, 'utf8').catch(() => '{}')
  return JSON.parse(text)
}

/**
 * @param {keyof Stages} stage
 * @param {object | undefined} result is given its origin
 */
export async function writeStage(stage, result) {
  const stages = await readStages()
  const origin = { machine: machine(), commit: await commit() }
  await mkdir(new URL('.', FILE), { recursive: true })
  await writeFile(FILE, `${JSON.stringify({ ...stages, [stage]: { ...result, ...origin } }, null, 1)}\n`)
}
