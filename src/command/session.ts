import type { Readable } from 'node:stream'
import { InvalidArgumentError } from '../core/errors.ts'
import type { EncryptionKey } from '../crypto/encryption-key.ts'
import { encrypted } from '../encryption/encrypted.ts'
import type { Engine } from '../engine/engine.ts'
import { createPersistence } from '../persistence/create-persistence.ts'
import type { Persistence } from '../persistence/persistence.ts'
import type { RetentionPolicy } from '../snapshot/retention.ts'
import { givenKey } from './encryption-key.ts'
import type { Output, OutputStream } from './output.ts'
import { type Progress, progressBar } from './progress-bar.ts'
import { escapeControls, jsonText } from './safe-text.ts'
import { engineAt } from './store-place.ts'
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
  /** Encrypt the keys of a new store as well. */
  readonly encryptKeys?: boolean | undefined
  /** The key of the store, where it is not that of the session. */
  readonly encryptionKey?: EncryptionKey | undefined
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
  /** A file that holds the key of the store. */
  readonly keyFile: string | undefined

  constructor(parts: Pick<Session, 'host' | 'output' | 'json' | 'signal' | 'place' | 'keyFile'>) {
    this.host = parts.host
    this.output = parts.output
    this.json = parts.json
    this.signal = parts.signal
    this.place = parts.place
    this.keyFile = parts.keyFile
  }

  /** The key that the command was given, if any. */
  encryptionKey(): Promise<EncryptionKey | undefined> {
    return givenKey(this.host, this.keyFile)
  }

  /** Opens the store for as long as `use` runs. */
  async withStore<T>(
    use: (store: Persistence, engine: Engine) => Promise<T>,
    options: OpenOptions = {},
    place: string = this.place,
  ): Promise<T> {
    const engine = await this.engineAt(place, options)
    const store = await createPersistence({
      engine,
      ...(options.retention !== undefined && { retention: options.retention }),
    })
    try {
      return await use(store, engine)
    } finally {
      await store.close()
    }
  }

  /** The engine of the store at a place, for what does not open it as a whole. */
  async engineAt(folder: string, options: Omit<OpenOptions, 'retention'> = {}): Promise<Engine> {
    const place = await engineAt(folder, this.host.cwd, options.create === true)
    return this.encrypted(place, options)
  }

  /** The same engine, encrypted if the command was given a key. */
  async encrypted(
    engine: Engine,
    { encryptionKey, encryptKeys }: Pick<OpenOptions, 'encryptionKey' | 'encryptKeys'> = {},
  ): Promise<Engine> {
    const key = encryptionKey ?? (await this.encryptionKey())
    if (key !== undefined)
      return encrypted(engine, { key, ...(encryptKeys !== undefined && { encryptKeys }) })
    if (encryptKeys === true) throw new InvalidArgumentError('Encrypting keys takes a key: give --key-file.')
    return engine
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
