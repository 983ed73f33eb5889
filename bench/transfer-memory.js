// @ts-check
/**
 * How much memory importing and exporting a large file takes.
 *
 *     node transfer-memory.js [--quick] [--megabytes 500]
 */
import assert from 'node:assert/strict'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { writeForeignJson } from './lib/foreign-json.js'
import { count, megabytes, milliseconds } from './lib/format.js'
import { readOptions } from './lib/options.js'
import { goals, heading, table } from './lib/report.js'
import { runSampled } from './lib/sampled-child.js'
import { bytesIn, withTempFolder } from './lib/temp.js'

const MAX_BYTES = 300e6
const CASES = [
  { name: '500 B, random', memberBytes: 500, compressible: false },
  { name: '5 kB, random', memberBytes: 5000, compressible: false },
  { name: '5 kB, words', memberBytes: 5000, compressible: true },
]
const CHILD = new URL('lib/transfer-child.js', import.meta.url)

const { numbers } = readOptions({ megabytes: { full: 500, quick: 50 } })
const bytes = numbers.megabytes * 1e6

/** @type {string[][]} */
const rows = []
/** @type {Parameters<typeof goals>[0][number][]} */
const figures = []
for (const { name, ...form } of CASES) {
  await withTempFolder(async folder => {
    const file = join(folder, 'foreign.json')
    const exported = join(folder, 'exported.json')
    const store = join(folder, 'store')
    const members = await writeForeignJson(file, { bytes, ...form })

    process.stderr.write(`import, ${name}\n`)
    const importing = await runSampled(CHILD, ['import', file, store])
    assert.equal(importing.result.entries, members, 'the import lacks entries')
    add(`import, ${name}`, (await stat(file)).size, await bytesIn(store), importing)
    await rm(file)

    process.stderr.write(`export, ${name}\n`)
    const exporting = await runSampled(CHILD, ['export', exported, store])
    assert.equal(exporting.result.entries, members, 'the export lacks entries')
    add(`export, ${name}`, (await stat(exported)).size, await bytesIn(store), exporting)
  })
}

heading(
  `Memory of importing and exporting a .json file of ${numbers.megabytes} MB`,
  [
    'Each in a process of its own, whose memory is read from /proc. The columns are: the most that was resident at any time, mapped pages of files included (VmHWM);',
    'the peak of what is not pages of files (RssAnon); the peak of pages of files (RssFile), mostly of the LMDB file, which the kernel drops when memory is wanted;',
    'and what was resident in all once the store was open and before the transfer.',
  ].join(' '),
)
table(['', 'file', 'entries', 'store', 'time', 'per s', 'VmHWM', 'RssAnon', 'RssFile', 'at start'], rows)
goals(figures)

/**
 * @param {string} what
 * @param {number} fileBytes
 * @param {number} storeBytes
 * @param {Awaited<ReturnType<typeof runSampled>>} run
 */
function add(what, fileBytes, storeBytes, { result, peak }) {
  /** @param {number | undefined} value */
  const memory = value => (value === undefined ? 'unknown' : megabytes(value))
  rows.push([
    what,
    megabytes(fileBytes),
    count(result.entries),
    megabytes(storeBytes),
    milliseconds(result.milliseconds),
    megabytes(fileBytes / (result.milliseconds / 1000)),
    memory(peak?.highWater),
    memory(peak?.anonymous),
    memory(peak?.file),
    memory(result.opened?.highWater),
  ])
  if (peak === undefined) return
  const goal = `< ${megabytes(MAX_BYTES)}`
  figures.push(
    { what: `${what}: VmHWM`, goal, figure: megabytes(peak.highWater), met: peak.highWater < MAX_BYTES },
    { what: `${what}: RssAnon`, goal, figure: megabytes(peak.anonymous), met: peak.anonymous < MAX_BYTES },
  )
}
