// @ts-check
/** The stages of scale.js, each in a process of its own. */
import assert from 'node:assert/strict'
import { createPersistence } from 'varve'
import { entriesOf, keyOf, recordOf } from '../lib/filled-store.js'
import { timed } from '../lib/interleave.js'
import { residentMemory } from '../lib/process-memory.js'
import { progress } from '../lib/progress.js'
import { untilQuiet } from '../lib/quiet.js'
import { distinctIntegers, seededRandom } from '../lib/random.js'
import { Side } from '../lib/side.js'
import { median } from '../lib/statistics.js'

/** @typedef {import('varve').Persistence} Store */

const BATCH = 10_000
/** Keys changed before each snapshot of the stage `snapshots`. */
const SNAPSHOT_CHANGES = 1_000
const READS = 5_000
/** The snapshot that is gone back to in the end. */
const LOADED = 'loaded'

/**
 * What it costs to have so many keys. Times in milliseconds.
 *
 * @typedef {object} KeysPoint
 * @property {number} keys
 * @property {number} load of a key, in commits of 10,000 new ones, since the point before
 * @property {number} get
 * @property {number} set awaited
 * @property {number} snapshot
 * @property {number} compare of 100 changes
 * @property {number} restore of 100 changes
 * @property {number} open in a new process
 * @property {number} bytes of the table of the current state
 */

/**
 * @param {string} basePath of no store yet
 * @param {number} keys
 * @returns {Promise<{ points: KeysPoint[], seconds: number, memory: number }>}
 */
export async function keys(basePath, keys) {
  const started = performance.now()
  const store = await createPersistence({ basePath })
  const meter = memoryMeter()
  /** @type {KeysPoint[]} */
  const points = []
  const show = progress(`load ${keys.toLocaleString('en-US')} keys`, keys)
  let done = 0
  for (const size of sizesUpTo(keys, 1_000)) {
    let took = 0
    const before = done
    while (done < size) {
      const indices = Array.from({ length: Math.min(BATCH, size - done) }, (_, i) => done + i)
      const entries = entriesOf(indices, 0)
      took += await timed(() => store.setMany(entries))
      done += indices.length
      show(done)
    }
    await untilQuiet()
    points.push({
      keys: size,
      load: took / (size - before),
      ...(await costsOf(store, size)),
      open: await openElsewhere(basePath),
      bytes: (await store.getMetrics()).storage.tables['live']?.bytes ?? 0,
    })
  }
  await store.createSnapshot({ tag: LOADED })
  await untilQuiet()
  await store.close()
  return { points, seconds: secondsSince(started), memory: meter() }
}

/**
 * @param {Store} store
 * @param {number} size
 */
async function costsOf(store, size) {
  const changed = distinctIntegers(seededRandom(size), 100, size)
  const get = await readRandomly(size, key => store.get(key))
  const sets = []
  const snapshots = []
  const compares = []
  const restores = []
  for (let round = 0; round < 5; round++) {
    const from = await store.createSnapshot()
    for (const index of changed.slice(0, 10))
      sets.push(await timed(() => store.set(keyOf(index), recordOf(index, 1))))
    await store.setMany(entriesOf(changed, 1))
    await untilQuiet()
    let to = ''
    snapshots.push(
      await timed(async () => {
        to = await store.createSnapshot()
      }),
    )
    compares.push(await timed(() => store.compareSnapshots(from, to)))
    restores.push(await timed(() => store.restoreSnapshot(from)))
    await untilQuiet()
  }
  return {
    get,
    set: median(sets),
    snapshot: median(snapshots),
    compare: median(compares),
    restore: median(restores),
  }
}

/**
 * What it costs to have so many snapshots. Times in milliseconds.
 *
 * @typedef {object} SnapshotsPoint
 * @property {number} snapshots
 * @property {number} snapshot
 * @property {number} change of a key, in a commit of 1,000, the first after a snapshot
 * @property {number} get of the current state
 * @property {number} getAt random snapshots
 * @property {number} list
 * @property {number} bytes of all tables but that of the current state
 */

/**
 * @param {string} basePath
 * @param {number} keys
 * @param {boolean} quick
 * @returns {Promise<{ points: SnapshotsPoint[], changes: number, seconds: number, memory: number }>}
 */
export async function snapshots(basePath, keys, quick) {
  const started = performance.now()
  const store = await createPersistence({ basePath })
  const meter = memoryMeter()
  const random = seededRandom(2)
  const before = await historyBytes(store)
  const total = quick ? 100 : 1_000
  /** @type {SnapshotsPoint[]} */
  const points = []
  /** @type {string[]} */
  const versions = []
  const show = progress('snapshots', total)
  for (const size of sizesUpTo(total, 1)) {
    const [times, changes] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])]
    while (versions.length < size) {
      const entries = entriesOf(distinctIntegers(random, SNAPSHOT_CHANGES, keys), versions.length + 10)
      changes.push((await timed(() => store.setMany(entries))) / SNAPSHOT_CHANGES)
      times.push(await timed(async () => versions.push(await store.createSnapshot())))
      show(versions.length)
    }
    await untilQuiet()
    points.push({
      snapshots: size,
      snapshot: median(times),
      change: median(changes),
      get: await readRandomly(keys, key => store.get(key)),
      getAt: await readRandomly(keys, (key, random) => {
        const version = /** @type {string} */ (versions[Math.floor(random * versions.length)])
        return store.at(version).get(key)
      }),
      list: await timed(() => store.listSnapshots()),
      bytes: Math.max(1, (await historyBytes(store)) - before),
    })
  }
  await store.close()
  return { points, changes: SNAPSHOT_CHANGES, seconds: secondsSince(started), memory: meter() }
}

/**
 * What so many changes between two snapshots cost. Times in milliseconds.
 *
 * @typedef {object} ChangesPoint
 * @property {number} changes
 * @property {number} change making them, in commits of at most 10,000
 * @property {number} diff walking over them
 * @property {number} restore
 * @property {number} bytes of all tables but that of the current state
 */

/**
 * @param {string} basePath
 * @param {number} keys
 * @returns {Promise<{ points: ChangesPoint[], seconds: number, memory: number }>}
 */
export async function changes(basePath, keys) {
  const started = performance.now()
  const store = await createPersistence({ basePath })
  const meter = memoryMeter()
  const most = Math.min(1_000_000, keys / 2)
  /** @type {ChangesPoint[]} */
  const points = []
  const sizes = sizesUpTo(most, 100)
  const show = progress('changes', sizes.length)
  for (const size of sizes) {
    const indices = distinctIntegers(seededRandom(size), size, keys)
    const before = await historyBytes(store)
    const from = await store.createSnapshot()
    let change = 0
    for (let start = 0; start < size; start += BATCH) {
      const entries = entriesOf(indices.slice(start, start + BATCH), 100_000 + points.length)
      change += await timed(() => store.setMany(entries))
    }
    const to = await store.createSnapshot()
    await untilQuiet()
    const bytes = Math.max(1, (await historyBytes(store)) - before)
    let found = 0
    const diff = await timed(async () => {
      for await (const _ of store.diff(from, to)) found++
    })
    assert.equal(found, size, 'the difference does not name every changed key')
    const restore = await timed(() => store.restoreSnapshot(from))
    await untilQuiet()
    points.push({ changes: size, change, diff, restore, bytes })
    show(points.length)
  }
  await store.close()
  return { points, seconds: secondsSince(started), memory: meter() }
}

/**
 * Goes back to the state as it was loaded, over all that happened since, and checks it.
 *
 * @param {string} basePath
 * @param {number} keys
 * @returns {Promise<{ set: number, milliseconds: number, checked: number, snapshots: number, seconds: number, memory: number }>}
 */
export async function rewind(basePath, keys) {
  const started = performance.now()
  const store = await createPersistence({ basePath })
  const meter = memoryMeter()
  const { length } = await store.listSnapshots()
  let set = 0
  const milliseconds = await timed(async () => {
    set = (await store.restoreSnapshotByTag(LOADED)).set
  })
  assert.equal(await store.size(), keys)
  let checked = 0
  for (let index = 0; index < keys; index += Math.ceil(keys / 20_000)) {
    assert.deepEqual(await store.get(keyOf(index)), recordOf(index, 0))
    checked++
  }
  await store.close()
  return { set, milliseconds, checked, snapshots: length, seconds: secondsSince(started), memory: meter() }
}

/**
 * The powers of ten up to a number, and the number itself.
 *
 * @param {number} most
 * @param {number} least
 */
function sizesUpTo(most, least) {
  const sizes = []
  for (let size = least; size < most; size *= 10) sizes.push(size)
  return [...sizes, most]
}

/**
 * Milliseconds for each of some reads of random keys, one after the other.
 *
 * @param {number} keys
 * @param {(key: string, random: number) => Promise<unknown>} read is handed a number in [0, 1) as well
 */
async function readRandomly(keys, read) {
  const random = seededRandom(keys)
  const names = Array.from({ length: READS }, () => keyOf(Math.floor(random() * keys)))
  const rest = Array.from({ length: READS }, random)
  const took = await timed(async () => {
    for (const [i, name] of names.entries()) await read(name, rest[i] ?? 0)
  })
  return took / READS
}

/** @param {string} basePath */
async function openElsewhere(basePath) {
  const times = []
  for (let i = 0; i < 3; i++) {
    const side = new Side('peer.js')
    try {
      times.push(await side.call('open', 'varve', basePath))
      await side.call('close')
    } finally {
      await side.end()
    }
  }
  return median(times)
}

/** @param {Store} store */
async function historyBytes(store) {
  const { tables } = (await store.getMetrics()).storage
  return Object.entries(tables).reduce((sum, [name, { bytes }]) => (name === 'live' ? sum : sum + bytes), 0)
}

/** Watches the memory that is not pages of files. @returns {() => number} ends that, and says the most there was */
function memoryMeter() {
  let most = 0
  const look = () => {
    most = Math.max(most, residentMemory('self')?.anonymous ?? 0)
  }
  const timer = setInterval(look, 50)
  return () => {
    clearInterval(timer)
    look()
    return most
  }
}

/** @param {number} started */
function secondsSince(started) {
  return Math.round((performance.now() - started) / 1000)
}
