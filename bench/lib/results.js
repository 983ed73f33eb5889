// @ts-check
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { count, millisecondRange, milliseconds, ratio } from './format.js'
import { speedOver } from './measure.js'
import { tableText } from './report.js'
import { median, middleHalf } from './statistics.js'

/**
 * What a section came to, as it is kept in `results/`, with every sample.
 *
 * @typedef {object} SectionResult
 * @property {string} name
 * @property {string} title
 * @property {string} about
 * @property {string} command
 * @property {string} commit
 * @property {string} machine
 * @property {string} peers with their versions
 * @property {number} seconds it took
 * @property {import('./measure.js').Measure[]} measures
 * @property {import('./measure.js').Figure[]} figures
 */

const FOLDER = new URL('../results/', import.meta.url)
const FILE = new URL('../RESULTS.md', import.meta.url)

const PREFACE = `# Results

varve beside its peers, each used as its documentation says. \`npm run bench\` in the root writes this file; the samples are
in \`results/\`. All sides of a comparison run in one run and take turns, round by round, each in a process of its own.
Times are medians; a ratio says how many times as fast varve is as the other side, by the medians. Figures are of the
machine, the commit and the day that stand with each section. How costs grow with the size of a store is in
[Performance](../docs/performance.md).

**What a write has to survive** is alike: after an acknowledged write the death of the process loses nothing, and a loss
of power may lose the last ones. What each side does for that, with the settings its documentation gives:

| side | settings | flushes |
|---|---|---|
| varve | \`durability: 'process'\`, the default | commits of the last moments together, beside those that are made |
| lmdb | the defaults | each commit, after it is visible and acknowledged, and before the next one |
| better-sqlite3 | WAL, \`synchronous = NORMAL\` | at checkpoints only |
| classic-level | the defaults, \`sync: false\` | when the system does |
| JSON file, hyperbee | the defaults | when the system does |
| keyv | its SQLite store, which has no setting for it | the journal and the data of each write |
| git | the defaults | packs, and not the loose objects that a commit here consists of |

So awaited writes of lmdb and keyv one by one go at the pace of the disk's flushes, and those of the others do not.
`

/** @param {SectionResult} result */
export async function writeResults(result) {
  await mkdir(FOLDER, { recursive: true })
  await writeFile(new URL(`${result.name}.json`, FOLDER), `${JSON.stringify(rounded(result), null, 1)}\n`)
}

/**
 * The results of the last run of each section that has been run.
 *
 * @param {readonly string[]} names
 * @returns {Promise<SectionResult[]>}
 */
export async function readResults(names) {
  const texts = await Promise.all(
    names.map(name => readFile(new URL(`${name}.json`, FOLDER), 'utf8').catch(() => undefined)),
  )
  return texts.filter(text => text !== undefined).map(text => JSON.parse(text))
}

/** @param {readonly SectionResult[]} results */
export async function renderResults(results) {
  const goals = tableText(['measure', 'keys', 'against', 'wanted', 'measured', ''], results.flatMap(goalRows))
  await writeFile(FILE, `${[PREFACE, '## Goals', goals, ...results.map(renderSection)].join('\n')}\n`)
}

/**
 * A section as Markdown.
 *
 * @param {SectionResult} result
 */
export function renderSection(result) {
  const { title, about, command, commit, machine, peers, seconds, measures, figures } = result
  return [
    `\n## ${title}\n\n${about}`,
    `\n\`${command}\`, ${seconds} s, commit ${commit}; ${machine}; ${peers}`,
    ...measures.map(renderMeasure),
    ...(figures.length === 0
      ? []
      : [tableText(['measure', 'keys', 'against', 'wanted', 'measured', ''], figures.map(figureRow))]),
  ].join('\n')
}

/** @param {import('./measure.js').Measure} measure */
function renderMeasure(measure) {
  const { what, keys, per, samples, subject, goals, note } = measure
  const rows = Object.entries(samples).map(([side, times]) => {
    const goal = goals.find(({ against }) => against === side)
    return [
      side,
      milliseconds(median(times)),
      millisecondRange(middleHalf(times)),
      side === subject ? '' : speed(speedOver(measure, side)),
      goal === undefined ? '' : `≥ ${speed(goal.atLeast)}`,
    ]
  })
  return [
    `\n### ${what}: ${count(keys)} keys\n${note === undefined ? '' : `\n${note}\n`}`,
    tableText(
      [`a ${per}`.replace('a 1', '1'), 'median', 'middle half', `${subject} against it`, 'goal'],
      rows,
    ).trimStart(),
  ].join('\n')
}

/** @param {SectionResult} result */
function goalRows({ measures, figures }) {
  return [
    ...measures.flatMap(measure =>
      measure.goals.map(({ against, atLeast }) => {
        const measured = speedOver(measure, against)
        return [
          measure.what,
          count(measure.keys),
          against,
          `≥ ${speed(atLeast)}`,
          speed(measured),
          verdict(measured >= atLeast),
        ]
      }),
    ),
    ...figures.map(figureRow),
  ]
}

/** @param {import('./measure.js').Figure} figure */
function figureRow({ what, keys, goal, figure, met }) {
  return [what, count(keys), '', goal, figure, verdict(met)]
}

/** @param {boolean} met */
function verdict(met) {
  return met ? 'met' : 'MISSED'
}

/** @param {number} value */
function speed(value) {
  return value >= 100 ? `${count(Math.round(value))}×` : ratio(value)
}

/**
 * Samples to the nanosecond: more digits say nothing.
 *
 * @param {SectionResult} result
 */
function rounded(result) {
  return {
    ...result,
    measures: result.measures.map(measure => ({
      ...measure,
      samples: Object.fromEntries(
        Object.entries(measure.samples).map(([side, times]) => [
          side,
          times.map(time => Number(time.toFixed(6))),
        ]),
      ),
    })),
  }
}
