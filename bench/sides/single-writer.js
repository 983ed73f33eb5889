// @ts-check
/** A process that awaits single sets, one after the other, and counts them in the store. See sections/beside.js. */
import { createPersistence } from 'varve'
import { COUNTER } from './large-writer.js'

let running = false
/** @type {Promise<{ sets: number, seconds: number }>} */
let loop

/** @param {string} folder */
export async function start(folder) {
  const store = await createPersistence({ basePath: folder })
  running = true
  loop = setUntilStopped(store)
}

export function stop() {
  running = false
  return loop
}

/** @param {import('varve').Persistence} store */
async function setUntilStopped(store) {
  const started = performance.now()
  let sets = 0
  while (running) {
    await store.set(COUNTER, ++sets)
    // Lets the message come in that ends it.
    if (sets % 100 === 0) await new Promise(setImmediate)
  }
  const seconds = (performance.now() - started) / 1000
  await store.close()
  return { sets, seconds }
}
