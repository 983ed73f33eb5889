/**
 * A tour of varve on real history: the feature tables of caniuse.com, one snapshot for each of their commits.
 *
 * Run it with `npm run demo`. It works in a temporary folder and removes it at the end.
 */

import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { mkdtemp, readdir, readFile, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { SingleBar } from 'cli-progress'
import { createPersistence } from '../dist/index.js'

/** @typedef {import('../dist/index.js').Persistence<Record<string, unknown>>} State */

/**
 * One commit: what it set and what it removed. The file's form is described beside it, in data/README.md.
 * @typedef {{ commit: string, date: string, put: Record<string, unknown>, del: string[] }} Commit
 */

/** The key that the tour looks at more closely. */
const SAMPLE = 'flexbox'

/** @type {{ what: string, milliseconds: number }[]} */
const timings = []

const started = performance.now()
const commits = await readHistory(new URL('data/caniuse-slice.jsonl.gz', import.meta.url))
const folder = await mkdtemp(join(tmpdir(), 'varve-demo-'))
const removeFolder = () => rmSync(folder, { recursive: true, force: true })
// Not in a `finally`, which a closed pipe or an interrupt would skip.
process.once('exit', removeFolder)
process.once('SIGINT', () => {
  removeFolder()
  process.kill(process.pid, 'SIGINT')
})

const state = await createPersistence({ basePath: join(folder, 'state') })
try {
  await tour(state)
} finally {
  await state.close()
}
section(`Time taken, ${seconds(performance.now() - started)} in all`)
table(timings.map(({ what, milliseconds }) => [what, `${milliseconds.toFixed(1)} ms`]))

/**
 * Everything the demo shows, in order.
 * @param {State} state
 */
async function tour(state) {
  const versions = await timed(`replay of ${commits.length} commits, a snapshot each`, () => replay(state))
  const [first, last] = [commits[0], commits[commits.length - 1]].map(({ date }) => date.slice(0, 10))
  console.log(`Replayed the feature tables of caniuse.com: ${commits.length} commits, ${first} to ${last}`)
  await showSizes(state)

  const early = Math.floor(versions.length / 4)
  await showComparison(state, versions[early], versions[versions.length - 1])
  await showHistory(state, versions)
  await showRewind(state, versions, early)
  await showExport(state)
}

/**
 * Replays the commits: each is one transaction and one snapshot. The first of every month gets a tag.
 * @param {State} state
 * @returns {Promise<string[]>} the versions, one for each commit
 */
async function replay(state) {
  const format = 'Replaying {bar} {value}/{total} commits, {eta_formatted} left'
  const bar = new SingleBar({ format, stream: process.stderr, hideCursor: true, clearOnComplete: true })
  bar.start(commits.length, 0)
  const versions = []
  const months = new Set()
  try {
    for (const { commit, date, put, del } of commits) {
      await state.transaction(async t => {
        for (const [feature, table] of Object.entries(put)) await t.set(feature, table)
        for (const feature of del) await t.delete(feature)
      })
      const month = date.slice(0, 7)
      const tags = months.has(month) ? [] : [month]
      months.add(month)
      versions.push(await state.createSnapshot({ description: `commit ${commit.slice(0, 10)}`, tags }))
      bar.increment()
    }
  } finally {
    bar.stop()
  }
  return versions
}

/** @param {State} state */
async function showSizes(state) {
  let written = 0
  let copies = 0
  /** @type {Map<string, number>} */
  const sizes = new Map()
  for (const { put, del } of commits) {
    for (const [feature, table] of Object.entries(put)) {
      const size = Buffer.byteLength(JSON.stringify(table))
      sizes.set(feature, size)
      written += size
    }
    for (const feature of del) sizes.delete(feature)
    for (const size of sizes.values()) copies += size
  }
  const before = (await state.getMetrics()).storage
  await timed('compact()', () => state.compact())
  const after = (await state.getMetrics()).storage

  const snapshots = await state.listSnapshots()
  const tags = Object.keys(await state.listTags())
  section('What is in the store')
  table([
    ['keys', String(await state.size())],
    ['snapshots', `${snapshots.length}, of which ${tags.length} are tagged: ${tags.join(', ')}`],
    ['values written', `${megabytes(written)} as JSON`],
    ['the same snapshots as copies', `${megabytes(copies)} as JSON`],
    ['bytes in use', `${megabytes(inUse(before))}; after compact() ${megabytes(inUse(after))}`],
    [
      'size of its files',
      `${megabytes(await bytesIn(folder))}, what is not in use being free for later writes`,
    ],
  ])
}

/**
 * @param {State} state
 * @param {string} older
 * @param {string} newer
 */
async function showComparison(state, older, newer) {
  const comparison = await timed(`compareSnapshots('${older}', '${newer}')`, () =>
    state.compareSnapshots(older, newer),
  )
  section(`From ${older} to ${newer}`)
  table([
    ['added', countAndNames(comparison.added)],
    ['removed', countAndNames(comparison.removed)],
    ['changed', countAndNames(comparison.changed.map(({ key }) => key))],
  ])
  const sample = comparison.changed.find(({ key }) => key === SAMPLE) ?? comparison.changed[0]
  if (sample === undefined) return
  console.log(`\n  The patch of ${sample.key} begins with`)
  for (const operation of sample.patch.slice(0, 5)) console.log(`    ${shorten(JSON.stringify(operation))}`)
}

/**
 * @param {State} state
 * @param {string[]} versions
 */
async function showHistory(state, versions) {
  const entries = await timed(`history('${SAMPLE}')`, async () => {
    const found = []
    for await (const entry of state.history(SAMPLE)) found.push(entry)
    return found
  })
  section(`${SAMPLE} has ${entries.length} versions, the newest of which are`)
  table(
    entries.slice(0, 5).map(({ version, value }) => {
      const { date } = commits[versions.indexOf(version)]
      const support = /** @type {{ usage_perc_y: number, usage_perc_a: number } | undefined} */ (value)
      const text = support
        ? `${support.usage_perc_y}% full, ${support.usage_perc_a}% partial support`
        : 'deleted'
      return [`${version}, ${date.slice(0, 10)}`, text]
    }),
  )
}

/**
 * Goes back to an earlier snapshot and returns, checking both states against the commits themselves.
 * @param {State} state
 * @param {string[]} versions
 * @param {number} early the index of the snapshot to go back to
 */
async function showRewind(state, versions, early) {
  section('Rewind and back')
  for (const index of [early, versions.length - 1]) {
    const version = versions[index]
    const summary = await timed(`restoreSnapshot('${version}')`, () => state.restoreSnapshot(version))
    assert.deepEqual(await state.load(), stateAfter(index), `${version} came back different`)
    table([[version, `${summary.set} set, ${summary.deleted} deleted; equal to the commit's state`]])
  }
}

/** @param {State} state */
async function showExport(state) {
  const file = join(folder, 'state.json.gz')
  await timed("exportData('state.json.gz')", () => state.exportData(file))
  const { data } = JSON.parse(gunzipSync(await readFile(file)).toString())
  assert.deepEqual(data, await state.load(), 'the export differs from the state')
  section('Export')
  table([['state.json.gz', `${megabytes((await stat(file)).size)}; equal to the state`]])
}

/**
 * @param {URL} file
 * @returns {Promise<Commit[]>} oldest first
 */
async function readHistory(file) {
  const lines = gunzipSync(await readFile(file))
    .toString()
    .trimEnd()
    .split('\n')
  return lines.map(line => JSON.parse(line))
}

/**
 * The state that the commits up to this one make, worked out without varve.
 * @param {number} index
 */
function stateAfter(index) {
  const features = new Map()
  for (const { put, del } of commits.slice(0, index + 1)) {
    for (const [feature, table] of Object.entries(put)) features.set(feature, table)
    for (const feature of del) features.delete(feature)
  }
  return Object.fromEntries(features)
}

/**
 * Runs `action` and notes the time it took.
 * @template T
 * @param {string} what
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
async function timed(what, action) {
  const start = performance.now()
  const result = await action()
  timings.push({ what, milliseconds: performance.now() - start })
  return result
}

/**
 * The bytes of a store that hold something.
 * @param {{ bytes: number, freeBytes: number }} storage
 */
function inUse({ bytes, freeBytes }) {
  return bytes - freeBytes
}

/**
 * The sizes of all files in a folder, added up.
 * @param {string} path
 */
async function bytesIn(path) {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile())
  const sizes = await Promise.all(
    files.map(async file => (await stat(join(file.parentPath, file.name))).size),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

/** @param {string} title */
function section(title) {
  console.log(`\n${title}`)
}

/** @param {string[][]} rows each a label and what it says */
function table(rows) {
  const width = Math.max(...rows.map(([label]) => label.length))
  for (const [label, text] of rows) console.log(`  ${label.padEnd(width)}  ${text}`)
}

/** @param {string[]} names */
function countAndNames(names) {
  if (names.length === 0) return '0'
  return `${names.length}: ${names.slice(0, 4).join(', ')}${names.length > 4 ? ', …' : ''}`
}

/** @param {string} text */
function shorten(text) {
  return text.length > 100 ? `${text.slice(0, 99)}…` : text
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(2)} MB`
}

/** @param {number} milliseconds */
function seconds(milliseconds) {
  return `${(milliseconds / 1000).toFixed(1)} s`
}
