// @ts-check
/**
 * One peer on one folder, and the measurements that it is asked for. Those that return a number return milliseconds for
 * each call. Values are made before the clock runs, and what a peer does in the background has ended before the next
 * measurement begins.
 */
import assert from 'node:assert/strict'
import { mkdir, rm } from 'node:fs/promises'
import { entriesOf, keyOf, orderedKeyOf, recordOf } from '../lib/filled-store.js'
import { timed } from '../lib/interleave.js'
import { progress } from '../lib/progress.js'
import { untilQuiet } from '../lib/quiet.js'
import { distinctIntegers, seededRandom } from '../lib/random.js'

/** Calls in flight where there are many. */
const IN_FLIGHT = 10_000
/** Entries of a commit where nothing else is said. */
const BATCH = 10_000

/** @type {import('../peers/peer.js').PeerModule} */
let module
/** @type {import('../peers/peer.js').Peer} */
let peer
let folder = ''

/**
 * @param {string} name of a file in `peers/`
 * @param {string} path of its folder, which is made
 * @returns {Promise<number>}
 */
export async function open(name, path) {
  folder = path
  module = await import(`../peers/${name}.js`)
  await mkdir(folder, { recursive: true })
  return timed(async () => {
    peer = await module.open(folder)
  })
}

/** Closes what is open, removes it, and begins anew. */
export async function startOver() {
  await close()
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder)
  peer = await module.open(folder)
}

export async function close() {
  await peer.close()
}

/**
 * @param {number} keys
 * @param {number} [batch] entries at a time
 */
export async function fill(keys, batch = BATCH) {
  for (let start = 0; start < keys; start += batch)
    await peer.setMany(entriesOf(indicesFrom(start, Math.min(batch, keys - start)), 0))
  await untilQuiet()
}

/** @param {number} keys in their order, which is faster */
export async function fillInOrder(keys) {
  const show = progress(`fill ${keys.toLocaleString('en-US')} keys`, keys)
  for (let start = 0; start < keys; start += BATCH) {
    const indices = indicesFrom(start, Math.min(BATCH, keys - start))
    await peer.setMany(indices.map(index => [orderedKeyOf(index), recordOf(index, 0)]))
    show(start + indices.length)
  }
  await untilQuiet()
}

/** @param {number} keys are set for the first time, many in flight */
export async function setNew(keys) {
  let took = 0
  for (let start = 0; start < keys; start += IN_FLIGHT)
    took += await setTogether(indicesFrom(start, Math.min(IN_FLIGHT, keys - start)), 0)
  await untilQuiet()
  return took / keys
}

/**
 * Writes over random keys, many in flight.
 *
 * @param {number} keys there are
 * @param {number} count of them
 * @param {number} edition
 */
export async function overwrite(keys, count, edition) {
  const indices = distinctIntegers(seededRandom(edition), count, keys)
  let took = 0
  for (let start = 0; start < count; start += IN_FLIGHT)
    took += await setTogether(indices.slice(start, start + IN_FLIGHT), edition)
  await untilQuiet()
  return took / count
}

/**
 * Writes over random keys, one after the other.
 *
 * @param {number} keys there are
 * @param {number} count of them
 * @param {number} edition
 */
export async function overwriteAwaited(keys, count, edition) {
  const entries = entriesOf(distinctIntegers(seededRandom(edition), count, keys), edition)
  const took = await timed(async () => {
    for (const [key, value] of entries) await peer.set(key, value)
  })
  await untilQuiet()
  return took / count
}

/**
 * One commit that writes over random keys.
 *
 * @param {number} keys there are
 * @param {number} count of them
 * @param {number} edition
 */
export async function overwriteAtOnce(keys, count, edition) {
  const entries = entriesOf(distinctIntegers(seededRandom(edition), count, keys), edition)
  const took = await timed(async () => peer.setMany(entries))
  await untilQuiet()
  return took
}

/**
 * One commit of new keys.
 *
 * @param {number} from how many there are
 * @param {number} count
 */
export async function setNewAtOnce(from, count) {
  const entries = entriesOf(indicesFrom(from, count), 0)
  const took = await timed(async () => peer.setMany(entries))
  await untilQuiet()
  return took
}

/**
 * Random reads, one after the other.
 *
 * @param {number} keys there are
 * @param {number} count
 * @param {number} seed
 */
export async function get(keys, count, seed) {
  const random = seededRandom(seed)
  const names = Array.from({ length: count }, () => keyOf(Math.floor(random() * keys)))
  let found = 0
  const took = await timed(async () => {
    for (const name of names) if ((await peer.get(name)) !== undefined) found++
  })
  assert.equal(found, count)
  return took / count
}

/**
 * Reads of several random keys at once, one after the other.
 *
 * @param {number} keys there are
 * @param {number} together
 * @param {number} count of such reads
 * @param {number} seed
 * @param {'getMany' | 'get'} by what
 */
export async function getMany(keys, together, count, seed, by = 'getMany') {
  const random = seededRandom(seed)
  const lists = Array.from({ length: count }, () =>
    Array.from({ length: together }, () => keyOf(Math.floor(random() * keys))),
  )
  let found = 0
  const took = await timed(async () => {
    for (const list of lists) {
      const values = by === 'get' ? list.map(key => peer.get(key)) : await peer.getMany?.(list)
      for (const value of values ?? []) if (value !== undefined) found++
    }
  })
  assert.equal(found, together * count)
  return took / count
}

/** @param {number} keys there are, all of which are read, in order */
export async function entries(keys) {
  let found = 0
  const took = await timed(async () => {
    const all = peer.entries?.() ?? []
    // An iterator that does not wait is not made to.
    if (Symbol.iterator in all) for (const _ of all) found++
    else for await (const _ of all) found++
  })
  assert.equal(found, keys)
  return took / keys
}

export async function mark() {
  return peer.mark?.()
}

/**
 * Takes snapshots, and before each writes over some keys of a range.
 *
 * @param {number} snapshots
 * @param {readonly { from: number, to: number, count: number }[]} changes before each snapshot, of keys from `from` to `to`
 * @returns {Promise<import('../peers/peer.js').Mark[]>}
 */
export async function addHistory(snapshots, changes) {
  const random = seededRandom(1)
  const marks = []
  for (let i = 1; i <= snapshots; i++) {
    const indices = changes.flatMap(({ from, to, count }) =>
      distinctIntegers(random, count, to - from).map(index => from + index),
    )
    await peer.setMany(entriesOf(indices, i))
    marks.push(/** @type {import('../peers/peer.js').Mark} */ (await peer.mark?.()))
  }
  await untilQuiet()
  return marks
}

/**
 * Reads at random marks, one after the other.
 *
 * @param {readonly import('../peers/peer.js').Mark[]} marks
 * @param {{ from: number, to: number }} keys of which random ones are read
 * @param {number} count
 * @param {number} seed
 */
export async function getAt(marks, { from, to }, count, seed) {
  const random = seededRandom(seed)
  const reads = Array.from({ length: count }, () => ({
    mark: /** @type {import('../peers/peer.js').Mark} */ (marks[Math.floor(random() * marks.length)]),
    key: keyOf(from + Math.floor(random() * (to - from))),
  }))
  let found = 0
  const took = await timed(async () => {
    for (const { mark, key } of reads) if ((await peer.getAt?.(mark, key)) !== undefined) found++
  })
  assert.equal(found, count)
  return took / count
}

export async function compact() {
  await peer.compact?.()
  await untilQuiet()
}

/**
 * Backups, each after a change of one key: the times that they take.
 *
 * @param {string} target
 * @param {number} edition
 * @param {number} times how many are made one after the other
 */
export async function backup(target, edition, times) {
  const samples = []
  for (let i = 0; i < times; i++) {
    await peer.set(keyOf(0), recordOf(0, edition * times + i))
    if (times === 1) await untilQuiet()
    samples.push(await timed(async () => peer.backup?.(target)))
  }
  await untilQuiet()
  await rm(target, { recursive: true, force: true })
  return samples
}

/**
 * Compares two marks between which keys were changed, and goes back to the first.
 *
 * @param {number} keys there are
 * @param {number} count of changed ones
 * @param {number} edition
 */
export async function compareAndRestore(keys, count, edition) {
  const from = await peer.mark?.()
  await peer.setMany(entriesOf(distinctIntegers(seededRandom(edition), count, keys), edition))
  const to = await peer.mark?.()
  if (from === undefined || to === undefined) throw new TypeError('The peer marks nothing')
  await untilQuiet()
  let differing = 0
  const compare = await timed(async () => {
    differing = (await peer.compare?.(from, to)) ?? 0
  })
  assert.equal(differing, count)
  await untilQuiet()
  const restore = peer.restore && (await timed(async () => peer.restore?.(from)))
  await untilQuiet()
  return { compare, restore }
}

/** @type {Record<string, unknown>} */
let state = {}

/**
 * Saves a whole state of which some keys differ from the one saved before. The first time, all of it is new.
 *
 * @param {number} keys
 * @param {number} count of changed ones
 * @param {number} edition
 */
export async function save(keys, count, edition) {
  if (Object.keys(state).length === 0) state = Object.fromEntries(entriesOf(indicesFrom(0, keys), 0))
  for (const index of distinctIntegers(seededRandom(edition), count, keys))
    state[keyOf(index)] = recordOf(index, edition)
  const took = await timed(async () => peer.save?.(state))
  await untilQuiet()
  return took
}

/**
 * @param {readonly number[]} indices
 * @param {number} edition
 */
async function setTogether(indices, edition) {
  const entries = entriesOf(indices, edition)
  return timed(() => Promise.all(entries.map(([key, value]) => peer.set(key, value))))
}

/**
 * @param {number} from
 * @param {number} length
 */
function indicesFrom(from, length) {
  return Array.from({ length }, (_, i) => from + i)
}
