import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A program from the documents or from a doc comment. */
export interface Example {
  /** File and line, for the name of its test. */
  readonly name: string
  readonly code: string
  /** What its `// → …` comments say that it prints, line by line; `undefined` where it has none. */
  readonly output: readonly string[] | undefined
}

/** The folder of the package. */
export const ROOT: string = fileURLToPath(new URL('../../', import.meta.url))

const OUTPUT = /\/\/ → (.*)$/

/** The blocks of a Markdown file that are marked as complete programs: those that begin with ```` ```ts runnable ````. */
export function examplesOfMarkdown(file: string): Example[] {
  return blocks(file, readFileSync(file, 'utf8').split('\n'), '```ts runnable')
}

/** The `ts` blocks of doc comments that import the package: the others only hint at a call. */
export function examplesOfSource(file: string): Example[] {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .map(line => (/^\s*\* ?/.test(line) ? line.replace(/^\s*\* ?/, '') : ''))
  return blocks(file, lines, '```ts').filter(({ code }) => /from 'varve[/']/.test(code))
}

/** The files of a folder, and of those in it, whose names end so. */
export function filesIn(folder: string, extension: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith(extension))
    .sort()
    .map(name => join(ROOT, folder, name))
}

function blocks(file: string, lines: readonly string[], opening: string): Example[] {
  const found: Example[] = []
  for (let start = 0; start < lines.length; start++) {
    if (lines[start]?.trim() !== opening) continue
    const end = lines.findIndex((line, i) => i > start && line.trim() === '```')
    const program = lines.slice(start + 1, end)
    const output = program.flatMap(line => OUTPUT.exec(line)?.[1] ?? [])
    found.push({
      name: `${relative(ROOT, file)}:${start + 1}`,
      code: `${program.join('\n')}\n`,
      output: output.length === 0 ? undefined : output,
    })
    start = end
  }
  return found
}

/** A line of a console, as a document shows it, and what is to follow. */
export interface ConsoleExample {
  /** File and line. */
  readonly name: string
  readonly command: string
  /** What it writes; `…` stands for what varies. */
  readonly output: readonly string[]
}

/** The commands in the ```` ```console ```` blocks of a Markdown file, in their order. Each begins with `$ `. */
export function consoleOfMarkdown(file: string): ConsoleExample[] {
  const found: (ConsoleExample & { output: string[] })[] = []
  for (const { code, name } of blocks(file, readFileSync(file, 'utf8').split('\n'), '```console')) {
    for (const line of code.trimEnd().split('\n')) {
      if (line.startsWith('$ ')) found.push({ name, command: line.slice(2), output: [] })
      else found.at(-1)?.output.push(line)
    }
  }
  return found
}

/** Whether a line is what a document says, where `…` stands for anything. */
export function matchesExample(line: string, expected: string): boolean {
  const parts = expected.split('…').map(part => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`).test(line)
}
