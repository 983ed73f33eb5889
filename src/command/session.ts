import type { Readable } from 'node:stream'
import { createPersistence } from '../persistence/create-persistence.ts'
import type { Persistence } from '../persistence/persistence.ts'
import type { RetentionPolicy } from '../snapshot/retention.ts'
import type { Output, OutputStream } from './output.ts'
import { type Progress, progressBar } from './progress-bar.ts'
import { escapeControls, jsonText } from './safe-text.ts'
import { storeOptions } from './store-place.ts'
import { styleFor } from './style.ts'

/** The process that a command runs in, or what a test puts in its place. */
export interface Host {
  readonly stdin: Readable
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** Aborted when the user wants the command to stop. */
  readonly signal: AbortSignal
}

/** How a command opens its store. */
export interface OpenOptions {
  /** Make a store where there is none. */
  readonly create?: boolean
  /** The policy to keep in the store. */
  readonly retention?: RetentionPolicy | undefined
}

/** One run of a command: where it reads and writes, and its store. */
export class Session {
  readonly host: Host
  readonly output: Output
  /** Whether results are to be written as JSON. */
  readonly json: boolean
  /** Aborted when the command is to stop, as its user says so or its reader has gone. */
  readonly signal: AbortSignal
  /** Where the store is: a folder, or a URL. */
  readonly place: string

  constructor(parts: Pick<Session, 'host' | 'output' | 'json' | 'signal' | 'place'>) {
    this.host = parts.host
    this.output = parts.output
    this.json = parts.json
    this.signal = parts.signal
    this.place = parts.place
  }

  /** Opens the store for as long as `use` runs. */
  async withStore<T>(
    use: (store: Persistence) => Promise<T>,
    options: OpenOptions = {},
    place: string = this.place,
  ): Promise<T> {
    const where = await storeOptions(place, this.host.cwd, options.create === true)
    const store = await createPersistence({
      ...where,
      ...(options.retention !== undefined && { retention: options.retention }),
    })
    try {
      return await use(store)
    } finally {
      await store.close()
    }
  }

  /** A bar on standard error for long work, for as long as `work` runs. */
  async withProgress<T>(
    label: string,
    format: (amount: number) => string,
    work: (progress: Progress) => Promise<T>,
  ): Promise<T> {
    const progress = progressBar(this.host.stderr, label, format)
    try {
      return await work(progress)
    } finally {
      progress.stop()
    }
  }

  /** Writes a result: as one line of JSON, or as `forPeople` does. */
  async result(json: unknown, forPeople: () => Promise<void>): Promise<void> {
    if (this.json) await this.output.line(jsonText(json))
    else await forPeople()
  }

  /** Says something that is no result, on standard error, after the results so far. */
  async note(text: string): Promise<void> {
    await this.output.flush()
    const { stderr, env } = this.host
    stderr.write(`${styleFor(stderr, env).dim(escapeControls(text))}\n`)
  }
}
