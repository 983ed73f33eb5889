// @ts-check
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

/** Looks so far apart, in milliseconds. */
const INTERVAL = 250
/** A thread that works for less of the time than this has nothing left to do. */
const MAX_UTILIZATION = 0.03
/** In milliseconds. */
const LIMIT = 120_000

/** Waits until this thread has nothing more to do in the background, such as the packing that follows a snapshot. */
export async function untilQuiet() {
  const started = performance.now()
  let before = performance.eventLoopUtilization()
  for (;;) {
    await delay(INTERVAL)
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    if (utilization < MAX_UTILIZATION) return
    if (performance.now() - started > LIMIT) {
      process.stderr.write(`There is still background work after ${LIMIT / 1000} s; measuring beside it.\n`)
      return
    }
    before = now
  }
}
