// @ts-check
/**
 * Whether deleting snapshots gives back what only they took: a replayed history of which most snapshots are deleted,
 * beside one that was replayed with only the others.
 *
 *     node deleted-snapshots.js [--quick] [--commits 1500] [--kept 100] [history.jsonl.gz]
 *
 * The history is as for replay-check.js.
 */
import assert from 'node:assert/strict'
import { basename, join } from 'node:path'
import { createPersistence } from 'varve'
import { count, megabytes, milliseconds, ratio } from './lib/format.js'
import { timed } from './lib/interleave.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { applyCommit, historyFile, parseCommit, readHistoryLines } from './lib/recorded-history.js'
import { goals, heading, table } from './lib/report.js'
import { bytesIn, withTempFolder } from './lib/temp.js'

const MAX_RATIO = 1.15

const { numbers, positionals } = readOptions({
  commits: { full: 1500, quick: 300 },
  kept: { full: 100, quick: 20 },
})
const file = historyFile(positionals[0])
const lines = (await readHistoryLines(file)).slice(0, numbers.commits)
const every = lines.length / Math.min(numbers.kept, lines.length)
/** The commits whose snapshots are kept: spread over all of them, the last one included. */
const kept = new Set(
  Array.from({ length: Math.round(lines.length / every) }, (_, i) => Math.round((i + 1) * every) - 1),
)

const result = await withTempFolder(async folder => {
  const all = await replay(join(folder, 'all'), () => true)
  const full = await compacted(all.store, join(folder, 'all'))
  const deleting = await timed(async () => {
    for (const [commit, version] of all.versions) {
      if (!kept.has(commit)) await all.store.deleteSnapshot(version)
    }
  })
  const deleted = await compacted(all.store, join(folder, 'all'))
  const only = await replay(join(folder, 'only'), commit => kept.has(commit))
  const replayed = await compacted(only.store, join(folder, 'only'))
  for (const [commit, version] of only.versions) {
    const same = /** @type {string} */ (all.versions.get(commit))
    assert.deepEqual(await all.store.getSnapshotData(same), await only.store.getSnapshotData(version))
  }
  await all.store.close()
  await only.store.close()
  return { full, deleting, deleted, replayed }
})

heading(
  `Deleting ${count(lines.length - kept.size)} of ${count(lines.length)} snapshots`,
  `${basename(file)} is replayed with a snapshot for each commit; all but ${kept.size} are deleted, one call each (${milliseconds(result.deleting)} in all), and then compact(). Beside it, the same replay with only those ${kept.size} snapshots, and compact(). All that are kept are read and compared.`,
)
table(
  ['after compact()', 'files', 'compact()'],
  [
    ['all snapshots', megabytes(result.full.bytes), milliseconds(result.full.time)],
    ['most of them deleted', megabytes(result.deleted.bytes), milliseconds(result.deleted.time)],
    ['replayed with the others only', megabytes(result.replayed.bytes), milliseconds(result.replayed.time)],
  ],
)
const cost = result.deleted.bytes / result.replayed.bytes
goals([
  {
    what: 'files after deleting, against a replay of what is kept',
    goal: `≤ ${ratio(MAX_RATIO)}`,
    figure: ratio(cost),
    met: cost <= MAX_RATIO,
  },
])

/**
 * @param {string} basePath
 * @param {(commit: number) => boolean} isSnapshot
 */
async function replay(basePath, isSnapshot) {
  const store = await createPersistence({ basePath })
  /** @type {Map<number, string>} */
  const versions = new Map()
  const show = progress('replay', lines.length)
  for (const [commit, line] of lines.entries()) {
    await applyCommit(store, parseCommit(line))
    if (isSnapshot(commit)) versions.set(commit, await store.createSnapshot())
    show(commit + 1)
  }
  return { store, versions }
}

/**
 * @param {import('./lib/filled-store.js').Store} store
 * @param {string} folder
 */
async function compacted(store, folder) {
  const time = await timed(() => store.compact())
  return { time, bytes: await bytesIn(folder) }
}
