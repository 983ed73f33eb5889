import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import type { Call } from '../support/linearizability.ts'
import type { CallKind } from './plan.ts'
import type { ModelAnswer, ModelCall } from './store-model.ts'
import type { Report, WriterOptions } from './writer.ts'

/** What a writer was doing when it was killed. */
export type Doing = CallKind | 'opening' | 'closing' | 'between calls' | 'starting'

/** A process that writes to a store, and what it has reported. */
export class WriterProcess {
  readonly reports: Report[] = []
  readonly #child: ChildProcess
  readonly #exit: Promise<unknown>
  readonly #listeners = new Set<(report: Report) => void>()
  #errors = ''
  #killed = false

  /** `prefix` is a command to run it under. */
  constructor(program: string, options: WriterOptions, prefix: readonly string[] = []) {
    const [command, ...args] = [...prefix, process.execPath, program, JSON.stringify(options)]
    this.#child = spawn(command as string, args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] })
    this.#child.stderr?.on('data', chunk => {
      this.#errors += String(chunk)
    })
    let rest = ''
    const pipe = this.#child.stdio[PIPE] as Readable
    pipe.setEncoding('utf8').on('data', (text: string) => {
      const lines = `${rest}${text}`.split('\n')
      rest = lines.pop() as string
      for (const line of lines) {
        const report = JSON.parse(line) as Report
        this.reports.push(report)
        for (const listener of this.#listeners) listener(report)
      }
    })
    // Its pipe is read to the end, too.
    this.#exit = once(this.#child, 'close')
  }

  /** Resolves with the first report, from now on, that is wanted; with nothing once there can be none. */
  next(wanted: (report: Report) => boolean): Promise<Report | undefined> {
    return new Promise(resolve => {
      const listener = (report: Report): void => {
        if (!wanted(report)) return
        this.#listeners.delete(listener)
        resolve(report)
      }
      this.#listeners.add(listener)
      this.#exit.then(() => resolve(undefined))
    })
  }

  /** Resolves once it has answered so many calls from now on, or is gone. */
  async answers(number: number): Promise<void> {
    let left = number
    if (left > 0) await this.next(report => report.event === 'answer' && --left === 0)
  }

  /** Tells it to close the store after the call it is making. It must have reported something. */
  end(): void {
    this.#child.kill('SIGTERM')
  }

  /** Kills it, as nothing else does: it gets no turn any more. */
  kill(): void {
    this.#killed = this.#child.kill('SIGKILL') || this.#killed
  }

  /** Resolves once it is gone. @throws if it went for a reason of its own that is not the end of its plan. */
  async gone(): Promise<{ readonly killed: boolean; readonly doing: Doing }> {
    await this.#exit
    const { exitCode, signalCode } = this.#child
    const failure = this.reports.find(report => report.event === 'failure')
    if (failure?.event === 'failure') throw new Error(`a writer failed: ${failure.message}`)
    const killed = this.#killed && signalCode === 'SIGKILL'
    // On its way out, with the store closed, a process does not listen any more.
    const isTooLate = signalCode === 'SIGTERM' && this.reports.at(-1)?.event === 'closed'
    if (!killed && exitCode !== 0 && !isTooLate) {
      throw new Error(`a writer ended with ${exitCode ?? signalCode}, ${this.doing()}:\n${this.#errors}`)
    }
    return { killed, doing: this.doing() }
  }

  doing(): Doing {
    const last = this.reports.at(-1)
    switch (last?.event) {
      case undefined:
        return 'starting'
      case 'opening':
        return 'opening'
      case 'call':
        return last.call.kind
      case 'closed':
        return 'closing'
      default:
        return 'between calls'
    }
  }

  /** The calls it made, the last perhaps without an answer. */
  calls(): Call<ModelCall, ModelAnswer>[] {
    return this.reports.flatMap((report, i) => {
      if (report.event !== 'call') return []
      const answered = this.reports[i + 1]
      const response = answered?.event === 'answer' ? { at: answered.at, output: answered.answer } : undefined
      return [{ input: report.call, invoked: report.at, response }]
    })
  }
}

const PIPE = 3
