import { execFileSync } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

/** What a process asked of the system: of the calls of all its threads, those that change files, in their order. */
export interface SystemCall {
  /** The number of the thread that made it; those of all processes differ. */
  readonly thread: string
  readonly name: string
  /** What stands between the parentheses, strings in hexadecimal escapes. */
  readonly args: string
  /** The number it returned, and what strace says of it; `?` where the process was killed meanwhile. */
  readonly result: string
  /** Places in the order of all calls' beginnings and ends. Of two calls at once, each begins before the other ends. */
  readonly begun: number
  readonly ended: number
}

/** The calls that change files, or say what has become of them. */
const TRACED = [
  ...['openat', 'mkdir', 'rename', 'renameat', 'renameat2', 'unlink', 'unlinkat', 'rmdir', 'link'],
  ...['write', 'writev', 'pwrite64', 'pwritev', 'pwritev2', 'lseek', 'ftruncate', 'truncate', 'fallocate'],
  ...['fsync', 'fdatasync', 'msync', 'sync_file_range', 'sync', 'syncfs', 'copy_file_range', 'sendfile'],
]

/** Why system calls cannot be traced here, if they cannot. */
export function whyNoTracing(): string | undefined {
  try {
    execFileSync('strace', ['-f', '-e', 'trace=none', 'true'], { stdio: 'pipe' })
    return undefined
  } catch (error) {
    return `strace is missing, or may not trace: ${(error as Error).message.split('\n')[0]}`
  }
}

/** The command under which a process is traced, into a file. */
export function tracing(file: string): readonly string[] {
  // All that is written is in the trace, and each descriptor with its path.
  return ['strace', '-f', '-y', '-xx', '-s', String(2 ** 26), '-o', file, '-e', `trace=${TRACED.join()}`]
}

const WHOLE = /^(\d+) +(\w+)\((.*)\) += (.*)$/s
const BEGINNING = /^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$/s
const END = /^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (.*)$/s
const KILLED = /^(\d+) +\+\+\+ killed by /

/** Reads a trace. */
export async function* readTrace(file: string): AsyncGenerator<SystemCall, void, undefined> {
  const begun = new Map<string, { readonly name: string; readonly args: string; readonly at: number }>()
  let at = 0
  for await (const line of createInterface({ input: createReadStream(file, 'latin1') })) {
    at++
    const beginning = BEGINNING.exec(line)
    const [, thread = '', name = '', args = '', result = ''] = END.exec(line) ?? WHOLE.exec(line) ?? []
    const killed = KILLED.exec(line)?.[1] as string
    if (beginning !== null) {
      const [, thread, name, args] = beginning as unknown as [string, string, string, string]
      begun.set(thread, { name, args, at })
    } else if (name !== '') {
      const first = begun.get(thread)
      begun.delete(thread)
      yield { thread, name, args: (first?.args ?? '') + args, result, begun: first?.at ?? at, ended: at }
    } else if (begun.has(killed)) {
      const { name, args, at: from } = begun.get(killed) as { name: string; args: string; at: number }
      begun.delete(killed)
      yield { thread: killed, name, args, result: '?', begun: from, ended: at }
    }
  }
}

/** The bytes of a string as strace writes it. */
function unescaped(text: string): Buffer {
  return Buffer.from(text.replaceAll('\\x', ''), 'hex')
}

/** The strings of the arguments. */
export function stringsIn(args: string): Buffer[] {
  return Array.from(args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g), match => unescaped(match[1] as string))
}

/** The path of a descriptor at the beginning of the arguments, or of a result; that of a file that is gone is `undefined`. */
export function pathOfDescriptor(text: string): string | undefined {
  const path = /^\d+<((?:\\x[0-9a-f]{2})+)>(\(deleted\))?/.exec(text)
  if (path === null || path[2] !== undefined) return undefined
  const name = unescaped(path[1] as string).toString()
  return name.endsWith(' (deleted)') ? undefined : name
}
