import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { Output } from '../../src/command/output.ts'
import { buildProgram } from '../../src/command/program.ts'
import { createPersistence } from '../../src/index.ts'
import { runCommand, wordsOf } from '../support/command.ts'
import { type ConsoleExample, consoleOfMarkdown, filesIn, matchesExample, ROOT } from '../support/examples.ts'
import { temporaryFolder } from '../support/stores.ts'

const run = promisify(execFile)

const documents = [join(ROOT, 'README.md'), ...filesIn('docs', '.md')]
  .map(file => ({ file: file.slice(ROOT.length), examples: consoleOfMarkdown(file) }))
  .filter(({ examples }) => examples.length > 0)

interface Workplace {
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
}

/** A folder to work in, and the environment in which `varve` is the built command. */
async function workplace(): Promise<Workplace> {
  const folder = await temporaryFolder()
  const [bin, cwd] = [join(folder, 'bin'), join(folder, 'work')] as const
  await mkdir(bin)
  await mkdir(cwd)
  await symlink(join(ROOT, 'dist', 'command', 'main.js'), join(bin, 'varve'))
  return { cwd, env: { ...process.env, PATH: `${bin}:${process.env['PATH']}`, NO_COLOR: '1' } }
}

describe('the commands of the documents', () => {
  it('are found', () => {
    expect(documents.map(({ file }) => file)).toContain('docs/command.md')
  })

  // One after the other: the folder of a test is removed at the end of whichever runs as it is made.
  it.each(documents)('$file', async ({ examples }) => {
    const place = await workplace()
    for (const example of examples) await check(example, place)
  })
})

async function check({ name, command, output }: ConsoleExample, place: Workplace): Promise<void> {
  const { text } = await execute(command, place)
  const lines = text === '' ? [] : text.replace(/\n$/, '').split('\n')
  const differs =
    lines.length !== output.length || lines.some((line, i) => !matchesExample(line, output[i] ?? ''))
  if (differs) expect({ name, command, lines }).toEqual({ name, command, lines: output })
}

/** Runs a line: in this process where no shell is needed, which is much faster. What it writes is put together. */
async function execute(
  line: string,
  place: Workplace,
): Promise<{ readonly code: number; readonly text: string }> {
  const args = wordsOf(line)
  if (args !== undefined) {
    const { code, stdout } = await runCommand(args, { ...place, together: true })
    return { code, text: stdout }
  }
  const { code = 0, stdout } = await run('bash', ['-c', `{ ${line}\n} 2>&1`], place).catch(error => error)
  return { code, text: String(stdout) }
}

describe('the examples of the help', () => {
  it('are right', async () => {
    const place = await workplace()
    await prepare(place.cwd)
    const examples = await helpExamples()
    expect(examples.length).toBeGreaterThan(50)
    for (const line of examples.filter(example => !OF_KEYS.test(example))) {
      const { code, text } = await execute(line, place)
      // That the answer is no is no mistake of the example.
      expect({ line, code, text }).toEqual({ line, code: code === 1 ? 1 : 0, text })
    }
  })
})

/** Examples about encrypted stores. */
const OF_KEYS = / --key-file | rotate-key /

describe('the examples of the help about keys', () => {
  it('are right', async () => {
    const examples = (await helpExamples()).filter(example => OF_KEYS.test(example))
    expect(examples.length).toBeGreaterThan(2)
    for (const line of examples) {
      const place = await workplace()
      await writeKeys(place.cwd)
      const made = line.startsWith('varve init')
        ? { code: 0 }
        : await execute('varve init --key-file old.key', place)
      // Where the example names no key, the environment has it.
      const env = line.includes(' --key-file ')
        ? place.env
        : { ...place.env, VARVE_ENCRYPTION_KEY: KEYS['old.key'] }
      const { code, text } = await execute(line, { ...place, env })
      expect({ line, made: made.code, code, text }).toEqual({ line, made: 0, code: 0, text })
    }
  })
})

const KEYS = { 'varve.key': '0'.repeat(64), 'old.key': '1'.repeat(64), 'new.key': '2'.repeat(64) } as const

async function writeKeys(cwd: string): Promise<void> {
  for (const [name, key] of Object.entries(KEYS)) await writeFile(join(cwd, name), key)
}

/** What the examples are about. */
async function prepare(cwd: string): Promise<void> {
  const store = await createPersistence({ basePath: join(cwd, '.varve') })
  await store.save({ user: { name: 'Ada' }, visits: 3, motd: 'hello', 'user/1': 1, 'user/2': 2 })
  for (let i = 0; i < 7; i++) await store.createSnapshot({ tags: i === 2 ? ['stable'] : [] })
  await store.close()
  await writeFile(join(cwd, 'page.json'), '{}')
  await writeFile(join(cwd, 'state.json'), '{"user": 1, "visits": 3}')
  await writeFile(join(cwd, 'history.jsonl'), '{"put": {"a": 1}}\n')
  for (const name of ['varve', 'new', 'newer']) await writeFile(join(cwd, `${name}.key`), randomBytes(32))
  await run('gzip', ['-k', 'history.jsonl'], { cwd })
  await writeKeys(cwd)
}

/** The examples of all commands, but for those that wait for others, or need what is not everywhere. */
async function helpExamples(): Promise<string[]> {
  const texts: string[] = []
  const stream = process.stdout
  const program = buildProgram(
    { output: new Output(stream, {}, () => undefined), stderr: stream },
    async () => undefined,
  )
  for (const command of program.commands) {
    command.configureOutput({ writeOut: text => void texts.push(text) })
    command.outputHelp()
  }
  return texts
    .flatMap(text => [...text.matchAll(/^ {2}\$ (.*)$/gm)].map(match => match[1] as string))
    .filter(line => !/^varve watch|\bfish\b/.test(line))
    .map(line =>
      line
        .replace(/@\d{4}-\d\d-\d\d/, '@2099-01-01')
        .replace(/ \| jq .*$/, '')
        .replace('/backup/store', 'backup')
        .replace('~/', '')
        .replace(/^varve bench.*/, 'varve bench --seconds 0'),
    )
}
