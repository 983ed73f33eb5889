// @ts-check
import { readFile, writeFile } from 'node:fs/promises'
import { count, megabytes, milliseconds } from './format.js'
import { drawCurves } from './log-chart.js'
import { tableText } from './report.js'

/** @typedef {Partial<import('./scale-results.js').Stages>} Stages */

const DOCUMENT = new URL('../../docs/performance.md', import.meta.url)
const IMAGE = new URL('../../docs/performance.svg', import.meta.url)
/** What stands between these in the document is written by the program. */
const BEGIN = '<!-- Written by bench/scale.js. -->'
const END = '<!-- End of what bench/scale.js writes. -->'

/** @param {Stages} stages */
export async function renderScale(stages) {
  const document = await readFile(DOCUMENT, 'utf8')
  const [before, rest] = document.split(BEGIN)
  const after = rest?.split(END)[1]
  if (before === undefined || after === undefined)
    throw new Error(`${DOCUMENT.pathname} lacks the place for figures`)
  await writeFile(DOCUMENT, `${before}${BEGIN}\n${renderStages(stages)}\n${END}${after}`)
  const charts = chartsOf(stages)
  if (charts.length > 0) await writeFile(IMAGE, drawCurves(charts, 2))
}

/**
 * The figures as Markdown.
 *
 * @param {Stages} stages
 */
export function renderStages({ keys, snapshots, changes, rewind }) {
  const parts = []
  if (keys !== undefined) {
    const columns = [
      'keys',
      'load a key',
      'get',
      'set',
      'snapshot',
      'compare 100',
      'restore 100',
      'open',
      'a key',
    ]
    const rows = keys.points.map(point => [
      count(point.keys),
      ...[point.load, point.get, point.set, point.snapshot, point.compare, point.restore, point.open].map(
        milliseconds,
      ),
      `${count(Math.round(point.bytes / point.keys))} bytes`,
    ])
    parts.push(
      `\n### Against the number of keys\n`,
      `One store that grows, in commits of 10,000 new keys in random order. "Compare 100" and "restore 100" are of 100 changes. ${footer(keys)}`,
      tableText(columns, rows),
    )
  }
  if (snapshots !== undefined) {
    const columns = ['snapshots', 'snapshot', 'change a key', 'get', 'at(version).get', 'list', 'a snapshot']
    const rows = snapshots.points.map(point => [
      count(point.snapshots),
      ...[point.snapshot, point.change, point.get, point.getAt, point.list].map(milliseconds),
      `${count(Math.round(point.bytes / point.snapshots))} bytes`,
    ])
    parts.push(
      `\n### Against the number of snapshots\n`,
      `The same store. Before each snapshot ${count(snapshots.changes)} random keys are changed, in one commit. ${footer(snapshots)}`,
      tableText(columns, rows),
    )
  }
  if (changes !== undefined) {
    const columns = ['changes', 'making them', 'diff', 'restore', 'a change']
    const rows = changes.points.map(point => [
      count(point.changes),
      ...[point.change, point.diff, point.restore].map(milliseconds),
      `${count(Math.round(point.bytes / point.changes))} bytes`,
    ])
    parts.push(
      `\n### Against the number of changes between two snapshots\n`,
      `The same store. "Making them" is \`setMany\` of at most 10,000 at a time. ${footer(changes)}`,
      tableText(columns, rows),
    )
  }
  if (rewind !== undefined) {
    parts.push(
      `\n### Back to the beginning\n`,
      `The state as it was loaded was restored over ${count(rewind.snapshots)} snapshots: ${count(rewind.set)} keys were written, in ${milliseconds(rewind.milliseconds)}. ${count(rewind.checked)} values, spread over all keys, were read back and were right. ${footer(rewind)}`,
    )
  }
  return parts.join('\n')
}

/** @param {import('./scale-results.js').Origin & { seconds: number, memory: number }} stage */
function footer({ seconds, memory, machine, commit }) {
  const origin = machine === undefined ? '' : ` Commit ${commit}; ${machine}.`
  return `The stage took ${count(seconds)} s, and at most ${megabytes(memory)} of memory that is not pages of files.${origin}`
}

/** @param {Stages} stages */
function chartsOf({ keys, snapshots, changes }) {
  /** @type {import('./log-chart.js').Chart[]} */
  const charts = []
  if (keys !== undefined) {
    const { points } = keys
    /** @param {(point: import('../sides/scale.js').KeysPoint) => number} pick */
    const against = pick => points.map(point => /** @type {[number, number]} */ ([point.keys, pick(point)]))
    charts.push(
      {
        title: 'time against keys',
        x: 'keys in the store',
        lines: [
          { name: 'loading a key, 10,000 in a commit', points: against(({ load }) => load) },
          { name: 'get', points: against(({ get }) => get) },
          { name: 'set, awaited', points: against(({ set }) => set) },
          { name: 'createSnapshot', points: against(({ snapshot }) => snapshot) },
          { name: 'compareSnapshots, 100 changes', points: against(({ compare }) => compare) },
          { name: 'restoreSnapshot, 100 changes', points: against(({ restore }) => restore) },
        ],
        format: milliseconds,
      },
      {
        title: 'bytes against keys',
        x: 'keys in the store',
        lines: [{ name: 'current state', points: against(({ bytes }) => bytes) }],
        format: megabytes,
      },
    )
  }
  if (snapshots !== undefined) {
    const { points } = snapshots
    /** @param {(point: import('../sides/scale.js').SnapshotsPoint) => number} pick */
    const against = pick =>
      points.map(point => /** @type {[number, number]} */ ([point.snapshots, pick(point)]))
    charts.push(
      {
        title: 'time against snapshots',
        x: 'snapshots in the store',
        lines: [
          { name: 'createSnapshot', points: against(({ snapshot }) => snapshot) },
          { name: 'changing a key, 1,000 in a commit', points: against(({ change }) => change) },
          { name: 'get', points: against(({ get }) => get) },
          { name: 'at(version).get', points: against(({ getAt }) => getAt) },
          { name: 'listSnapshots', points: against(({ list }) => list) },
        ],
        format: milliseconds,
      },
      {
        title: 'bytes against snapshots',
        x: 'snapshots in the store',
        lines: [{ name: 'history, 1,000 changes a snapshot', points: against(({ bytes }) => bytes) }],
        format: megabytes,
      },
    )
  }
  if (changes !== undefined) {
    const { points } = changes
    /** @param {(point: import('../sides/scale.js').ChangesPoint) => number} pick */
    const against = pick =>
      points.map(point => /** @type {[number, number]} */ ([point.changes, pick(point)]))
    charts.push(
      {
        title: 'time against changes',
        x: 'changes between two snapshots',
        lines: [
          { name: 'making them', points: against(({ change }) => change) },
          { name: 'diff', points: against(({ diff }) => diff) },
          { name: 'restoreSnapshot', points: against(({ restore }) => restore) },
        ],
        format: milliseconds,
      },
      {
        title: 'bytes against changes',
        x: 'changes between two snapshots',
        lines: [{ name: 'history', points: against(({ bytes }) => bytes) }],
        format: megabytes,
      },
    )
  }
  return charts
}
