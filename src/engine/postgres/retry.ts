import { setTimeout as delay } from 'node:timers/promises'

const FIRST_PAUSE = 5
const LONGEST_PAUSE = 500

/** Says whether something may be tried again: until some time has passed, after growing, random pauses. */
export class Retry {
  readonly #timeout: number
  /** When the first attempt failed. */
  #began: number | undefined
  #pause = FIRST_PAUSE

  /** @param timeout - in milliseconds, from the first failure on */
  constructor(timeout: number) {
    this.#timeout = timeout
  }

  /** Waits a little and answers `true`; or `false`, at once, when the time is over. */
  async again(): Promise<boolean> {
    const now = performance.now()
    this.#began ??= now
    if (now - this.#began >= this.#timeout) return false
    await delay(this.#pause * (0.5 + Math.random()))
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE)
    return true
  }
}
