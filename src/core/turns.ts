import { setImmediate as nextTurn } from 'node:timers/promises'
import type { MaybePromise } from './maybe-promise.ts'

/** Long work gives way to callers after so many milliseconds. */
const SLICE = 1

/**
 * Cuts long work into slices, so that callers of the same thread are served in between.
 *
 * Awaiting an embedded engine does not do that by itself: what it answers at once goes on in the same turn of the event
 * loop, before any timer or input.
 */
export class Turns {
  #started = performance.now()

  /** Whether a slice is at its end: for who would rather not wait for {@link Turns.breathe} within one. */
  isOver(): boolean {
    return performance.now() - this.#started >= SLICE
  }

  /** Returns at once within a slice; at its end, lets the event loop turn. */
  async breathe(): Promise<void> {
    if (!this.isOver()) return
    await nextTurn()
    this.#started = performance.now()
  }
}

/**
 * Calls `step` for one stretch of `0 … count` after the other, of at most `size`: at once if one is enough, else with
 * turns of the event loop between.
 */
export function inSlices(
  count: number,
  size: number,
  step: (start: number, end: number) => MaybePromise<void>,
): MaybePromise<void> {
  return count <= size ? step(0, count) : sliceBySlice(count, size, step)
}

async function sliceBySlice(
  count: number,
  size: number,
  step: (start: number, end: number) => MaybePromise<void>,
): Promise<void> {
  for (let start = 0; start < count; start += size) {
    if (start > 0) await nextTurn()
    await step(start, Math.min(count, start + size))
  }
}
