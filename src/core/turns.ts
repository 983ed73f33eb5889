import { setImmediate as nextTurn } from 'node:timers/promises'

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

  /** Returns at once within a slice; at its end, lets the event loop turn. */
  async breathe(): Promise<void> {
    if (performance.now() - this.#started < SLICE) return
    await nextTurn()
    this.#started = performance.now()
  }
}
