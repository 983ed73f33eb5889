// @ts-check
/**
 * What histories of few versions a key take, beside git: there, no chain of differences makes up for the values that
 * are kept whole.
 *
 *     node short-histories.js [--quick] [--keys 1000] [history.jsonl.gz]
 *
 * The history is as for replay-check.js. Of each key, its first 2 to 10 versions are taken.
 */
import { basename, join } from 'node:path'
import { createPersistence } from 'varve'
import { count, megabytes, ratio } from './lib/format.js'
import { gitVersion } from './lib/git.js'
import { fastImport } from './lib/git-history.js'
import { readOptions } from './lib/options.js'
import { applyCommit, historyFile, parseCommit, readHistoryLines } from './lib/recorded-history.js'
import { heading, print, table } from './lib/report.js'
import { bytesIn, withTempFolder } from './lib/temp.js'

const LENGTHS = [2, 3, 4, 5, 6, 8, 10]

const { numbers, positionals } = readOptions({ keys: { full: 1000, quick: 200 } })
const file = historyFile(positionals[0])
/** The versions of each key, oldest first. @type {Map<string, unknown[]>} */
const versions = new Map()
for (const line of await readHistoryLines(file)) {
  for (const [key, value] of Object.entries(parseCommit(line).put)) {
    const of = versions.get(key)
    if (of === undefined) versions.set(key, [value])
    else of.push(value)
  }
}
const git = await gitVersion()

/** @type {string[][]} */
const rows = []
for (const length of LENGTHS) {
  const keys = [...versions].filter(([, of]) => of.length >= length).slice(0, numbers.keys)
  /** A commit for each version, which all keys change in. */
  const commits = Array.from({ length }, (_, i) => ({
    put: Object.fromEntries(keys.map(([key, of]) => [key, of[i]])),
    del: [],
  }))
  const varve = await withTempFolder(folder => replay(join(folder, 'state'), commits))
  const lines = commits.map(commit => JSON.stringify(commit))
  const its = git === undefined ? undefined : await withTempFolder(folder => fastImport(folder, lines))
  process.stderr.write(`${length} versions\n`)
  rows.push([
    `${length} × ${count(keys.length)}`,
    megabytes(lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0)),
    megabytes(varve.live),
    megabytes(varve.history),
    megabytes(varve.bytes),
    its === undefined ? '–' : megabytes(its.bytes),
    its === undefined ? '–' : ratio(varve.bytes / its.bytes),
  ])
}

heading(
  'Histories of few versions',
  `The first versions of keys of ${basename(file)}, a snapshot for each, then compact(); beside git ${git ?? '(there is none here)'}: fast-import, repack -adf --depth=50 --window=50.`,
)
table(['versions × keys', 'JSON', 'live', 'history', 'files', 'git', 'against git'], rows)
print(`
Why it is more than in long histories: each key keeps two values whole, the current one, which is read without undoing
anything, and the newest superseded one, which its chain starts from. The live one is deflated quickly and by itself, since
that is on the path of a write. Git keeps one whole value a file, packs all of them with differences across files
too, and undoes as many as there are to read one. What each further version adds is the difference alone, on both sides.`)

/**
 * @param {string} basePath
 * @param {readonly import('./lib/recorded-history.js').RecordedCommit[]} commits
 */
async function replay(basePath, commits) {
  const store = await createPersistence({ basePath })
  for (const commit of commits) {
    await applyCommit(store, commit)
    await store.createSnapshot()
  }
  await store.compact()
  const { live, history } = (await store.getMetrics()).storage.tables
  await store.close()
  return { live: live?.bytes ?? 0, history: history?.bytes ?? 0, bytes: await bytesIn(basePath) }
}
