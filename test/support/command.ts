import { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { onTestFinished, vi } from 'vitest'
import { run } from '../../src/command/run.ts'
import { Persistence } from '../../src/persistence/persistence.ts'

/** How a command is run. */
export interface CommandOptions {
  readonly cwd: string
  readonly stdin?: string
  readonly env?: NodeJS.ProcessEnv
  /** As for a terminal of so many columns; else for a pipe. */
  readonly columns?: number
  readonly signal?: AbortSignal
  /** Write errors and notes where the results go, as a console shows them. */
  readonly together?: boolean
}

/** What a command did. */
export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs the command `varve` in this process. */
export async function runCommand(args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const stdout = new Sink(options.columns)
  const stderr = options.together === true ? stdout : new Sink(options.columns)
  const code = await run(args, {
    stdin: Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]),
    stdout,
    stderr,
    env: options.env ?? {},
    cwd: options.cwd,
    signal: options.signal ?? new AbortController().signal,
  })
  return { code, stdout: stdout.text, stderr: stderr.text }
}

/** Counts the watchers that commands begin from now on. Returns what waits for so many. */
export function countWatchers(): (count: number) => Promise<void> {
  const watch = vi.spyOn(Persistence.prototype, 'watch')
  onTestFinished(() => watch.mockRestore())
  return async count => {
    while (watch.mock.calls.length < count) await delay(1)
  }
}

class Sink extends Writable {
  text = ''
  readonly isTTY: boolean
  readonly columns: number

  constructor(columns: number | undefined) {
    super({ decodeStrings: false })
    this.isTTY = columns !== undefined
    this.columns = columns as number
  }

  override _write(chunk: string, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk
    done()
  }
}

/** The words of a command line of `varve`; `undefined` where it takes a shell to read it. */
export function wordsOf(line: string): string[] | undefined {
  const words: string[] = []
  const word = /\s*(?:'([^']*)'|"([^"$`\\]*)"|([^\s'"|<>;&$`\\()]+))(?=\s|$)/y
  while (word.lastIndex < line.length) {
    const match = word.exec(line)
    if (match === null) return undefined
    words.push(match[1] ?? match[2] ?? (match[3] as string))
  }
  return words[0] === 'varve' ? words.slice(1) : undefined
}
