// @ts-check
/** A process that works on a large store in all ways at once, and says what memory it takes. See sections/memory.js. */
import { setTimeout as delay } from 'node:timers/promises'
import { createPersistence } from 'varve'
import { orderedKeyOf } from '../lib/filled-store.js'
import { residentMemory } from '../lib/process-memory.js'
import { progress } from '../lib/progress.js'
import { untilQuiet } from '../lib/quiet.js'
import { seededRandom } from '../lib/random.js'
import { bytesIn } from '../lib/temp.js'

/**
 * @typedef {object} Load
 * @property {{ seconds: number, anonymous: number, heap: number }[]} samples
 * @property {number} calls
 */

const BATCH = 5_000
/** Too short to be deflated. */
const TEXT_LENGTH = 880
/** Between two looks at the memory, in milliseconds. */
const INTERVAL = 100
const IN_FLIGHT = 100

/**
 * @param {string} folder
 * @param {number} keys
 * @returns {Promise<number>} bytes of its files
 */
export async function fill(folder, keys) {
  const store = await createPersistence({ basePath: folder })
  const show = progress(`fill ${keys.toLocaleString('en-US')} keys`, keys)
  for (let start = 0; start < keys; start += BATCH) {
    const length = Math.min(BATCH, keys - start)
    await store.setMany(
      Array.from({ length }, (_, i) => /** @type {const} */ ([orderedKeyOf(start + i), textOf(start + i)])),
    )
    show(start + length)
  }
  await untilQuiet()
  await store.close()
  return bytesIn(folder)
}

/**
 * @param {string} folder
 * @param {number} keys
 * @param {number} seconds
 * @returns {Promise<Load>}
 */
export async function run(folder, keys, seconds) {
  const store = await createPersistence({ basePath: folder })
  const started = performance.now()
  /** @type {Load['samples']} */
  const samples = []
  const sample = () => {
    samples.push({
      seconds: (performance.now() - started) / 1000,
      anonymous: residentMemory('self')?.anonymous ?? 0,
      heap: process.memoryUsage().heapUsed,
    })
  }
  const timer = setInterval(sample, INTERVAL)
  const random = seededRandom(1)
  const anyKey = () => orderedKeyOf(Math.floor(random() * keys))
  const several = () => Array.from({ length: IN_FLIGHT }, anyKey)
  let running = true
  let calls = 0
  /** @param {() => Promise<number>} work @param {number} [pause] */
  const loop = async (work, pause = 0) => {
    while (running) {
      calls += await work()
      await delay(pause)
    }
  }
  /** @type {string[]} */
  const snapshots = [await store.createSnapshot()]
  const past = () => /** @type {string} */ (snapshots[Math.floor(random() * snapshots.length)])
  const loops = [
    loop(async () => {
      for (const key of several()) await store.get(key)
      return IN_FLIGHT
    }),
    loop(async () => {
      await Promise.all(several().map((key, i) => store.set(key, textOf(calls + i))))
      return IN_FLIGHT
    }),
    loop(async () => {
      await store.update(anyKey(), value => value)
      await store.getMany(several())
      return 2
    }),
    loop(async () => {
      for (const key of several()) await store.at(past()).get(key)
      return IN_FLIGHT
    }),
    loop(async () => {
      for await (const _ of store.entries({ gte: anyKey(), limit: 1_000 }));
      return 1
    }, 20),
    loop(async () => {
      snapshots.push(await store.createSnapshot())
      return 1
    }, 1_000),
    loop(async () => {
      await store.compareSnapshots(snapshots.at(-2) ?? past(), snapshots.at(-1) ?? past())
      return 1
    }, 2_000),
    // What has changed for long may be as large as the store: it is asked for piece by piece.
    loop(async () => {
      for await (const _ of store.diff(past(), snapshots.at(-1) ?? past()));
      return 1
    }, 2_000),
  ]
  await delay(seconds * 1000)
  running = false
  await Promise.all(loops)
  clearInterval(timer)
  await store.close()
  return { samples, calls }
}

/** @param {number} seed */
function textOf(seed) {
  const random = seededRandom(seed)
  let text = ''
  while (text.length < TEXT_LENGTH) text += Math.floor(random() * 2 ** 32).toString(36)
  return { seed, text: text.slice(0, TEXT_LENGTH) }
}
