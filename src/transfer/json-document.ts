import type { ImportError } from '../core/errors.ts'
import { ByteWindow } from './byte-window.ts'
import {
  CHUNK_LENGTH,
  type EntryReader,
  type ExportedEntry,
  type ImportedEntry,
  MAX_METADATA_BYTES,
  type ReadOptions,
} from './entries.ts'
import { importError } from './import-error.ts'
import {
  CLOSE_BRACE,
  COLON,
  COMMA,
  describeToken,
  findJsonError,
  INCOMPLETE,
  type LineCounter,
  OPEN_BRACE,
  QUOTE,
  scanString,
  scanValue,
  skipSpace,
} from './json-syntax.ts'
import { refuseRoundedIntegers } from './rounded-integers.ts'
import { isTagged } from './typed-json.ts'

const FORM = '{"metadata": {...}, "data": {...}}'
/** What {@link nextByte} returns at the end of the file. */
const END = -1

/**
 * Reads a document `{"metadata": {...}, "data": {...}}`, the `.json` form of a state, as a stream.
 *
 * The members may come in any order, with any white space; others beside them are checked and ignored. Memory is
 * bounded by the largest single value, not by the file.
 *
 * A scan of the bytes finds where each member of `data` ends, and V8's own `JSON.parse` reads it. That is chosen over a
 * streaming parser because `JSON.parse` accepts exactly what the standard does, makes `__proto__` an own property like
 * any other, and is several times as fast as a parser written in JavaScript.
 *
 * @param file The file's name, for errors.
 * @returns the entries of `data` in batches, to be iterated once. While iterating it throws {@link ImportError} for
 * anything that is not such a document, down to the end of the file; entries before that have been handed out by then.
 */
export function readJsonDocument(
  source: AsyncIterable<Uint8Array>,
  file: string,
  options: ReadOptions = {},
): EntryReader {
  let metadata: unknown
  async function* read(): AsyncGenerator<readonly ImportedEntry[]> {
    const window = new ByteWindow(source, { file, ...options })
    try {
      yield* readDocument(window, value => {
        metadata = value
      })
    } finally {
      await window.close()
    }
  }
  const batches = read()
  return {
    get metadata() {
      return metadata
    },
    [Symbol.asyncIterator]: () => batches,
  }
}

async function* readDocument(
  window: ByteWindow,
  onMetadata: (metadata: unknown) => void,
): AsyncGenerator<readonly ImportedEntry[]> {
  await expectOpening(window)
  const seen = new Set<string>()
  let more = (await nextByte(window)) !== CLOSE_BRACE
  while (more) {
    const { name, line } = await takeName(window)
    if (name === 'data' || name === 'metadata') {
      if (seen.has(name)) {
        throw importError(window.file, line, `"${name}" is given twice. Keep the one that is meant.`)
      }
      seen.add(name)
    }
    const byte = await nextByte(window)
    if (name === 'data') {
      if (byte !== OPEN_BRACE) throw await notAnObject(window)
      window.position++
      yield* readMembers(window)
    } else if (name === 'metadata') {
      const metadata = await takeValue(window, Math.min(MAX_METADATA_BYTES, window.maxValueBytes))
      if (isTagged(metadata) && seen.has('data')) throw metadataTooLate(window.file, line)
      onMetadata(metadata)
    } else {
      await takeValue(window, window.maxValueBytes)
    }
    more = await takeComma(window, name)
  }
  window.position++
  if ((await nextByte(window)) !== END) throw unexpected(window, 'nothing after the end of the document')
  if (!seen.has('data')) {
    throw importError(window.file, undefined, `the document lacks "data". The form is ${FORM}.`)
  }
}

/** Takes the opening brace of the document. */
async function expectOpening(window: ByteWindow): Promise<void> {
  const byte = await nextByte(window)
  if (byte === END) {
    throw importError(window.file, undefined, `the file is empty. The form is ${FORM}.`)
  }
  if (byte !== OPEN_BRACE) throw unexpected(window, `a document of the form ${FORM}`)
  window.position++
}

/** Takes the name of a member of the document, and the colon. The line is that of the name. */
async function takeName(window: ByteWindow): Promise<{ name: string; line: number }> {
  if ((await nextByte(window)) !== QUOTE) throw unexpected(window, 'the name of a member, in double quotes')
  const { line } = window
  const name = (await takeValue(window, window.maxValueBytes)) as string
  if ((await nextByte(window)) !== COLON) throw unexpected(window, '":" after the name of a member')
  window.position++
  return { name, line }
}

/** Takes the comma after a member of the document. Returns false, and takes nothing, at the closing brace. */
async function takeComma(window: ByteWindow, name: string): Promise<boolean> {
  const byte = await nextByte(window)
  if (byte === CLOSE_BRACE) return false
  if (byte !== COMMA) throw unexpected(window, `"," or "}" after the member ${JSON.stringify(name)}`)
  window.position++
  return true
}

/** Takes the members of `data` up to and with its closing brace; `position` is behind the opening one. */
async function* readMembers(window: ByteWindow): AsyncGenerator<readonly ImportedEntry[]> {
  if ((await nextByte(window)) === CLOSE_BRACE) {
    window.position++
    return
  }
  for (;;) {
    const batch: ImportedEntry[] = []
    const closed = takeMembers(window, batch)
    if (batch.length > 0) yield batch
    if (closed) return
    if (!(await window.readMore())) throw incomplete(window, 'members', window.maxValueBytes)
  }
}

/**
 * Takes the members that are in sight as a whole, each with the comma or closing brace behind it.
 *
 * @returns whether the closing brace was taken. If not, `position` is at the name of the next member, or before it.
 */
function takeMembers(window: ByteWindow, batch: ImportedEntry[]): boolean {
  const { bytes, end } = window
  const counter: LineCounter = { line: window.line }
  for (;;) {
    const start = skipSpace(bytes, window.position, end, counter)
    window.position = start
    window.line = counter.line
    if (start === end) return false
    if (bytes[start] !== QUOTE) throw malformed(window, 'members')
    const nameEnd = scanString(bytes, start + 1, end)
    if (nameEnd === INCOMPLETE) return false
    const colon = skipSpace(bytes, nameEnd, end, counter)
    if (colon === end) return false
    if (bytes[colon] !== COLON) throw malformed(window, 'members')
    const valueStart = skipSpace(bytes, colon + 1, end, counter)
    if (valueStart === end) return false
    const valueEnd = scanValue(bytes, valueStart, end, counter)
    if (valueEnd === INCOMPLETE) return false
    const separator = skipSpace(bytes, valueEnd, end, counter)
    if (separator === end) return false
    const mark = bytes[separator]
    if (mark !== COMMA && mark !== CLOSE_BRACE) throw malformed(window, 'members')
    if (separator + 1 - start > window.maxValueBytes)
      throw incomplete(window, 'members', window.maxValueBytes)
    const key = parseSlice(window, start, nameEnd, 'members') as string
    const text = window.bytes.toString('utf8', valueStart, valueEnd)
    const value = parseText(window, text, 'members')
    refuseRoundedIntegers(text, { file: window.file, line: window.line, key })
    batch.push({ key, value, line: window.line })
    window.position = separator + 1
    window.line = counter.line
    if (mark === CLOSE_BRACE) return true
  }
}

/** Parses bytes of what begins at `position`. */
function parseSlice(window: ByteWindow, start: number, end: number, context: 'members' | 'value'): unknown {
  return parseText(window, window.bytes.toString('utf8', start, end), context)
}

/** Parses the text of what begins at `position`, or in the member that does. */
function parseText(window: ByteWindow, text: string, context: 'members' | 'value'): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw malformed(window, context, error)
  }
}

/** Takes one value of any kind, which begins at `position`. */
async function takeValue(window: ByteWindow, limit: number): Promise<unknown> {
  for (;;) {
    const counter: LineCounter = { line: window.line }
    const end = scanValue(window.bytes, window.position, window.end, counter)
    if (end !== INCOMPLETE && end - window.position <= limit) {
      const value = parseSlice(window, window.position, end, 'value')
      window.position = end
      window.line = counter.line
      return value
    }
    if (end !== INCOMPLETE || !(await window.readMore(limit))) throw incomplete(window, 'value', limit)
  }
}

/** Skips white space and returns the byte at `position`, or {@link END}. */
async function nextByte(window: ByteWindow): Promise<number> {
  for (;;) {
    window.position = skipSpace(window.bytes, window.position, window.end, window)
    if (window.position < window.end) return window.bytes[window.position] as number
    if (!(await window.readMore())) return END
  }
}

/** The error of what begins at `position` and is not JSON. */
function malformed(window: ByteWindow, context: 'members' | 'value', cause?: unknown): ImportError {
  const error = findJsonError(window.bytes, window.position, window.end, context)
  const { offset, problem } = error ?? { offset: window.position, problem: 'what begins here is not JSON' }
  return syntaxError(window, offset, problem, cause)
}

function syntaxError(window: ByteWindow, offset: number, problem: string, cause?: unknown): ImportError {
  const line = window.lineAt(offset)
  return importError(window.file, line, `${problem}. Repair the file, or export it again.`, cause)
}

function unexpected(window: ByteWindow, expected: string): ImportError {
  if (window.position === window.end) return truncated(window)
  const found = describeToken(window.bytes, window.position, window.end)
  return syntaxError(window, window.position, `expected ${expected}, found ${found}`)
}

/** The error of what begins at `position` and does not end within the limit, or before the file does. */
function incomplete(window: ByteWindow, context: 'members' | 'value', limit: number): ImportError {
  // A bracket that is not closed swallows what follows; what is wrong shows before the end then.
  const error = findJsonError(window.bytes, window.position, window.end, context)
  if (error !== undefined && !error.truncated) return syntaxError(window, error.offset, error.problem)
  if (window.end - window.position <= limit) return truncated(window)
  const advice =
    limit < window.maxValueBytes ? 'Make it smaller.' : 'Allow more with maxValueBytes, or split it.'
  return importError(
    window.file,
    window.line,
    `what begins here takes more than ${limit} bytes, the most that is read at once. ${advice}`,
  )
}

function truncated(window: ByteWindow): ImportError {
  return importError(
    window.file,
    window.lineAt(window.end),
    'the file ends before its document does: it is truncated. Get a whole copy of it.',
  )
}

async function notAnObject(window: ByteWindow): Promise<ImportError> {
  const { line } = window
  const value = await takeValue(window, window.maxValueBytes)
  const kind = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`
  const problem = `"data" is ${kind}; it must be an object with a member for each key. The form is ${FORM}.`
  return importError(window.file, line, problem)
}

function metadataTooLate(file: string, line: number): ImportError {
  return importError(
    file,
    line,
    'the file holds typed values, which "metadata" must announce before "data". Move "metadata" to the front.',
  )
}

/**
 * Writes a state as one JSON document, in chunks of about 64 KiB.
 *
 * `metadata` comes first, because it says how the values are to be read (`types`), and who reads a stream must know
 * that before the first of them. So it holds nothing that is only known at the end. Each entry stands on a line of its
 * own, which keeps the file friendly to `grep`, `diff` and version control.
 *
 * @param batches Entries in the order in which they are to be written, each key once.
 */
export async function* writeJsonDocument(
  batches: AsyncIterable<readonly ExportedEntry[]>,
  metadata: object,
): AsyncGenerator<Uint8Array> {
  let text = `{"metadata":${JSON.stringify(metadata)},\n"data":{`
  let separator = '\n'
  for await (const batch of batches) {
    for (const [key, valueText] of batch) {
      text += `${separator}${JSON.stringify(key)}:${valueText}`
      separator = ',\n'
      if (text.length >= CHUNK_LENGTH) {
        yield Buffer.from(text, 'utf8')
        text = ''
      }
    }
  }
  yield Buffer.from(`${text}\n}}\n`, 'utf8')
}
