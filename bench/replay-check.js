// @ts-check
/**
 * Replays a recorded history, one snapshot for each commit: whether what is read back is right, what it takes on disk
 * and in time beside git, and how fast old versions are read.
 *
 *     node replay-check.js [--quick] [--commits 1500] [--reads 10000] [history.jsonl.gz]
 *
 * Without a file it takes the one that VARVE_DATA names, else the one beside the repository, else the demo's slice.
 */
import assert from 'node:assert/strict'
import { basename, join } from 'node:path'
import { createPersistence } from 'varve'
import { count, megabytes, milliseconds, ratio } from './lib/format.js'
import { gitVersion } from './lib/git.js'
import { fastImport, ordinaryCommits } from './lib/git-history.js'
import { interleave, timed } from './lib/interleave.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { seededRandom } from './lib/random.js'
import {
  applyCommit,
  HistoryTruth,
  historyFile,
  parseCommit,
  readHistoryLines,
} from './lib/recorded-history.js'
import { goals, heading, print, table } from './lib/report.js'
import { median, quantile } from './lib/statistics.js'
import { bytesIn, withTempFolder } from './lib/temp.js'

const CHECK_EVERY = 100
const MAX_SIZE_RATIO = 0.45
const MAX_READ_P99 = 1
const MAX_OLDEST_RATIO = 5
const MAX_REWRITES = 3
const STATE_ROUNDS = 20

const { numbers, positionals } = readOptions({
  commits: { full: 1500, quick: 150 },
  reads: { full: 10_000, quick: 1_000 },
})
const file = historyFile(positionals[0])
const lines = (await readHistoryLines(file)).slice(0, numbers.commits)
const truth = new HistoryTruth()
for (const [i, line] of lines.entries()) truth.add(i, parseCommit(line))

const { replay, loose, compact, packed, rewrites } = await withTempFolder(measureVarve)
const git = await gitVersion()
const fast = git === undefined ? undefined : await withTempFolder(folder => fastImport(folder, lines))
const ordinary =
  git === undefined ? undefined : await withTempFolder(folder => ordinaryCommits(folder, lines))

heading(
  `Replay of ${basename(file)}`,
  `${count(lines.length)} commits, a snapshot for each; every ${CHECK_EVERY}th snapshot is read back and compared with the history itself, before and after compact(). Parsing the history is not counted.`,
)
/** @type {string[][]} */
const rows = [
  ['varve, replay', milliseconds(replay), megabytes(loose.bytes)],
  ['varve, replay and compact()', milliseconds(replay + compact), megabytes(packed.bytes)],
]
if (fast !== undefined && ordinary !== undefined) {
  rows.push(
    [`git ${git}: fast-import, repack -adf`, milliseconds(fast.milliseconds), megabytes(fast.bytes)],
    [`git ${git}: ordinary commits, gc`, milliseconds(ordinary.milliseconds), megabytes(ordinary.bytes)],
    [
      `git ${git}: ordinary commits, gc --aggressive`,
      milliseconds(ordinary.aggressive.milliseconds),
      megabytes(ordinary.aggressive.bytes),
    ],
  )
}
table(['', 'time', 'bytes'], rows)
table(
  ['reads', 'replayed', 'after compact()'],
  [
    ['at(version).get(key), random: p50', milliseconds(loose.p50), milliseconds(packed.p50)],
    ['at(version).get(key), random: p99', milliseconds(loose.p99), milliseconds(packed.p99)],
    ['getSnapshotData() of the oldest', milliseconds(loose.oldest), milliseconds(packed.oldest)],
    ['getSnapshotData() of the newest', milliseconds(loose.newest), milliseconds(packed.newest)],
    ['load()', milliseconds(loose.load), milliseconds(packed.load)],
  ],
)
goals([
  {
    what: `snapshots read back as they were, of ${packed.checked} looked at`,
    goal: 'all',
    figure: 'all',
    met: true,
  },
  ...(fast === undefined || ordinary === undefined ? [] : gitGoals([fast, ordinary, ordinary.aggressive])),
  {
    what: `at(version).get(key), ${count(numbers.reads)} random: p99`,
    goal: `< ${milliseconds(MAX_READ_P99)}`,
    figure: milliseconds(packed.p99),
    met: packed.p99 < MAX_READ_P99,
  },
  {
    what: 'getSnapshotData() of the oldest against load()',
    goal: `≤ ${ratio(MAX_OLDEST_RATIO)}`,
    figure: ratio(packed.oldest / packed.load),
    met: packed.oldest / packed.load <= MAX_OLDEST_RATIO,
  },
  {
    what: `times that packing writes a byte of history, compact() included (before it: ${rewrites.background.toFixed(2)})`,
    goal: `< ${MAX_REWRITES}`,
    figure: rewrites.all.toFixed(2),
    met: rewrites.all < MAX_REWRITES,
  },
])
if (git === undefined) print('\nThere is no git here to compare with.')

/** @param {string} folder */
async function measureVarve(folder) {
  const basePath = join(folder, 'state')
  const store = await createPersistence({ basePath })
  /** The version of each commit. @type {string[]} */
  const versions = []
  const show = progress('replay', lines.length)
  let replayed = 0
  for (const [i, line] of lines.entries()) {
    const commit = parseCommit(line)
    replayed += await timed(async () => {
      await applyCommit(store, commit)
      versions.push(await store.createSnapshot())
    })
    show(i + 1)
  }
  const loosely = await measureReads(store, versions, basePath)
  process.stderr.write('compact()\n')
  const before = await packedBytes(store)
  const compacting = await timed(() => store.compact())
  const after = await packedBytes(store)
  await store.close()
  // Reopened, so that nothing is read from what writing left in memory.
  const reopened = await createPersistence({ basePath })
  const compactly = await measureReads(reopened, versions, basePath)
  await reopened.close()
  const { superseded } = truth.bytes
  const rewrites = { background: before / superseded, all: after / superseded }
  return { replay: replayed, loose: loosely, compact: compacting, packed: compactly, rewrites }
}

/**
 * Bytes of the values that packing has taken so far, each as often as it was taken.
 *
 * @param {import('./lib/filled-store.js').Store} store
 */
async function packedBytes(store) {
  const { packed } = (await store.getMetrics()).delta
  return Object.values(packed).reduce((sum, { valueBytes }) => sum + valueBytes, 0)
}

/**
 * @param {import('./lib/filled-store.js').Store} store
 * @param {readonly string[]} versions
 * @param {string} folder
 */
async function measureReads(store, versions, folder) {
  const bytes = await bytesIn(folder)
  const random = seededRandom(1)
  const { keys } = truth
  /** @type {number[]} */
  const times = []
  const show = progress('read', numbers.reads)
  while (times.length < numbers.reads) {
    const commit = Math.floor(random() * versions.length)
    const key = /** @type {string} */ (keys[Math.floor(random() * keys.length)])
    const expected = truth.valueAt(key, commit)
    // Keys that came later, or had gone: quicker to answer, and few ask.
    if (expected === undefined) continue
    const snapshot = store.at(/** @type {string} */ (versions[commit]))
    const start = performance.now()
    const value = await snapshot.get(key)
    times.push(performance.now() - start)
    assert.deepEqual(value, expected, `${key} at ${versions[commit]} is not what it was`)
    show(times.length)
  }

  let checked = 0
  for (let commit = CHECK_EVERY - 1; commit < versions.length; commit += CHECK_EVERY) {
    const version = /** @type {string} */ (versions[commit])
    assert.deepEqual(
      await store.getSnapshotData(version),
      truth.stateAt(commit),
      `${version} is not as it was`,
    )
    checked++
  }

  const oldest = /** @type {string} */ (versions[0])
  const newest = /** @type {string} */ (versions.at(-1))
  const states = await interleave({
    rounds: STATE_ROUNDS,
    warmUp: 2,
    sides: {
      oldest: () => timed(() => store.getSnapshotData(oldest)),
      newest: () => timed(() => store.getSnapshotData(newest)),
      load: () => timed(() => store.load()),
    },
  })
  return {
    bytes,
    checked,
    p50: median(times),
    p99: quantile(times, 0.99),
    oldest: median(states.oldest),
    newest: median(states.newest),
    load: median(states.load),
  }
}

/** @param {readonly import('./lib/git-history.js').GitResult[]} results */
function gitGoals(results) {
  const size = packed.bytes / Math.min(...results.map(({ bytes }) => bytes))
  const time = (replay + compact) / Math.min(...results.map(result => result.milliseconds))
  return [
    {
      what: "bytes after compact() against the smallest of git's",
      goal: `≤ ${ratio(MAX_SIZE_RATIO)}`,
      figure: ratio(size),
      met: size <= MAX_SIZE_RATIO,
    },
    {
      what: "replay and compact() against the fastest of git's",
      goal: `≤ ${ratio(1)}`,
      figure: ratio(time),
      met: time <= 1,
    },
  ]
}
