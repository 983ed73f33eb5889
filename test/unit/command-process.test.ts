import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { beforeEach, describe, expect, it } from 'vitest'
import { completionScript } from '../../src/command/completion-script.ts'
import { createPersistence } from '../../src/index.ts'
import { ROOT } from '../support/examples.ts'
import { temporaryFolder } from '../support/stores.ts'

/*
 * The command as a process of its own: what the system does to it. It is the built one.
 */

const COMMAND = join(ROOT, 'dist', 'command', 'main.js')
const run = promisify(execFile)

/** Loaded into a process, tells its parent to what events of the process it listens. */
const TELL_LISTENERS = `data:text/javascript,${encodeURIComponent(
  "process.on('newListener', name => { if (typeof name === 'string') process.send(name) })",
)}`

let cwd: string

beforeEach(async () => {
  cwd = await temporaryFolder()
})

async function fill(keys: number): Promise<void> {
  const store = await createPersistence({ basePath: join(cwd, '.varve') })
  await store.setMany(Array.from({ length: keys }, (_, i) => [`key ${i}`, 'x'.repeat(200)] as const))
  await store.createSnapshot()
  await store.close()
}

describe('the process', () => {
  it('can be run as it is installed', async () => {
    expect((await stat(COMMAND)).mode & 0o111).not.toBe(0)
    const { stdout } = await run(COMMAND, ['--version'])
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it('ends quietly when its reader has had enough', async () => {
    await fill(20_000)
    const script = `set -o pipefail; node ${JSON.stringify(COMMAND)} list --values | head -n 1`
    const { stdout, stderr } = await run('bash', ['-c', script], { cwd })
    expect(stdout).toMatch(/^key 0 {2}"x+"\n$/)
    expect(stderr).toBe('')
  })

  it.skipIf(process.platform !== 'linux')('says in one line that its output cannot be written', async () => {
    await fill(20_000)
    for (const line of ['list', 'get "key 1"', 'log --json', '--help']) {
      const script = `node ${JSON.stringify(COMMAND)} ${line} > /dev/full`
      const { stderr, code } = await run('bash', ['-c', script], { cwd }).catch(error => error)
      expect({ line, code }).toEqual({ line, code: 6 })
      expect(stderr).toMatch(/Cannot write to standard output: the disk is full \(ENOSPC\)\./)
      expect(stderr.trim().split('\n')).toHaveLength(1)
    }
  })

  it.each([
    ['set a', '', 'SIGINT', 130],
    ['save', '{', 'SIGTERM', 143],
    ['replay -', '{}\nnot JSON\n', undefined, 6],
  ] as const)('%s does not wait for a pipe that stays open', async (line, given, signal, code) => {
    await fill(1)
    const child = spawn(process.execPath, ['--import', TELL_LISTENERS, COMMAND, ...line.split(' ')], {
      cwd,
      stdio: ['pipe', 'ignore', 'ignore', 'ipc'],
    })
    const exited = once(child, 'exit')
    child.stdin?.write(given)
    if (signal !== undefined) {
      let listens = false
      child.on('message', name => {
        listens ||= name === signal
      })
      // Before that, the system would end the process.
      while (!listens) await delay(5)
      // Then it comes to read the pipe.
      await delay(300)
      child.kill(signal)
    }
    const [exit] = await exited
    expect(exit).toBe(code)
    child.stdin?.destroy()
  })

  it('reads and writes pipes', async () => {
    const script = `varve() { node ${JSON.stringify(COMMAND)} "$@"; }
      varve init > /dev/null; echo '{"a": 1, "b": [2]}' | varve save > /dev/null; varve load | varve save --store .varve`
    const { stdout } = await run('bash', ['-c', script], { cwd })
    expect(stdout).toBe('0 keys set, 0 deleted, 2 unchanged\n')
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('stops by %s, and leaves the store as it was', async (signal, code) => {
    await fill(100)
    const lines = Array.from(
      { length: 50_000 },
      (_, i) => `${JSON.stringify({ key: `new ${i}`, value: 'y'.repeat(100) })}\n`,
    )
    await writeFile(join(cwd, 'state.jsonl'), lines.join(''))
    const child = spawn(process.execPath, [COMMAND, 'import', 'state.jsonl'], { cwd })
    const exited = once(child, 'exit')
    // As soon as it has begun: the import has its stage in the store, or is about to.
    while (!(await isBusy(join(cwd, '.varve')))) await new Promise(resolve => setTimeout(resolve, 5))
    child.kill(signal)
    const [exit] = await exited
    const store = await createPersistence({ basePath: join(cwd, '.varve') })
    try {
      const size = await store.size()
      // It may have been faster; half of it there is not.
      expect([`${code}: 100 keys`, '0: 50000 keys']).toContain(`${exit}: ${size} keys`)
    } finally {
      await store.close()
    }
  })

  it.skipIf(process.platform === 'win32')('reads a store that can only be read', async () => {
    await fill(3)
    const store = join(cwd, '.varve')
    for (const file of await readdir(store)) await chmod(join(store, file), 0o444)
    await chmod(store, 0o555)
    await chmod(cwd, 0o755)
    // Root may write anywhere.
    const identity = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
    const varve = (...args: string[]) =>
      run(process.execPath, [COMMAND, ...args], { cwd, ...identity }).catch(error => error)
    for (const args of [
      ['get', 'key 1'],
      ['list'],
      ['log'],
      ['show'],
      ['diff'],
      ['history', 'key 1'],
      ['verify'],
      ['stats'],
      ['load'],
    ]) {
      const { stdout, code = 0 } = await varve(...args)
      expect({ args, code }).toEqual({ args, code: 0 })
      expect(stdout === '').toBe(args[0] === 'diff')
    }
    for (const args of [['set', 'a', '1'], ['snapshot']]) {
      const { stderr, code } = await varve(...args)
      expect({ args, code }).toEqual({ args, code: 3 })
      expect(stderr).toMatch(/^varve: .* opened for reading/)
    }
    await chmod(store, 0o755)
  })
})

describe('completion', () => {
  it('is a script that bash runs', async () => {
    const { stdout: script } = await run(process.execPath, [COMMAND, 'completion', 'bash'])
    const complete = async (...words: string[]): Promise<string[]> => {
      const { stdout } = await run('bash', [
        '-c',
        `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _varve; printf '%s\\n' "\${COMPREPLY[@]}"`,
        'bash',
        'varve',
        ...words,
      ])
      return stdout.trim().split('\n')
    }
    expect(await complete('sn')).toEqual(['snapshot'])
    expect(await complete('diff', '--ex')).toEqual(['--exit-code'])
    expect(await complete('--json', 'diff', '--ex')).toEqual(['--exit-code'])
    expect(await complete('completion', 'z')).toEqual(['zsh'])
    expect(await complete('--store', 'get', 'sn')).toEqual(['snapshot'])
    expect(await complete('--store', 'x', '--json', 'diff', '--ex')).toEqual(['--exit-code'])
    expect(await complete('get', '--st')).toEqual(['--string', '--store'])
  })

  it.skipIf(!isInstalled('zsh'))('is a script that zsh runs', async () => {
    const { stdout: script } = await run(process.execPath, [COMMAND, 'completion', 'zsh'])
    const complete = async (...words: string[]): Promise<string> => {
      const { stdout } = await run('zsh', [
        '-fc',
        `compdef() { :; }
        _describe() { print -r -- "\${(@P)2%%:*}" }
        _arguments() { print -r -- "\${words[*]} | $CURRENT | $*" }
        ${script}
        words=(varve "$@"); CURRENT=\${#words}; _varve`,
        'zsh',
        ...words,
      ])
      return stdout
    }
    expect(await complete('sn')).toContain(' snapshot ')
    expect(await complete('--store', 'get', 'sn')).toContain(' snapshot ')
    expect(await complete('--json', '--store', 'x', 'diff', '--ex')).toMatch(
      /^diff --ex \| 2 \| .*--exit-code\[/,
    )
    expect(await complete('completion', 'z')).toContain('(bash zsh fish)')
  })

  it.skipIf(!isInstalled('fish'))('is a script that fish runs', async () => {
    const { stdout: script } = await run(process.execPath, [COMMAND, 'completion', 'fish'])
    const complete = async (line: string): Promise<string[]> => {
      const { stdout } = await run('fish', ['-N', '-c', `${script}\ncomplete -C ${JSON.stringify(line)}`], {
        cwd,
      })
      return stdout
        .trim()
        .split('\n')
        .map(row => row.split('\t')[0] as string)
    }
    expect(await complete('varve sna')).toEqual(['snapshot'])
    expect(await complete('varve --store x sna')).toEqual(['snapshot'])
    expect(await complete('varve get sna')).not.toContain('snapshot')
    expect(await complete('varve diff --ex')).toEqual(['--exit-code'])
    expect(await complete('varve completion z')).toEqual(['zsh'])
  })

  it.each(['zsh', 'fish'] as const)('names each command and option for %s, in quotes', shell => {
    const script = completionScript(shell, [
      {
        name: 'get',
        description: "the key's value: [one]",
        options: [{ flag: '--at', description: "it's then", takesValue: true }],
        choices: [],
      },
    ])
    expect(script).toContain('get')
    expect(script).toMatch(
      shell === 'zsh' ? /'--at\[it'\\''s then\]:value:_files'/ : /-l at -r -d 'it\\'s then'/,
    )
    expect(script).toContain(
      shell === 'zsh' ? "the key'\\''s value\\: \\[one\\]" : "the key\\'s value: [one]",
    )
  })
})

/** Whether more is in the store than was at first. */
async function isBusy(folder: string): Promise<boolean> {
  const { size } = await stat(join(folder, 'data.mdb'))
  return size > 1_000_000
}

function isInstalled(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0
}
