import type { Logger } from '../core/logger.ts'

/** Takes a snapshot every so often if something has changed. */
export class AutoSnapshot {
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | undefined

  /**
   * @param interval In milliseconds.
   * @param snapshot Takes a snapshot, if anything was committed since the last one.
   */
  constructor(interval: number, snapshot: () => Promise<void>, logger: Logger) {
    const tick = async (): Promise<void> => {
      try {
        await snapshot()
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
