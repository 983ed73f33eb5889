import { EngineError, StoreClosedError } from '../core/errors.ts'

/** Counts the openings of one thing, and holds what it takes while it is open. */
export interface Lifecycle<R> {
  /** How many openings have not been closed yet. */
  readonly users: number
  /** Acquires on the first opening; a later one waits for the first to finish. */
  open(): Promise<void>
  /** Refuses use at once on the last closing, then releases. Closing more often than opening does nothing. */
  close(): Promise<void>
  /**
   * What was acquired.
   *
   * @throws EngineError before the first opening.
   * @throws StoreClosedError after the last closing.
   */
  get(): R
}

/**
 * A {@link Lifecycle} around `acquire` and `release`. They never run at the same time, whatever the order in which
 * openings and closings arrive.
 */
export function createLifecycle<R extends object>(
  acquire: () => R | Promise<R>,
  release: (resource: R) => Promise<void>,
): Lifecycle<R> {
  let users = 0
  let everOpened = false
  let held: R | undefined
  /** What `get` answers: `held`, from when it is acquired to the last closing. */
  let current: R | undefined
  let transition: Promise<void> = Promise.resolve()

  function enqueue(step: () => Promise<void>): Promise<void> {
    transition = transition.then(step, step)
    return transition
  }

  return {
    get users() {
      return users
    },

    async open() {
      users += 1
      const opening =
        users > 1
          ? transition
          : enqueue(async () => {
              held = await acquire()
              everOpened = true
              if (users > 0) current = held
            })
      try {
        await opening
      } catch (error) {
        users -= 1
        throw error
      }
    },

    async close() {
      if (users === 0) return transition.catch(() => undefined)
      users -= 1
      if (users > 0) return
      current = undefined
      await enqueue(async () => {
        const resource = held
        held = undefined
        if (resource !== undefined) await release(resource)
      })
    },

    get() {
      if (current !== undefined) return current
      if (everOpened) throw new StoreClosedError()
      throw new EngineError('The engine is not open; call and await its open() before using it.')
    },
  }
}
