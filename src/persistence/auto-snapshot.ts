import type { Logger } from '../core/logger.ts'

/** Takes a snapshot every so often if something has changed. */
export class AutoSnapshot {
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | undefined

  /**
   * @param interval In milliseconds.
   * @param changed Whether anything was committed since the last snapshot.
   */
  constructor(
    interval: number,
    changed: () => Promise<boolean>,
    snapshot: () => Promise<unknown>,
    logger: Logger,
  ) {
    const tick = async (): Promise<void> => {
      try {
        if (await changed()) await snapshot()
      } catch (error) {
        logger.error({ err: error }, 'varve: an automatic snapshot failed')
      }
    }
    this.#timer = setInterval(() => {
      this.#running ??= tick().finally(() => {
        this.#running = undefined
      })
    }, interval)
    // It never keeps the process alive.
    this.#timer.unref()
  }

  /** Takes no more snapshots, and waits for one that is being taken. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#running
  }
}
