// @ts-check
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { residentMemory } from './process-memory.js'

/** Between two looks at the child's memory, in milliseconds. */
const INTERVAL = 5

/**
 * Runs a module in a process of its own and watches its memory from outside, where nothing delays the watching.
 *
 * @param {URL} module it sends one message, its result
 * @param {readonly string[]} args
 * @returns {Promise<{ result: any, peak: import('./process-memory.js').ResidentMemory | undefined }>} the peaks of each
 *   kind of memory, which need not have coincided; `undefined` where the system does not tell
 */
export async function runSampled(module, args) {
  // Flags of this process, such as those of a profiler, are not for the child.
  const child = fork(module, args, { execArgv: [] })
  const pid = /** @type {number} */ (child.pid)
  /** @type {import('./process-memory.js').ResidentMemory | undefined} */
  let peak
  const sample = () => {
    const now = residentMemory(pid)
    if (now === undefined) return
    peak = {
      highWater: Math.max(now.highWater, peak?.highWater ?? 0),
      anonymous: Math.max(now.anonymous, peak?.anonymous ?? 0),
      file: Math.max(now.file, peak?.file ?? 0),
    }
  }
  let result
  child.on('message', message => {
    result = message
    sample()
  })
  const timer = setInterval(sample, INTERVAL)
  try {
    const [code, signal] = await once(child, 'exit')
    if (code !== 0) throw new Error(`${module} ${args.join(' ')} ended with ${signal ?? code}`)
  } finally {
    clearInterval(timer)
  }
  return { result, peak }
}
