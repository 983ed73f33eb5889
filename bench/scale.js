// @ts-check
/**
 * How costs grow with keys, snapshots and changes, up to ten million keys: loads a store, takes snapshots of it, changes
 * it and rewinds it, and checks what it reads back. Draws docs/performance.svg and writes the figures of
 * docs/performance.md.
 *
 *     node scale.js [--quick] [--keys 10000000] [--folder <path>] [keys | snapshots | changes | rewind …]
 *
 * Stages run in that order and build on each other. With `--folder` the store is kept there, so that each can have a run
 * of its own. `--quick` prints, and writes nothing.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { print } from './lib/report.js'
import { renderScale, renderStages } from './lib/scale-report.js'
import { readStages, writeStage } from './lib/scale-results.js'
import { Side } from './lib/side.js'
import { withTempFolder } from './lib/temp.js'

const STAGES = /** @type {const} */ (['keys', 'snapshots', 'changes', 'rewind'])

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    keys: { type: 'string' },
    folder: { type: 'string' },
  },
})
const { quick, folder } = values
const keys = Number(values.keys ?? (quick ? 20_000 : 10_000_000))
if (!Number.isSafeInteger(keys) || keys < 20_000)
  throw new TypeError('--keys takes a whole number from 20000 on')
const unknown = positionals.find(name => !STAGES.some(stage => stage === name))
if (unknown !== undefined) throw new TypeError(`No stage "${unknown}". There are: ${STAGES.join(', ')}`)
const stages = STAGES.filter(stage => positionals.length === 0 || positionals.includes(stage))

/** @type {Partial<import('./lib/scale-results.js').Stages>} */
const results = quick ? {} : await readStages()
if (folder === undefined) await withTempFolder(run)
else {
  await mkdir(folder, { recursive: true })
  await run(folder)
}
print(renderStages(results))
if (!quick) await renderScale(results)

/** @param {string} path */
async function run(path) {
  for (const stage of stages) {
    const side = new Side('scale.js')
    try {
      Object.assign(results, { [stage]: await side.call(stage, join(path, 'store'), keys, quick) })
    } finally {
      await side.end()
    }
    if (!quick) await writeStage(stage, results[stage])
  }
}
