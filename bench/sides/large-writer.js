// @ts-check
/** A process that makes large commits beside another that loops single sets. See sections/beside.js. */
import { setTimeout as delay } from 'node:timers/promises'
import { createPersistence } from 'varve'
import { entriesOf, fill } from '../lib/filled-store.js'
import { distinctIntegers, seededRandom } from '../lib/random.js'

/** Holds how many commits the other process has made. */
export const COUNTER = 'counter'
/** Between two large commits, in milliseconds. */
const PAUSE = 20

/** @type {import('varve').Persistence} */
let store
let keys = 0

/**
 * @param {string} folder
 * @param {number} howMany keys it is filled with
 */
export async function open(folder, howMany) {
  store = await createPersistence({ basePath: folder })
  keys = howMany
  await store.set(COUNTER, 0)
  await fill(store, keys)
}

/**
 * @param {number} commits
 * @param {number} size keys of each
 */
export async function commitMany(commits, size) {
  const waits = []
  const milliseconds = []
  let failed = 0
  for (let i = 1; i <= commits; i++) {
    const entries = entriesOf(distinctIntegers(seededRandom(i), size - 1, keys), i)
    await delay(PAUSE)
    const start = performance.now()
    // Both are asked for in one tick and so share one commit, in which the change of the counter sees it as it is.
    let atCommit = 0
    const made = store.setMany(entries)
    const seen = store.update(COUNTER, n => {
      atCommit = Number(n)
      return n
    })
    // The values are encoded; what waits from here on is the commit.
    const whenAsked = Number(await store.get(COUNTER))
    try {
      await Promise.all([made, seen])
      milliseconds.push(performance.now() - start)
      waits.push(atCommit - whenAsked)
    } catch {
      failed++
    }
  }
  await store.close()
  return { waits, milliseconds, failed }
}
