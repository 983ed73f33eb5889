// @ts-check
/**
 * varve beside its peers: every comparison, or those that are named. Writes RESULTS.md, from the results of this run and
 * of the last runs of other sections.
 *
 *     node main.js [--quick] [--keys 200000,1000000] [section …]
 *
 * `--quick` takes less than two minutes, prints, and leaves RESULTS.md as it is: its figures mean little.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { commit } from './lib/git.js'
import { machine, peerVersions } from './lib/machine.js'
import { print } from './lib/report.js'
import { readResults, renderResults, renderSection, writeResults } from './lib/results.js'
import { withTempFolder } from './lib/temp.js'
import { turnsOf } from './lib/turns.js'

const SECTIONS = ['set', 'get', 'past', 'snapshot', 'compare', 'save', 'open', 'beside', 'memory']
const SIZES = [200_000, 1_000_000]
const QUICK_SIZES = [20_000]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false }, keys: { type: 'string' } },
})
const quick = /** @type {boolean} */ (values.quick)
const asked = values.keys?.split(',').map(Number)
if (asked?.some(keys => !Number.isSafeInteger(keys) || keys < 20_000))
  throw new TypeError('--keys takes whole numbers from 20000 on, with commas between them')
const unknown = positionals.find(name => !SECTIONS.includes(name))
if (unknown !== undefined) throw new TypeError(`No section "${unknown}". There are: ${SECTIONS.join(', ')}`)

for (const name of SECTIONS) {
  if (positionals.length > 0 && !positionals.includes(name)) continue
  /** @type {{ section: import('./lib/measure.js').Section }} */
  const { section } = await import(`./sections/${name}.js`)
  const started = performance.now()
  const sizes = asked ?? (quick ? QUICK_SIZES : (section.sizes ?? SIZES))
  /** @type {import('./lib/results.js').SectionResult} */
  const result = {
    name,
    title: section.title,
    about: section.about,
    command: ['npm run bench --', ...process.argv.slice(2)].join(' ').replace(/ --$/, ''),
    commit: await commit(),
    machine: machine(),
    peers: peerVersions(),
    seconds: 0,
    measures: [],
    figures: [],
  }
  for (const keys of sizes) {
    await withTempFolder(async folder => {
      const path = join(folder, name)
      await mkdir(path)
      const { measures = [], figures = [] } = await section.measure({
        keys,
        quick,
        turns: turnsOf(quick),
        folder: path,
      })
      result.measures.push(...measures)
      result.figures.push(...figures)
    })
  }
  result.seconds = Math.round((performance.now() - started) / 1000)
  print(renderSection(result))
  if (!quick) await writeResults(result)
}
if (!quick) await renderResults(await readResults(SECTIONS))
