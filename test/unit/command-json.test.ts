import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createPersistence } from '../../src/index.ts'
import { countWatchers, runCommand } from '../support/command.ts'
import { ROOT } from '../support/examples.ts'
import { hasShape, parseShape } from '../support/json-shape.ts'
import { temporaryFolder } from '../support/stores.ts'

/*
 * What `--json` writes, against the table of docs/command.md.
 */

const document = await readFile(join(ROOT, 'docs/command.md'), 'utf8')

/** The shapes of each command, by the rows of the table. */
const documented = new Map(
  [...document.matchAll(/^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \| (.*[{[].*) \|$/gm)].flatMap(
    ([, names = '', cell = '']) => {
      const shapes = [...cell.matchAll(/`([{[][^`]*)`/g)].map(match => match[1] as string)
      return [...names.matchAll(/[\w-]+/g)].map(([name]) => [name, shapes] as const)
    },
  ),
)

/** Command lines that make every shape, in an order in which they can be run. */
const LINES = [
  'init',
  `set user {"name":"Ada"}`,
  'set visits 3',
  'get user',
  'get nobody',
  'delete visits nobody',
  'list',
  'list --values',
  'snapshot --tag first --description words',
  `set user {"name":"Grace"}`,
  'set other 1',
  'snapshot --base first',
  'log',
  'show',
  'show first',
  'diff',
  'diff first head',
  'diff head first',
  'history user',
  'tag head~1 second',
  'untag second second',
  'tag',
  'load',
  'load state.json',
  'save plain.json',
  'export data.jsonl',
  'export --snapshot first first.snapshot',
  'import data.jsonl',
  'import first.snapshot',
  'restore first',
  'prune --keep-last 5 --dry-run',
  'prune --keep-last 5',
  'verify',
  'verify --repair --into repaired',
  'compact',
  'stats',
  'replay history.jsonl',
  'history a',
  'copy .varve copied',
  'bench --seconds 0',
  'init --store keyed --key-file old.key',
  'rotate-key new.key --store keyed --key-file old.key',
  'completion bash',
] as const

describe('the JSON of each command', () => {
  it('is one document, of a shape that the table has; and each shape there is, occurs', async () => {
    const cwd = await temporaryFolder()
    await writeFile(join(cwd, 'plain.json'), '{"user": {"name": "Ada"}}')
    await writeFile(join(cwd, 'history.jsonl'), '{"put": {"a": 1}, "note": "x"}\n{"del": ["a"]}\n')
    for (const name of ['old', 'new'])
      await writeFile(join(cwd, `${name}.key`), (name === 'old' ? '1' : '2').repeat(64))
    const unseen = new Map([...documented].map(([command, shapes]) => [command, new Set(shapes)]))
    const see = (line: string, text: string): void => {
      const command = line.split(' ')[0] as string
      const value: unknown = JSON.parse(text)
      const matching = (documented.get(command) ?? []).filter(shape => hasShape(value, parseShape(shape)))
      expect(matching, `${line} wrote ${text}`).not.toEqual([])
      for (const shape of matching) unseen.get(command)?.delete(shape)
    }
    for (const line of LINES) {
      const { stdout, stderr, code } = await runCommand([...line.split(' '), '--json'], { cwd })
      expect({ line, stderr }).toEqual({ line, stderr: '' })
      expect(code === 0 || line.includes('nobody'), line).toBe(true)
      see(line, stdout)
    }
    const watchers = countWatchers()
    const watching = runCommand(['watch', '--limit', '2', '--json'], { cwd })
    await watchers(1)
    await using store = await createPersistence({ basePath: join(cwd, '.varve') })
    await store.set('watched', 1)
    await store.delete('watched')
    for (const row of (await watching).stdout.trim().split('\n')) see('watch', row)

    expect([...unseen].filter(([, shapes]) => shapes.size > 0)).toEqual([])
    const { stdout: help } = await runCommand(['--help'], { cwd })
    const list = help.slice(0, help.indexOf('\nVersions '))
    const commands = [...list.matchAll(/^ {2}([a-z][a-z-]*)(?: \S.*)? {2,}\S/gm)].map(
      match => match[1] as string,
    )
    expect(commands.filter(name => name !== 'help' && !documented.has(name))).toEqual([])
  })
})
