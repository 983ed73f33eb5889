import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { ImportError, InvalidArgumentError } from '../core/errors.ts'
import { openImport } from '../transfer/open-file.ts'
import { fromTypedJson } from '../transfer/typed-json.ts'
import { parseJson } from './parse-json.ts'
import type { Progress } from './progress-bar.ts'
import type { Session } from './session.ts'

/** What stands for standard input, or output, in the place of a file. */
export const STANDARD = '-'

/** The bytes of a file, unpacked where its name ends in `.gz`, or of standard input. */
async function* readBytes(
  session: Session,
  file: string,
  progress?: Progress,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { host, signal } = session
  if (file !== STANDARD) {
    const onProgress = ({ bytesRead, bytesTotal }: { bytesRead: number; bytesTotal: number }): void =>
      progress?.update(bytesRead, bytesTotal)
    yield* openImport(resolve(host.cwd, file), { signal, onProgress })
    return
  }
  let read = 0
  for await (const chunk of untilAborted(host.stdin, signal)) {
    const bytes = Buffer.from(chunk as Uint8Array)
    read += bytes.byteLength
    progress?.update(read, 0)
    yield bytes
  }
}

/** Whoever reads a terminal or a pipe may wait for long: an abort ends the waiting. */
async function* untilAborted(stream: Readable, signal: AbortSignal): AsyncGenerator<unknown> {
  const iterator: AsyncIterator<unknown> = stream[Symbol.asyncIterator]()
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
  aborted.catch(() => undefined)
  signal.throwIfAborted()
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted])
      if (next.done === true) return
      yield next.value
    }
  } finally {
    // A pipe that somebody holds open would keep the process.
    stream.destroy()
  }
}

/** The text of a file, or of standard input, piece by piece. */
async function* readPieces(
  session: Session,
  file: string,
  progress?: Progress,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const decode = (bytes?: Uint8Array): string => {
    try {
      return decoder.decode(bytes, { stream: bytes !== undefined })
    } catch (cause) {
      throw new ImportError(`Cannot read ${nameOf(file)}: it is not text in UTF-8.`, { file, cause })
    }
  }
  for await (const chunk of readBytes(session, file, progress)) yield decode(chunk)
  yield decode()
}

/** The whole text of a file, or of standard input. */
export async function readText(session: Session, file: string, progress?: Progress): Promise<string> {
  const pieces: string[] = []
  for await (const piece of readPieces(session, file, progress)) pieces.push(piece)
  return pieces.join('')
}

/** The lines of a file or of standard input that are not empty, with their numbers. */
export async function* readLines(
  session: Session,
  file: string,
  progress?: Progress,
): AsyncGenerator<{ readonly line: number; readonly text: string }, void, undefined> {
  let unfinished: string[] = []
  let line = 0
  for await (const piece of readPieces(session, file, progress)) {
    const parts = piece.split('\n')
    unfinished.push(parts[0] as string)
    if (parts.length === 1) continue
    parts[0] = unfinished.join('')
    unfinished = [parts.pop() as string]
    for (const text of parts) {
      line++
      if (text.trim() !== '') yield { line, text }
    }
  }
  const text = unfinished.join('')
  if (text.trim() !== '') yield { line: line + 1, text }
}

/** How a file is called in messages. */
export function nameOf(file: string): string {
  return file === STANDARD ? 'standard input' : JSON.stringify(file)
}

/**
 * The value that a JSON text on the command line stands for.
 *
 * @throws {InvalidArgumentError} saying how text is given.
 */
export function parseValue(text: string, tagged: boolean): unknown {
  let json: unknown
  try {
    json = parseJson(text, 'The value')
  } catch (cause) {
    throw new InvalidArgumentError(`${(cause as Error).message}. --string takes it as a text as it is.`, {
      cause,
    })
  }
  return tagged ? fromTypedJson(json, { file: 'the value' }) : json
}
