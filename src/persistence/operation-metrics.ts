import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'

/** Counts and latencies of one kind of call. Latencies are in milliseconds. */
export interface OperationMetrics {
  /** Calls made, failed ones included. */
  readonly count: number
  /** Calls that were rejected. */
  readonly errors: number
  /** Of the successful calls that were timed: the first and every sixteenth. */
  readonly latency: { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number }
}

/** One in so many calls is timed: enough for quantiles, and next to nothing for calls of a microsecond. */
const SAMPLE_EVERY = 16

const NANOSECONDS = 1e6

class Operation {
  count = 0
  errors = 0
  // Made at the first sample: most stores use few of the calls.
  #histogram: RecordableHistogram | undefined

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
      latency: { p50: at(50), p95: at(95), p99: at(99), max: histogram ? histogram.max / NANOSECONDS : 0 },
    }
  }
}

/** Measures the calls of a store by name, in a bounded space, and knows when none is under way. */
export class OperationRecorder {
  readonly #operations = new Map<string, Operation>()
  #underWay = 0
  #onIdle: (() => void) | undefined

  /** Runs a call and counts it; the first call of a kind and one in every few are timed. */
  measure<T>(name: string, call: () => Promise<T>): Promise<T> {
    let operation = this.#operations.get(name)
    if (operation === undefined) {
      operation = new Operation()
      this.#operations.set(name, operation)
    }
    const measured = operation
    const timed = measured.count++ % SAMPLE_EVERY === 0
    const start = timed ? performance.now() : 0
    this.#underWay++
    return call().then(
      value => {
        if (timed) measured.record((performance.now() - start) * NANOSECONDS)
        this.#settled()
        return value
      },
      error => {
        measured.errors++
        this.#settled()
        throw error
      },
    )
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
    return Object.fromEntries([...this.#operations].map(([name, operation]) => [name, operation.report()]))
  }
}
