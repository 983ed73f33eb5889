import type { Writable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ExportError } from '../core/errors.ts'
import { systemReason } from '../transfer/system-reason.ts'
import { type Style, styleFor } from './style.ts'

/** Where the command writes: standard output, or what a test puts in its place. */
export type OutputStream = Writable & { readonly isTTY?: boolean; readonly columns?: number }

/** Thrown by writes when whoever read the output has gone. */
export const BROKEN_PIPE = Symbol('broken pipe')

/** So many characters are written at a time, or what there is after so many milliseconds; the first at once. */
const CHUNK_LENGTH = 16_384
const INTERVAL = 50
/** Rows are not cut to fit less than this. */
const MIN_COLUMNS = 20

/** The results of a command: lines, written as fast as they are read. */
export class Output {
  readonly style: Style
  /** How wide lines may be; `Infinity` where that does not matter, as in a file. */
  readonly columns: number
  readonly isTerminal: boolean
  readonly #stream: OutputStream
  #text = ''
  #flushed = Number.NEGATIVE_INFINITY
  #scheduled = false
  /** Why nothing more can be written: {@link BROKEN_PIPE} or an error. */
  #failure: unknown

  /** `onFailure` is called once if the reader goes, or nothing more can be written. */
  constructor(stream: OutputStream, env: NodeJS.ProcessEnv, onFailure: (reason: unknown) => void) {
    this.#stream = stream
    this.isTerminal = stream.isTTY === true
    this.style = styleFor(stream, env)
    this.columns = columnsOf(stream, env)
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#failure !== undefined) return
      const isGone = error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED'
      this.#failure = isGone ? BROKEN_PIPE : notWritten(error)
      onFailure(this.#failure)
    })
  }

  /** Writes a line, and waits where the reader is slow. Lines are written together, yet none waits for the next. */
  async line(text = ''): Promise<void> {
    await this.write(`${text}\n`)
  }

  async write(text: string): Promise<void> {
    this.#assertWritable()
    this.#text += text
    if (this.#text.length >= CHUNK_LENGTH || performance.now() - this.#flushed > INTERVAL) return this.flush()
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.flush().catch(() => undefined)
    })
  }

  /** Hands over what has been written; resolves once the stream takes more. */
  async flush(): Promise<void> {
    const text = this.#text
    this.#text = ''
    this.#assertWritable()
    if (text === '') return
    this.#flushed = performance.now()
    if (this.#stream.write(text)) {
      // An embedded engine answers without a turn of the event loop, which signals and a broken pipe wait for.
      await nextTurn()
      return this.#assertWritable()
    }
    await new Promise<void>(resolve => {
      const done = (): void => {
        this.#stream.off('drain', done).off('error', done).off('close', done)
        resolve()
      }
      this.#stream.on('drain', done).on('error', done).on('close', done)
    })
    this.#assertWritable()
  }

  #assertWritable(): void {
    if (this.#failure !== undefined) throw this.#failure
  }
}

function notWritten(cause: Error): ExportError {
  return new ExportError(`Cannot write to standard output: ${systemReason(cause)}.`, {
    file: 'standard output',
    cause,
  })
}

/** As elsewhere, `COLUMNS` counts for more than what the terminal says. */
function columnsOf(stream: OutputStream, env: NodeJS.ProcessEnv): number {
  const given = Number(env['COLUMNS'] || stream.columns)
  return given > 0 ? Math.max(MIN_COLUMNS, given) : Number.POSITIVE_INFINITY
}
