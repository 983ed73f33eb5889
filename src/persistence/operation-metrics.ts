import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { ByteMeter } from '../core/byte-meter.ts'
import { isTraced, type OperationEvent, traceCall, traceIteration } from '../core/diagnostics.ts'
import { isPromiseLike, type MaybePromise } from '../core/maybe-promise.ts'

/** Counts and latencies of one kind of call. Latencies are in milliseconds. */
export interface OperationMetrics {
  /** Calls made, failed ones included. */
  readonly count: number
  /** Calls that were rejected. */
  readonly errors: number
  /** Bytes of the values they read or wrote, as they are stored; of exports, of the files. */
  readonly bytes: number
  /** Of the successful calls that were timed: every sixteenth of the first thousand, and then every sixty-fourth. */
  readonly latency: { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number }
}

/**
 * One in so many calls is timed, beginning with the first: enough for quantiles, and next to nothing for calls of a
 * microsecond. Powers of two.
 */
const SAMPLE_EVERY = 16
/** The same for calls of which there have been many. */
const SAMPLE_MANY_EVERY = 64
const MANY = 1024

function isTimed(count: number): boolean {
  return (count & ((count < MANY ? SAMPLE_EVERY : SAMPLE_MANY_EVERY) - 1)) === 0
}

const NANOSECONDS = 1e6

/** What is known of one kind of call. */
export class Operation implements ByteMeter {
  readonly name: string
  count = 0
  errors = 0
  bytes = 0
  // Made at the first sample: most stores use few of the calls.
  #histogram: RecordableHistogram | undefined
  /** What follows a call that is not timed: made once, so that such a call allocates nothing for it. */
  readonly succeeded: <T>(value: T) => T
  readonly finished: () => void
  readonly failed: (error: unknown) => never

  constructor(name: string, settled: () => void) {
    this.name = name
    this.finished = settled
    this.succeeded = value => {
      settled()
      return value
    }
    this.failed = error => {
      this.errors++
      settled()
      throw error
    }
  }

  record(nanoseconds: number): void {
    this.#histogram ??= createHistogram({ figures: 2 })
    this.#histogram.record(Math.max(1, Math.round(nanoseconds)))
  }

  report(): OperationMetrics {
    const histogram = this.#histogram
    const at = (percentile: number): number =>
      histogram ? histogram.percentile(percentile) / NANOSECONDS : 0
    return {
      count: this.count,
      errors: this.errors,
      bytes: this.bytes,
      latency: { p50: at(50), p95: at(95), p99: at(99), max: histogram ? histogram.max / NANOSECONDS : 0 },
    }
  }
}

let resolveNewest: () => void
let rejectNewest: (error: unknown) => void

/** What every {@link Effect} makes its promise with: a function for each would be one more thing to keep. */
function keepResolvers(resolve: () => void, reject: (error: unknown) => void): void {
  resolveNewest = resolve
  rejectNewest = reject
}

/** A call under way that has no result. */
class Effect {
  readonly promise: Promise<void> = new Promise(keepResolvers)
  readonly #resolve = resolveNewest
  readonly #reject = rejectNewest
  readonly #operation: Operation
  /** When it began, if it is timed. */
  readonly #start: number | undefined

  constructor(operation: Operation, start: number | undefined) {
    this.#operation = operation
    this.#start = start
  }

  /** It has come to its end, or, with an error, it has failed. */
  settled(error?: unknown): void {
    const operation = this.#operation
    if (error !== undefined) {
      operation.errors++
      this.#reject(error)
    } else {
      if (this.#start !== undefined) operation.record((performance.now() - this.#start) * NANOSECONDS)
      this.#resolve()
    }
    operation.finished()
  }
}

/** Measures the calls of a store by name, in a bounded space, and knows when none is under way. */
export class OperationRecorder {
  readonly #engine: string
  readonly #operations = new Map<string, Operation>()
  #underWay = 0
  #onIdle: (() => void) | undefined

  /** @param engine the name of the engine, for those who trace calls */
  constructor(engine: string) {
    this.#engine = engine
  }

  /** A kind of call. Those that are made often are looked up once. */
  operation(name: string): Operation {
    let operation = this.#operations.get(name)
    if (operation === undefined) {
      operation = new Operation(name, () => this.#settled())
      this.#operations.set(name, operation)
    }
    return operation
  }

  /** Counts the bytes of a kind of call whose calls cannot count them themselves. */
  meter(name: string): ByteMeter {
    return this.operation(name)
  }

  /** Runs a call and counts it; the first call of a kind and one in every few are timed. */
  measure<T>(operation: Operation, call: (meter: ByteMeter) => MaybePromise<T>): Promise<T> {
    return this.#run(operation, call, operation.succeeded)
  }

  /**
   * The same for a call without a result, that tells the {@link Effect} that it is given when it has come to an end, and
   * with which error. There may be many under way: each keeps little beside the promise that its caller waits for.
   */
  measureEffect(
    operation: Operation,
    call: (meter: ByteMeter, effect: Pick<Effect, 'settled'>) => void,
  ): Promise<void> {
    if (isTraced()) {
      const traced = (meter: ByteMeter): Promise<void> =>
        new Promise((resolve, reject) => {
          call(meter, { settled: error => (error === undefined ? resolve() : reject(error)) })
        })
      return this.#run(operation, traced, operation.finished)
    }
    const timed = isTimed(operation.count++)
    this.#underWay++
    const effect = new Effect(operation, timed ? performance.now() : undefined)
    try {
      call(operation, effect)
    } catch (error) {
      effect.settled(error)
    }
    return effect.promise
  }

  #run<T, R>(
    operation: Operation,
    call: (meter: ByteMeter) => MaybePromise<T>,
    succeeded: (value: T) => R,
  ): Promise<R> {
    const timed = isTimed(operation.count++)
    this.#underWay++
    if (isTraced()) return this.#trace(operation, call, succeeded)
    const start = timed ? performance.now() : 0
    let result: MaybePromise<T>
    try {
      result = call(operation)
    } catch (error) {
      return Promise.reject(error).catch(operation.failed)
    }
    if (isPromiseLike(result)) {
      const later = Promise.resolve(result)
      if (!timed) return later.then(succeeded, operation.failed)
      return later.then(value => {
        operation.record((performance.now() - start) * NANOSECONDS)
        return succeeded(value)
      }, operation.failed)
    }
    // What an embedded engine answers at once is not made to wait for its turn.
    if (timed) operation.record((performance.now() - start) * NANOSECONDS)
    return Promise.resolve(succeeded(result))
  }

  #trace<T, R>(
    operation: Operation,
    call: (meter: ByteMeter) => MaybePromise<T>,
    succeeded: (value: T) => R,
  ): Promise<R> {
    const event: OperationEvent & ByteMeter = { operation: operation.name, engine: this.#engine, bytes: 0 }
    const start = performance.now()
    return traceCall(event, async () => call(event)).then(
      value => {
        operation.bytes += event.bytes
        operation.record((performance.now() - start) * NANOSECONDS)
        return succeeded(value)
      },
      error => {
        operation.bytes += event.bytes
        return operation.failed(error)
      },
    )
  }

  /** Counts an iteration. How long it takes is its caller's doing, and not measured. */
  iterate<I extends AsyncIterator<unknown, unknown, undefined>>(name: string, iterator: I): I {
    const operation = this.operation(name)
    operation.count++
    if (!isTraced()) return iterator
    const ended = traceIteration({ operation: name, engine: this.#engine })
    return watchEnd(iterator, error => {
      if (error !== undefined) operation.errors++
      ended(error)
    })
  }

  #settled(): void {
    if (--this.#underWay === 0) this.#onIdle?.()
  }

  /** Resolves once every call under way has settled. No further one may be made. */
  async idle(): Promise<void> {
    if (this.#underWay > 0)
      await new Promise<void>(resolve => {
        this.#onIdle = resolve
      })
  }

  /** What has been measured, by the name of the call. */
  report(): Record<string, OperationMetrics> {
    const called = [...this.#operations.values()].filter(({ count }) => count > 0)
    return Object.fromEntries(called.map(operation => [operation.name, operation.report()]))
  }
}

/** The same iterator, which calls `onEnd` once: when it is through, was left, or has failed. */
function watchEnd<I extends AsyncIterator<unknown, unknown, undefined>>(
  iterator: I,
  onEnd: (error?: unknown) => void,
): I {
  let ended = false
  const end = (error?: unknown): void => {
    if (ended) return
    ended = true
    onEnd(error)
  }
  const watch = async (
    step: Promise<IteratorResult<unknown, unknown>>,
  ): Promise<IteratorResult<unknown, unknown>> => {
    try {
      const result = await step
      if (result.done === true) end()
      return result
    } catch (error) {
      end(error)
      throw error
    }
  }
  const { next, return: leave } = iterator
  return Object.assign(iterator, {
    next: () => watch(next.call(iterator)),
    return: (value?: unknown) =>
      watch(leave?.call(iterator, value) ?? Promise.resolve({ done: true, value })),
  })
}
