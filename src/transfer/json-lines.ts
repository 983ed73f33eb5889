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
import { findJsonError, INCOMPLETE, NEWLINE, OPEN_BRACE, scanValue, skipSpace } from './json-syntax.ts'
import { refuseRoundedIntegers } from './rounded-integers.ts'

const FORM = '{"key": "...", "value": ...}'

/**
 * Reads the `.jsonl` form of a state as a stream: one entry a line, `{"key": "...", "value": ...}`.
 *
 * The first line may be `{"metadata": ...}` instead. Blank lines, and further members of a line, are ignored; lines end
 * with LF or CRLF, the last one also with neither. Memory is bounded by the longest line.
 *
 * A file that was cut between two lines looks like a whole one; where that matters, `.gz` notices it, and so does a
 * `.json` document. A file without any line is refused, though: it is likelier lost than an empty state.
 *
 * @param file The file's name, for errors.
 * @returns the entries in batches, to be iterated once. While iterating it throws {@link ImportError} for a line that
 * is not of this form; entries before it have been handed out by then.
 */
export function readJsonLines(
  source: AsyncIterable<Uint8Array>,
  file: string,
  options: ReadOptions = {},
): EntryReader {
  const header: Header = { expected: true, metadata: undefined }
  async function* read(): AsyncGenerator<readonly ImportedEntry[]> {
    const window = new ByteWindow(source, { file, ...options })
    try {
      while (!window.ended || window.position < window.end) {
        const batch: ImportedEntry[] = []
        takeLines(window, header, batch)
        if (batch.length > 0) yield batch
        if (!(await window.readMore()) && !window.ended) throw tooLong(window, window.maxValueBytes)
      }
      if (header.expected) {
        throw importError(file, undefined, `the file is empty. It holds one entry a line: ${FORM}.`)
      }
    } finally {
      await window.close()
    }
  }
  const batches = read()
  return {
    get metadata() {
      return header.metadata
    },
    [Symbol.asyncIterator]: () => batches,
  }
}

/** What is asked for in the object on a line. */
interface Line {
  readonly key?: unknown
  readonly value?: unknown
  readonly metadata?: unknown
}

/** What the first line is, or was, asked for. */
interface Header {
  /** Whether no line but blank ones has been read. */
  expected: boolean
  metadata: unknown
}

/** Takes the lines that are in sight as a whole. */
function takeLines(window: ByteWindow, header: Header, batch: ImportedEntry[]): void {
  const bytes = window.bytes.subarray(0, window.end)
  while (window.position < window.end) {
    const newline = bytes.indexOf(NEWLINE, window.position)
    if (newline === -1 && !window.ended) return
    const end = newline === -1 ? window.end : newline
    if (end - window.position > window.maxValueBytes) throw tooLong(window, window.maxValueBytes)
    const line = parseLine(window, end)
    if (line !== undefined) takeLine(line, window, end, header, batch)
    window.position = newline === -1 ? end : end + 1
    window.line++
  }
}

function takeLine(line: Line, window: ByteWindow, end: number, header: Header, batch: ImportedEntry[]): void {
  if (Object.hasOwn(line, 'key')) {
    const { key } = line
    if (typeof key !== 'string') throw wrongLine(window, '"key" is not a string')
    if (!Object.hasOwn(line, 'value')) throw wrongLine(window, 'the line lacks "value"')
    batch.push({ key, value: line.value, line: window.line })
  } else if (Object.hasOwn(line, 'metadata')) {
    if (!header.expected) throw wrongLine(window, 'only the first line may hold "metadata"')
    if (end - window.position > MAX_METADATA_BYTES) throw tooLong(window, MAX_METADATA_BYTES)
    header.metadata = line.metadata
  } else {
    throw wrongLine(window, 'the line lacks "key"')
  }
  header.expected = false
}

/** The object on the line from `position` to `end`, or `undefined` for a blank line. */
function parseLine(window: ByteWindow, end: number): Line | undefined {
  const { bytes, position } = window
  const counter = { line: window.line }
  const start = skipSpace(bytes, position, end, counter)
  if (start === end) return undefined
  // The scan is what bounds the nesting; JSON.parse does not.
  const objectEnd = bytes[start] === OPEN_BRACE ? scanValue(bytes, start, end, counter) : INCOMPLETE
  if (objectEnd === INCOMPLETE || skipSpace(bytes, objectEnd, end, counter) !== end) {
    throw malformed(window, end)
  }
  const text = bytes.toString('utf8', start, end)
  let line: Line
  try {
    line = JSON.parse(text)
  } catch (error) {
    throw malformed(window, end, error)
  }
  const { file } = window
  refuseRoundedIntegers(text, { file, line: window.line, key: String(line.key), member: 'value' })
  return line
}

function malformed(window: ByteWindow, end: number, cause?: unknown): ImportError {
  const error = findJsonError(window.bytes, window.position, end, 'document')
  return wrongLine(window, error?.problem ?? 'the line is not an object', cause)
}

function wrongLine(window: ByteWindow, problem: string, cause?: unknown): ImportError {
  return importError(window.file, window.line, `${problem}. The form of a line is ${FORM}.`, cause)
}

function tooLong(window: ByteWindow, limit: number): ImportError {
  const advice =
    limit < window.maxValueBytes ? 'Make it smaller.' : 'Allow more with maxValueBytes, or split it.'
  return importError(
    window.file,
    window.line,
    `the line takes more than ${limit} bytes, the most that is read at once. ${advice}`,
  )
}

/**
 * Writes a state as `.jsonl`, in chunks of about 64 KiB: a line `{"metadata": ...}`, then one line for each entry.
 *
 * @param batches Entries in the order in which they are to be written, each key once.
 * @param metadata As for `writeJsonDocument`.
 */
export async function* writeJsonLines(
  batches: AsyncIterable<readonly ExportedEntry[]>,
  metadata: object,
): AsyncGenerator<Uint8Array> {
  let text = `{"metadata":${JSON.stringify(metadata)}}\n`
  for await (const batch of batches) {
    for (const [key, valueText] of batch) {
      text += `{"key":${JSON.stringify(key)},"value":${valueText}}\n`
      if (text.length >= CHUNK_LENGTH) {
        yield Buffer.from(text, 'utf8')
        text = ''
      }
    }
  }
  if (text !== '') yield Buffer.from(text, 'utf8')
}
