import { CommanderError } from 'commander'
import { PersistenceError } from '../core/errors.ts'
import { EXIT, type ExitCode, exitCodeOf, SIGNAL_EXIT } from './exit-code.ts'
import { BROKEN_PIPE, Output } from './output.ts'
import { buildProgram } from './program.ts'
import { escapeControls, jsonText } from './safe-text.ts'
import type { Host } from './session.ts'
import { storePlace } from './store-place.ts'
import { styleFor } from './style.ts'

/** Why a command is to stop: a signal of the system. */
export class Interruption {
  readonly number: number

  /** @param number that of the signal, such as 2 for SIGINT */
  constructor(number: number) {
    this.number = number
  }
}

/** Options that every command takes. */
interface GlobalOptions {
  readonly store?: string
  readonly json?: boolean
  readonly debug?: boolean
  readonly keyFile?: string
}

/**
 * Runs the command `varve`.
 *
 * @param args as given after the name of the command
 * @returns the exit code
 */
export async function run(args: readonly string[], host: Host): Promise<ExitCode> {
  const broken = new AbortController()
  const output = new Output(host.stdout, host.env, reason => broken.abort(reason))
  // Nobody is left to tell that standard error is gone.
  host.stderr.on('error', () => undefined)
  const signal = AbortSignal.any([host.signal, broken.signal])
  let code: ExitCode = EXIT.done
  const program = buildProgram({ output, stderr: host.stderr }, async (options: GlobalOptions, action) => {
    const { json = false } = options
    const place = storePlace(options.store, host.env)
    // The library is loaded with the commands: help and mistakes on the command line do not wait for it.
    const { Session } = await import('./commands/index.ts')
    const outcome = await action(new Session({ host, output, json, signal, place, keyFile: options.keyFile }))
    if (typeof outcome === 'number') code = outcome
  })
  try {
    await program.parseAsync(args, { from: 'user' })
    await output.flush()
    return code
  } catch (error) {
    await output.flush().catch(() => undefined)
    if (host.signal.aborted) return SIGNAL_EXIT + (host.signal.reason as Interruption).number
    // Whoever read the output has had enough, as `head` has: that is no failure.
    const reason: unknown = broken.signal.aborted ? broken.signal.reason : error
    if (reason === BROKEN_PIPE) return EXIT.done
    // Commander has written its message, or the help that was asked for.
    if (reason instanceof CommanderError) return reason.exitCode === 0 ? EXIT.done : EXIT.usage
    return report(reason, host, program.opts<GlobalOptions>())
  }
}

/** Says what went wrong: in one line, or as JSON; with `--debug` with its stack and what caused it. */
function report(error: unknown, host: Host, { json, debug }: GlobalOptions): ExitCode {
  const exitCode = exitCodeOf(error)
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof PersistenceError ? error.code : 'INTERNAL'
  if (json === true) {
    host.stderr.write(`${jsonText({ error: { code, message, exitCode } })}\n`)
  } else {
    // What is stored may be part of a message.
    const line = escapeControls(message.replaceAll(/\s*\n\s*/g, ' '))
    const hint = code === 'INTERNAL' && debug !== true ? ' (--debug shows where)' : ''
    host.stderr.write(`${styleFor(host.stderr, host.env).red('varve:')} ${line}${hint}\n`)
  }
  if (debug === true) host.stderr.write(`${escapeControls(stackOf(error))}\n`)
  return exitCode
}

function stackOf(error: unknown): string {
  if (!(error instanceof Error)) return ''
  const stack = error.stack ?? ''
  return error.cause === undefined ? stack : `${stack}\ncaused by ${stackOf(error.cause)}`
}
