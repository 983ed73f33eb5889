import type { MaybePromise } from '../core/maybe-promise.ts'

/** Runs tasks one at a time, in the order in which they were given. */
export interface SerialQueue {
  /** Settles as the task does. A failing task does not keep the next from running. */
  run<T>(task: () => MaybePromise<T>): Promise<T>
  /** Resolves once every task given so far has settled. */
  idle(): Promise<void>
}

export function createSerialQueue(): SerialQueue {
  let last: Promise<void> = Promise.resolve()
  return {
    run(task) {
      const result = last.then(task)
      last = result.then(ignore, ignore)
      return result
    },
    idle: () => last,
  }
}

function ignore(): void {}
