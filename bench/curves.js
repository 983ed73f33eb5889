// @ts-check
/**
 * What a version takes, and what it costs to read one, for values small and large, few versions and thousands, keys
 * that change at every snapshot and keys that never do.
 *
 *     node curves.js [--quick] [--bytes 50000000] [--versions 3000] [--reads 2000] [curves.svg]
 *
 * With the name of a file, it draws the curves there.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createPersistence } from 'varve'
import { count, milliseconds } from './lib/format.js'
import { drawCurves } from './lib/log-chart.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { seededRandom } from './lib/random.js'
import { heading, table } from './lib/report.js'
import { median, quantile } from './lib/statistics.js'
import { withTempFolder } from './lib/temp.js'

const SIZES = [100, 1_000, 10_000, 100_000]
const VERSIONS = [2, 5, 10, 30, 100, 300, 1000, 3000]
const MAX_KEYS = 200

const { numbers, positionals } = readOptions({
  bytes: { full: 50_000_000, quick: 4_000_000 },
  versions: { full: 3_000, quick: 100 },
  reads: { full: 2_000, quick: 200 },
})

/**
 * What one store came to.
 *
 * @typedef {object} Point
 * @property {number} size of a value
 * @property {number} versions
 * @property {number} keys
 * @property {number} perVersion bytes of the history, for each superseded version
 * @property {number} p50 of reading a random version, in milliseconds
 * @property {number} p99
 */

/** @type {Point[]} */
const points = []
const lengths = VERSIONS.filter(versions => versions <= numbers.versions)
const show = progress('stores', SIZES.length * lengths.length)
for (const size of SIZES) {
  for (const versions of lengths) {
    // So many keys that all stores together have about the same to do; at least one.
    const keys = Math.min(MAX_KEYS, Math.max(1, Math.floor(numbers.bytes / 10 / size / versions)))
    if (keys * size * versions > 2 * numbers.bytes) continue
    points.push(await withTempFolder(folder => measure(join(folder, 'state'), size, versions, keys)))
    show(points.length)
  }
}
const still = await withTempFolder(folder => measureStill(join(folder, 'state')))

heading(
  'Size and read cost of histories',
  `All keys change at every snapshot, by one word of a text of that size; then compact(). Bytes are those of the history as the engine counts them, pages included, for each superseded version. ${count(numbers.reads)} reads of at(version).get(key), of random versions and keys.`,
)
table(
  ['value', 'versions', 'keys', 'bytes a version', 'of the value', 'read p50', 'read p99'],
  points.map(({ size, versions, keys, perVersion, p50, p99 }) => [
    `${count(size)} bytes`,
    count(versions),
    count(keys),
    count(Math.round(perVersion)),
    `${((100 * perVersion) / size).toFixed(1)} %`,
    milliseconds(p50),
    milliseconds(p99),
  ]),
)
heading(
  'Keys that never change',
  `${count(still.keys)} keys of 1,000 bytes that are written once, and one of them that changes before each of ${count(still.versions)} snapshots; then compact().`,
)
table(
  ['', 'bytes, or time'],
  [
    ['history, for each snapshot', count(Math.round(still.perVersion))],
    ['all of the store, for each snapshot, beyond the state', count(Math.round(still.perSnapshot))],
    ['read of a key that never changed, at a random snapshot: p50', milliseconds(still.p50)],
    ['the same: p99', milliseconds(still.p99)],
  ],
)
if (positionals[0] !== undefined) {
  await writeFile(
    positionals[0],
    drawCurves([
      {
        title: 'bytes a superseded version takes',
        x: 'versions of a key',
        lines: linesOf(({ perVersion }) => perVersion),
        format: value => count(value),
      },
      {
        title: 'read of a random version, p50',
        x: 'versions of a key',
        lines: linesOf(({ p50 }) => p50),
        format: value => milliseconds(value),
      },
    ]),
  )
}

/** @param {(point: Point) => number} pick */
function linesOf(pick) {
  return SIZES.map(size => ({
    name: `values of ${count(size)} bytes`,
    points: points
      .filter(point => point.size === size)
      .map(point => /** @type {[number, number]} */ ([point.versions, pick(point)])),
  }))
}

/**
 * @param {string} basePath
 * @param {number} size
 * @param {number} versions
 * @param {number} keys
 * @returns {Promise<Point>}
 */
async function measure(basePath, size, versions, keys) {
  const store = await createPersistence({ basePath })
  const names = Array.from({ length: keys }, (_, i) => `key ${i}`)
  const texts = names.map((_, i) => words(size, i))
  const random = seededRandom(size + versions)
  for (let version = 0; version < versions; version++) {
    for (const text of texts) text[Math.floor(random() * text.length)] = word(random)
    await store.setMany(
      names.map((name, i) => /** @type {const} */ ([name, /** @type {string[]} */ (texts[i]).join(' ')])),
    )
    await store.createSnapshot()
  }
  await store.compact()
  const { history } = (await store.getMetrics()).storage.tables
  const times = await readRandomly(
    store,
    versions,
    () => /** @type {string} */ (names[Math.floor(random() * keys)]),
  )
  await store.close()
  const superseded = keys * (versions - 1)
  return { size, versions, keys, perVersion: (history?.bytes ?? 0) / superseded, ...times }
}

/** @param {string} basePath */
async function measureStill(basePath) {
  const store = await createPersistence({ basePath })
  const keys = Math.max(100, Math.floor(numbers.bytes / 10 / 1_000))
  const versions = numbers.versions
  for (let start = 0; start < keys; start += 10_000) {
    const length = Math.min(10_000, keys - start)
    await store.setMany(
      Array.from({ length }, (_, i) => {
        const text = words(1_000, start + i).join(' ')
        return /** @type {const} */ ([`key ${start + i}`, text])
      }),
    )
  }
  await store.createSnapshot()
  const before = await store.compact()
  const text = words(1_000, 0)
  const random = seededRandom(1)
  for (let version = 1; version < versions; version++) {
    text[Math.floor(random() * text.length)] = word(random)
    await store.set('key 0', text.join(' '))
    await store.createSnapshot()
  }
  const { bytesAfter } = await store.compact()
  const { history } = (await store.getMetrics()).storage.tables
  const times = await readRandomly(store, versions, () => `key ${1 + Math.floor(random() * (keys - 1))}`)
  await store.close()
  return {
    keys,
    versions,
    perVersion: (history?.bytes ?? 0) / (versions - 1),
    perSnapshot: (bytesAfter - before.bytesAfter) / (versions - 1),
    ...times,
  }
}

/**
 * @param {import('varve').Persistence} store
 * @param {number} versions
 * @param {() => string} keyOf
 */
async function readRandomly(store, versions, keyOf) {
  const random = seededRandom(versions)
  /** @type {number[]} */
  const times = []
  for (let i = 0; i < numbers.reads; i++) {
    const snapshot = store.at(`v${1 + Math.floor(random() * versions)}`)
    const key = keyOf()
    const start = performance.now()
    await snapshot.get(key)
    times.push(performance.now() - start)
  }
  return { p50: median(times), p99: quantile(times, 0.99) }
}

/**
 * About so many bytes of words.
 *
 * @param {number} bytes
 * @param {number} seed
 */
function words(bytes, seed) {
  const random = seededRandom(seed)
  return Array.from({ length: Math.max(1, Math.round(bytes / 8)) }, () => word(random))
}

/** Seven letters of sixteen, so that half of a text is news. @param {() => number} random */
function word(random) {
  return Math.floor(random() * 2 ** 28)
    .toString(16)
    .padStart(7, '0')
}
