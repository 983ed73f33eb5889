import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { Interruption } from '../../src/command/run.ts'
import { createPersistence, type Persistence } from '../../src/index.ts'
import { type CommandOptions, type CommandResult, countWatchers, runCommand } from '../support/command.ts'
import { temporaryFolder } from '../support/stores.ts'

let cwd: string

beforeEach(async () => {
  cwd = await temporaryFolder()
})

/** Runs a command line, as a shell would cut it. */
function varve(
  line: string | readonly string[],
  options: Partial<CommandOptions> = {},
): Promise<CommandResult> {
  const args = typeof line === 'string' ? line.split(' ') : line
  return runCommand(args, { cwd, ...options })
}

/** The result of a command that is to succeed, as JSON. */
async function json(
  line: string | readonly string[],
  options: Partial<CommandOptions> = {},
): Promise<unknown> {
  const { code, stdout, stderr } = await varve(line, options)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

async function withStore<T>(use: (store: Persistence) => Promise<T>): Promise<T> {
  const store = await createPersistence({ basePath: join(cwd, '.varve') })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** A store with two snapshots, `first` and v2, and a change since. */
async function filled(): Promise<void> {
  await withStore(async store => {
    await store.save({ count: 3, gone: true, user: { name: 'Ada', roles: ['admin'] } })
    await store.createSnapshot({ tag: 'first', description: 'how it began' })
    await store.set('user', { name: 'Grace', roles: ['admin', 'editor'] })
    await store.delete('gone')
    await store.createSnapshot()
    await store.set('count', 4)
  })
}

describe('values', () => {
  it('are set, read and removed', async () => {
    expect(await varve('init')).toEqual({ code: 0, stdout: 'Made a store at ./.varve\n', stderr: '' })
    expect(await varve(['set', 'user', '{"name": "Ada"}'])).toEqual({ code: 0, stdout: '', stderr: '' })
    expect((await varve('get user')).stdout).toBe('{\n  "name": "Ada"\n}\n')
    expect(await json('get user --json')).toEqual({
      key: 'user',
      version: 'head',
      found: true,
      value: { name: 'Ada' },
    })
    expect((await varve('delete user')).code).toBe(0)
    expect(await varve('get user')).toEqual({ code: 1, stdout: '', stderr: 'There is no key "user".\n' })
    expect((await varve('delete user other')).stderr).toBe(
      'There is no key "user".\nThere is no key "other".\n',
    )
  })

  it('are JSON, and text only if that is said', async () => {
    await varve('init')
    const refused = await varve('set motd hello')
    expect(refused.code).toBe(2)
    expect(refused.stderr).toMatch(/^varve: The value is not JSON .*--string.*\n$/)
    await varve(['set', 'motd', '--string', 'hello you'])
    expect((await varve('get motd')).stdout).toBe('"hello you"\n')
    expect((await varve('get motd --string')).stdout).toBe('hello you')
    expect((await varve('set big 1e999')).stderr).toContain('too large')
  })

  it('keep each digit, or are refused', async () => {
    await filled()
    const before = await varve('load')
    const message =
      /integer 9007199254740993 at \$\.?id.* it would become 9007199254740992. Write it as a string/
    for (const [line, stdin, code] of [
      ['set id -', '{"id": 9007199254740993}', 2],
      ['save', '{"id": 9007199254740993}', 6],
      ['replay -', '{"put": {"id": 1}, "id": 9007199254740993}', 6],
    ] as const) {
      expect(await varve(line, { stdin })).toMatchObject({
        code,
        stdout: '',
        stderr: expect.stringMatching(message),
      })
    }
    expect(await varve('load')).toEqual(before)
    expect((await varve('set id 9007199254740992')).code).toBe(0)
  })

  it('come from standard input where none is given', async () => {
    await varve('init')
    await varve('set a', { stdin: '[1, 2]' })
    await varve('set b - --string', { stdin: 'two\nlines\n' })
    expect(await json('list --values --json')).toEqual([
      { key: 'a', value: [1, 2] },
      { key: 'b', value: 'two\nlines\n' },
    ])
  })

  it('of types that JSON does not have are tagged', async () => {
    await varve('init')
    await varve(['set', 'day', '--tagged', '{"$type": "Date", "value": "2026-01-31T00:00:00.000Z"}'])
    expect((await varve('get day')).stdout).toBe('2026-01-31T00:00:00.000Z\n')
    expect(await json('get day --json')).toMatchObject({
      value: { $type: 'Date', value: '2026-01-31T00:00:00.000Z' },
    })
    const refused = { code: 2, stderr: expect.stringMatching(/class Date at \$\. --tagged keeps it\.\n$/) }
    expect(await varve('load')).toMatchObject(refused)
    expect(await varve('export state.json')).toMatchObject(refused)
    const { stdout } = await varve('load --tagged')
    await varve('save --tagged', { stdin: stdout })
    expect(await withStore(store => store.get('day'))).toEqual(new Date('2026-01-31'))
  })
})

describe('list', () => {
  it('takes ranges and moments', async () => {
    await filled()
    expect((await varve('list')).stdout).toBe('count\nuser\n')
    expect((await varve('list --at first --reverse --limit 2')).stdout).toBe('user\ngone\n')
    expect((await varve('list --from d --to h --at v1')).stdout).toBe('gone\n')
    expect(await json('list us --json')).toEqual([{ key: 'user' }])
    expect(await json('list absent --json')).toEqual([])
    expect((await varve('list --values --at first')).stdout.split('\n')[0]).toBe('count  3')
  })

  it('shows keys so that they can do nothing to a terminal', async () => {
    await withStore(store => store.setMany({ 'a\x1b[31m': 'x\x1b[0m', 'line\nfeed': 1, 'wide\u202e': 1 }))
    const { stdout } = await varve('list --values')
    expect(stdout).toBe('"a\\u001b[31m"  "x\\u001b[0m"\n"line\\nfeed"  1\n"wide\\u202e"  1\n')
  })
})

describe('what is stored', () => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
  const acts = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]/

  it('does nothing to a terminal, nor breaks a line, whatever its type', async () => {
    const clear = '\x1bc\x9b'
    const hostile = 'a\x1b[31m\x9b2J\u202e\nb'
    await withStore(async store => {
      await store.setMany({
        error: new Error(hostile),
        expression: new RegExp(clear),
        [hostile]: new Map([[hostile, { [hostile]: hostile }]]),
        text: hostile,
      })
      await store.createSnapshot({
        tag: hostile,
        description: hostile,
        userInfo: { error: new Error(hostile) },
      })
      await store.set('error', new Map([[1, new RegExp(clear)]]))
      await store.delete('expression')
      await store.createSnapshot()
    })
    for (const line of [
      'list --values',
      'list --values --json',
      'get error --at v1',
      'get text --json',
      'get expression --at v1',
      'load --tagged',
      'log',
      'log --json',
      'show v1',
      'show --json',
      'diff v1 v2',
      'diff v1 v2 --json',
      'history error',
      'tag',
      'tag --json',
      'restore a',
      'get b --json --at a',
      ['get', hostile.slice(0, 8)],
      ['get', `--${hostile}`],
      ['export', `${hostile}.json`],
    ]) {
      const { stdout, stderr } = await varve(line, { together: true, env: { NO_COLOR: '1' } })
      expect(stdout + stderr, String(line)).not.toMatch(acts)
      expect(stdout, String(line)).not.toBe('')
    }
    const { stdout } = await varve('list --values --at v1')
    expect(stdout.trim().split('\n')).toHaveLength(4)
  })
})

describe('save and load', () => {
  it('move the whole state through a file or a pipe', async () => {
    await filled()
    const { stdout } = await varve('load')
    expect(JSON.parse(stdout)).toEqual({ count: 4, user: { name: 'Grace', roles: ['admin', 'editor'] } })
    expect(await json('load state.json.gz --json')).toMatchObject({ file: 'state.json.gz', keys: 2 })
    await varve('init --store other')
    expect(await json('save state.json.gz --store other --json')).toMatchObject({
      set: 2,
      deleted: 0,
      unchanged: 0,
    })
    expect((await varve('load --store other')).stdout).toBe(stdout)
    expect((await varve('save --store other', { stdin: '{"count": 4}' })).stdout).toBe(
      '0 keys set, 1 deleted, 1 unchanged\n',
    )
    expect(JSON.parse((await varve('load --at first')).stdout)).toMatchObject({ gone: true })
  })

  it.each([
    ['[1]', 'a state is a JSON object'],
    ['{"a": ', 'not JSON'],
    ['{"a": 1e999}', 'too large'],
  ])('refuse %s, and change nothing', async (stdin, reason) => {
    await filled()
    const { code, stderr } = await varve('save', { stdin })
    expect(code).toBe(6)
    expect(stderr).toContain(reason)
    expect(await withStore(store => store.size())).toBe(2)
  })
})

describe('snapshots', () => {
  it('are taken, listed, tagged and restored', async () => {
    await filled()
    expect((await varve(['snapshot', '--tag', 'a', '--tag', 'b', '--description', 'third one'])).stdout).toBe(
      'v3\n',
    )
    expect(await json('snapshot --base first --json')).toEqual({ version: 'v4' })
    const sizes = / +\d+ B/g
    expect((await varve('log')).stdout.replaceAll(sizes, '  B')).toBe(
      [
        'version  taken     changes  size  tags   description',
        'v4       just now        3  B',
        'v3       just now        1  B  a, b   third one',
        'v2       just now        2  B',
        'v1       just now        3  B  first  how it began',
        '',
      ].join('\n'),
    )
    expect(await json('log --json --limit 1')).toMatchObject([
      { version: 'v4', kind: 'delta', baseVersion: 'v1' },
    ])
    expect(await json('log --json --tag first')).toMatchObject([{ version: 'v1', tags: ['first'] }])
    expect(await json('tag head~1 latest --json')).toEqual({ version: 'v4', tags: ['latest'] })
    expect(await json('untag latest latest --json')).toEqual({ version: 'v4', tags: [] })
    expect(await json('tag --json')).toEqual({ a: 1, b: 1, first: 1 })
    expect((await varve('restore first')).stdout).toBe('Restored v1: 3 keys set, 0 deleted, 0 unchanged\n')
    expect(await json('get count --json')).toMatchObject({ value: 3 })
  })

  it('take no tag that could not name them afterwards', async () => {
    await filled()
    for (const tag of ['v3', 'V12', 'head', 'HEAD', '@noon', 'a~1', 'a~']) {
      for (const line of [
        ['snapshot', '--tag', tag],
        ['tag', 'first', 'fine', tag],
      ]) {
        expect(await varve(line)).toMatchObject({
          code: 2,
          stdout: '',
          stderr: expect.stringContaining(`The tag "${tag}"`),
        })
      }
    }
    expect(await json('tag --json')).toEqual({ first: 1 })
    expect((await varve('tag first v3.1 version headroom a~b')).code).toBe(0)
  })

  it('are shown with what they changed', async () => {
    await filled()
    const { stdout } = await varve('show v2')
    expect(stdout).toMatch(/^version {2}v2\ntaken {4}.*, just now\nwritten/)
    expect(stdout.split('\n').slice(4)).toEqual([
      'Since v1:',
      '- gone  true',
      '~ user',
      '    ~ /name  "Ada" → "Grace"',
      '    + /roles/1  "editor"',
      '2 keys: 1 removed, 1 changed',
      '',
    ])
    expect(await json('show --json')).toMatchObject({
      version: 'v2',
      previous: 'v1',
      differences: [{ key: 'gone' }, { key: 'user' }],
    })
    expect(await json('show first --json')).toMatchObject({ previous: null, differences: [] })
    expect((await varve('show head')).code).toBe(2)
  })

  it('give the history of a key', async () => {
    await filled()
    expect((await varve('history gone')).stdout).toBe('v2  deleted\nv1  true\n')
    expect(await json('history user --json --limit 1')).toEqual([
      { version: 'v2', value: { name: 'Grace', roles: ['admin', 'editor'] } },
    ])
    expect(await varve('history absent')).toMatchObject({ code: 1, stdout: '' })
  })

  it('are pruned, or only said to be', async () => {
    await filled()
    await withStore(store => store.createSnapshot())
    const dry = { dryRun: true, kept: ['v1', 'v3'], removed: ['v2'] }
    expect(await json('prune --keep-last 1 --dry-run --json')).toEqual(dry)
    expect((await varve('prune --keep-last 1')).stdout).toBe('Removed 1 snapshot: v2\nKept 2 snapshots\n')
    expect(await json('prune --keep-last 1 --json --prune-tagged')).toMatchObject({ removed: ['v1'] })
    expect((await varve('prune')).code).toBe(2)
    expect((await varve('prune --keep-last -1')).code).toBe(2)
  })

  it('are pruned by the policy that init stores', async () => {
    await varve('init --keep-last 1 --keep-tag stable')
    for (let i = 0; i < 3; i++) await varve('snapshot')
    expect(await json('log --json')).toMatchObject([{ version: 'v3' }])
    expect(await json('init --json')).toEqual({ store: './.varve', created: false })
  })
})

describe('diff', () => {
  it('shows what changed, down to the place in a value', async () => {
    await filled()
    expect(await varve('diff first head')).toEqual({
      code: 0,
      stdout:
        '~ count  3 → 4\n- gone  true\n~ user\n    ~ /name  "Ada" → "Grace"\n    + /roles/1  "editor"\n',
      stderr: '3 keys: 1 removed, 2 changed\n',
    })
    expect((await varve('diff')).stdout).toBe('~ count  3 → 4\n')
    expect((await varve('diff head first --prefix g')).stdout).toBe('+ gone  true\n')
    expect((await varve('diff v1 v2 --keys')).stdout).toBe('- gone\n~ user\n')
    expect((await varve('diff v2 v2')).stderr).toBe('No difference\n')
    expect(await json('diff v1 v2 --json')).toEqual([
      { key: 'gone', type: 'removed', before: true },
      {
        key: 'user',
        type: 'changed',
        before: { name: 'Ada', roles: ['admin'] },
        after: { name: 'Grace', roles: ['admin', 'editor'] },
        patch: [
          { op: 'replace', path: '/name', value: 'Grace' },
          { op: 'add', path: '/roles/1', value: 'editor' },
        ],
      },
    ])
  })

  it('ends with 1 for a difference, where that is asked for', async () => {
    await filled()
    expect((await varve('diff --exit-code')).code).toBe(1)
    expect((await varve('diff v2 v2 --exit-code')).code).toBe(0)
  })

  it('shows the values that were there, also in lists whose places move', async () => {
    await withStore(async store => {
      await store.set('list', { items: ['a', 'b', 'c', 'd'] })
      await store.createSnapshot()
      await store.set('list', { items: ['b', 'x', 'd'] })
    })
    const { stdout } = await varve('diff')
    expect(stdout.match(/- \S+ {2}"a"/)).not.toBeNull()
    expect(stdout).not.toContain('undefined')
  })

  it('shortens values with many changes', async () => {
    await withStore(async store => {
      await store.set('big', Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`n${i}`, i])))
      await store.createSnapshot()
      await store.set('big', Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`n${i}`, -i - 1])))
    })
    expect((await varve('diff')).stdout).toContain('… and more: --all shows every one')
    expect((await varve('diff --all')).stdout.split('\n')).toHaveLength(42)
  })
})

describe('moving data', () => {
  it('exports and imports the state and snapshots', async () => {
    await filled()
    await varve('init --store other')
    expect(await json('export state.jsonl --json')).toMatchObject({ file: 'state.jsonl', entries: 2 })
    expect(await json('import state.jsonl --store other --json')).toMatchObject({ set: 2 })
    expect((await varve('export --snapshot first one.snapshot')).stdout).toMatch(
      /^Wrote 3 entries, \d+ B, to one.snapshot\n$/,
    )
    await varve('export --snapshot v2 --base first two.snapshot')
    expect(await json('import one.snapshot --store other --json')).toEqual({
      file: 'one.snapshot',
      version: 'v1',
    })
    expect((await varve('import two.snapshot --store other')).stdout).toBe('two.snapshot is v2 here\n')
    expect(await json('log --store other --json')).toMatchObject([{ version: 'v2' }, { tags: ['first'] }])
    expect((await varve('export --base v1 x.snapshot')).code).toBe(2)
    expect((await varve('import absent.json')).code).toBe(6)
    expect((await varve('export no/such/folder.json')).code).toBe(6)
  })

  it('copies a store whole', async () => {
    await filled()
    expect(await json('copy .varve copy --json')).toEqual({
      from: '.varve',
      to: 'copy',
      snapshots: 2,
      keys: 2,
      records: expect.any(Number),
      written: expect.any(Number),
    })
    expect((await varve('load --store copy')).stdout).toBe((await varve('load')).stdout)
    expect((await varve('load --store copy --at first')).stdout).toBe((await varve('load --at first')).stdout)
    expect((await varve('copy .varve copy')).stderr).toContain('holds data already')
    expect((await varve('copy nothing other')).code).toBe(3)
    expect(existsSync(join(cwd, 'other'))).toBe(false)
  })

  it('replays a history, a snapshot a line', async () => {
    await varve('init')
    const lines = [
      { put: { a: 1, b: { c: 2 } }, commit: 'abc', date: '2026-01-01' },
      { set: { a: 2 }, delete: ['b'], tags: ['t'], description: 'second' },
      {},
    ]
    await writeFile(join(cwd, 'history.jsonl'), lines.map(line => `${JSON.stringify(line)}\n\n`).join(''))
    expect(await json('replay history.jsonl --json')).toMatchObject({
      snapshots: 3,
      set: 3,
      deleted: 1,
      first: 'v1',
      last: 'v3',
    })
    expect(JSON.parse((await varve('load --at v1')).stdout)).toEqual({ a: 1, b: { c: 2 } })
    expect((await varve('load --at t')).stdout).toBe((await varve('load')).stdout)
    expect(await json('log --json')).toMatchObject([
      {},
      { tags: ['t'], description: 'second' },
      { userInfo: { commit: 'abc', date: '2026-01-01' } },
    ])
    const bad = await varve('replay -', { stdin: '{}\n{"put": 3}' })
    expect(bad).toMatchObject({ code: 6, stdout: '' })
    expect(bad.stderr).toMatch(/standard input, line 2: "put" is not an object\. Nothing was replayed\.\n$/)
  })
})

describe('replay', () => {
  const history = Array.from({ length: 400 }, (_, i) =>
    JSON.stringify({ put: { count: i, [`new ${i}`]: i }, del: ['user'], tags: [`t${i}`] }),
  )
  const all = ['load', 'log --json', 'tag', 'history count'] as const

  async function everything(): Promise<string[]> {
    const texts: string[] = []
    for (const line of all) texts.push((await varve(line)).stdout)
    return texts
  }

  it.each([
    ['{"put": []}', /"put" is not an object/],
    ['{"put": {"": 1}}', /must not be empty/],
    ['{"tags": [""]}', /tag/],
    ['no JSON', /it is not JSON/],
    ['{"del": "a"}', /"del" is not a list of texts/],
  ])('takes all back for the line %s, and says which it is', async (line, message) => {
    await filled()
    const before = await everything()
    const stdin = [...history.slice(0, 30), line].join('\n')
    const { code, stdout, stderr } = await varve('replay -', { stdin })
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' })
    expect(stderr).toMatch(message)
    expect(stderr).toMatch(/^varve: Cannot replay standard input, line 31: .*\. Nothing was replayed\.\n$/)
    expect(await everything()).toEqual(before)
    expect((await varve('verify')).code).toBe(0)
  })

  it('takes all back when it is stopped on the way', async () => {
    await filled()
    const before = await everything()
    const stopping = new AbortController()
    const replaying = varve('replay -', { stdin: history.join('\n'), signal: stopping.signal })
    await withStore(async store => {
      while ((await store.listSnapshots()).length < 4) await delay(1)
    })
    stopping.abort(new Interruption(2))
    expect(await replaying).toEqual({ code: 130, stdout: '', stderr: '' })
    expect(await everything()).toEqual(before)
  })

  it('refuses what is not UTF-8, and reads a line of many pieces', async () => {
    await filled()
    await writeFile(join(cwd, 'bad.jsonl'), Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))
    expect(await varve('replay bad.jsonl')).toMatchObject({
      code: 6,
      stderr: expect.stringContaining('not text in UTF-8'),
    })
    const long = 'é'.repeat(300_000)
    await writeFile(join(cwd, 'long.jsonl'), `\n{"put": {"long": ${JSON.stringify(long)}}}\r\n{}`)
    expect(await json('replay long.jsonl --json')).toMatchObject({ snapshots: 2, set: 1 })
    expect(await json('get long --json')).toMatchObject({ value: long })
  })
})

describe('care', () => {
  it('verifies, compacts, counts and measures', async () => {
    await filled()
    expect((await varve('verify')).stdout).toMatch(/^\d+ records checked, no problems\n$/)
    expect(await json('verify --json')).toMatchObject({ ok: true, problems: [] })
    expect((await varve('compact')).stdout).toMatch(/^\d+ kB before, \d+ kB after\n$/)
    expect((await varve('stats')).stdout).toMatch(
      /^store {6}.\/.varve \(lmdb\)\nkeys {7}2\nsnapshots {2}2\nsize/,
    )
    expect(await json('stats --json')).toMatchObject({ keys: 2, snapshots: 2, storage: { engine: 'lmdb' } })
    expect((await varve('stats --prometheus')).stdout).toContain('\nvarve_keys 2\n')
    expect(await json('bench --seconds 0 --json')).toEqual({ measurements: expect.any(Array) })
    expect(await readdir(cwd)).toEqual(['.varve'])
  })

  it('says what is damaged', async () => {
    await filled()
    const file = join(cwd, '.varve', 'data.mdb')
    const bytes = await readFile(file)
    const place = bytes.lastIndexOf('Grace')
    bytes[place] = 0x58
    const earlier = bytes.indexOf('Grace')
    if (earlier >= 0) bytes[earlier] = 0x58
    await writeFile(file, bytes)
    const { code, stdout } = await varve('verify')
    expect(code).toBe(5)
    expect(stdout).toMatch(/user: .*\n\d+ records checked, \d problem/)
    expect((await varve('get user')).code).toBe(5)
  })
})

describe('watch', () => {
  it('writes changes as they come, and ends at its limit', async () => {
    await varve('init')
    const watchers = countWatchers()
    const watching = varve('watch n --limit 2')
    const asJson = varve('watch --limit 1 --json')
    await watchers(2)
    await withStore(async store => {
      await store.set('n1', { a: 1 })
      await store.delete('n1')
    })
    expect(await watching).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^\+ n1.*\n- n1\n$/),
      stderr: '',
    })
    expect(JSON.parse((await asJson).stdout)).toMatchObject({ key: 'n1', type: 'added' })
  })

  it('ends when its user says so', async () => {
    await varve('init')
    const watchers = countWatchers()
    const stopping = new AbortController()
    const watching = varve('watch', { signal: stopping.signal })
    await watchers(1)
    stopping.abort(new Interruption(2))
    expect(await watching).toEqual({ code: 130, stdout: '', stderr: '' })
  })
})

describe('an interrupt', () => {
  it.each([
    'import state.jsonl',
    'save state.json',
    'restore first',
    'verify',
    'list',
    'diff first',
    'export out.json',
    'replay state.jsonl',
    'watch',
    'compact',
  ])('ends %s, with the store as it was', async line => {
    await filled()
    await writeFile(join(cwd, 'state.jsonl'), '{"key": "a", "value": 1}\n')
    await writeFile(join(cwd, 'state.json'), '{"a": 1}')
    const before = await varve('load')
    const signal = AbortSignal.abort(new Interruption(2))
    expect(await varve(line, { signal })).toEqual({ code: 130, stdout: '', stderr: '' })
    expect(await varve('load')).toEqual(before)
    expect(existsSync(join(cwd, 'out.json'))).toBe(false)
  })

  it('ends the wait for standard input', async () => {
    await varve('init')
    const stopping = new AbortController()
    const setting = runCommand(['set', 'a'], { cwd, signal: stopping.signal, stdin: '' })
    stopping.abort(new Interruption(15))
    expect((await setting).code).toBe(143)
  })
})

describe('a store', () => {
  it('is named by --store, VARVE_STORE, or the folder', async () => {
    await varve('init', { env: { VARVE_STORE: 'from-env' } })
    await varve('init --store from-option', { env: { VARVE_STORE: 'from-env' } })
    await varve('init')
    expect((await readdir(cwd)).sort()).toEqual(['.varve', 'from-env', 'from-option'])
  })

  it('is not made by a command that is not to make one', async () => {
    for (const line of ['get a', 'set a 1', 'list', 'snapshot', 'log', 'verify', 'stats', 'watch']) {
      const { code, stdout, stderr } = await varve(line)
      expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
      expect(stderr).toMatch(
        /^varve: There is no store at ".\/.varve": the folder does not exist. "varve init" makes one; .*\n$/,
      )
    }
    await mkdir(join(cwd, 'empty'))
    await writeFile(join(cwd, 'file'), '')
    expect((await varve('list --store empty')).stderr).toContain('the folder holds none')
    expect((await varve('list --store file')).stderr).toContain('it is a file')
    expect((await varve('list --store postgres://host/db')).code).toBe(3)
    expect((await readdir(cwd)).sort()).toEqual(['empty', 'file'])
    expect(await readdir(join(cwd, 'empty'))).toEqual([])
  })

  it('that is not one of ours is refused', async () => {
    await mkdir(join(cwd, '.varve'))
    await writeFile(join(cwd, '.varve', 'data.mdb'), 'x'.repeat(10_000))
    expect(await varve('list')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('not an LMDB data file'),
    })
  })

  it('may be open elsewhere', async () => {
    await filled()
    await withStore(async store => {
      await varve('set count 5')
      expect(await store.get('count')).toBe(5)
      await store.set('count', 6)
      expect(await json('get count --json')).toMatchObject({ value: 6 })
    })
  })
})

describe('errors', () => {
  it('are one line, with the code of their kind', async () => {
    await filled()
    const cases: [line: string, code: number, message: RegExp][] = [
      ['get count --at v9', 4, /^varve: There is no version "v9". The nearest is v2 \(.*\)\.\n$/],
      ['restore frist', 4, /^varve: .*The nearest is "first"\.\n$/],
      ['diff v1 @tomorrow', 2, /^varve: A moment is written as @2026-01-31/],
      ['get', 2, /^varve: missing required argument 'key'\n/],
      ['get a b', 2, /^varve: too many arguments/],
      ['gte a', 2, /^varve: unknown command 'gte'\n\(Did you mean get\?\)\n/],
      ['log --limit many', 2, /must be a whole number/],
      ['completion ksh', 2, /Allowed choices are bash, zsh, fish/],
    ]
    for (const [line, code, message] of cases) {
      const result = await varve(line)
      expect(result).toMatchObject({ code, stdout: '' })
      expect(result.stderr).toMatch(message)
      expect(result.stderr).not.toContain('    at ')
    }
  })

  it('are JSON for programs, and have a stack for those who look for it', async () => {
    await filled()
    const { stderr } = await varve('get count --at v9 --json')
    expect(JSON.parse(stderr)).toEqual({
      error: { code: 'SNAPSHOT_NOT_FOUND', message: expect.stringContaining('"v9"'), exitCode: 4 },
    })
    expect((await varve('get count --at v9 --debug')).stderr).toMatch(/\n {4}at /)
  })
})

describe('help', () => {
  it.each([80, 40])('fits a terminal of %i columns, but for what is to be typed', async columns => {
    for (const line of ['--help', 'help get', 'help prune', 'help completion']) {
      const { stdout } = await varve(line, { columns })
      const text = stdout.slice(stdout.indexOf('\n\n'), stdout.indexOf('\nExamples:'))
      expect(
        text.split('\n').filter(row => row.length > columns),
        line,
      ).toEqual([])
    }
  })

  it('has examples for each command', async () => {
    const { stdout, code } = await varve('--help')
    expect(code).toBe(0)
    const list = stdout.slice(stdout.indexOf('\nThe state:'), stdout.indexOf('\nVersions '))
    const commands = [...list.matchAll(/^ {2}([a-z-]+)(?: .*)? {2,}\S/gm)].map(match => match[1] as string)
    expect(commands.length).toBeGreaterThanOrEqual(26)
    for (const command of commands.filter(name => name !== 'help')) {
      const help = await varve(['help', command])
      expect(help.code).toBe(0)
      expect(help.stdout, command).toMatch(/\nExamples:\n {2}\$ .*varve /)
      expect((await varve([command, '--help'])).stdout).toBe(help.stdout)
    }
    expect((await varve('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect(await varve('-h')).toEqual(await varve('--help'))
    expect(await varve('-V')).toEqual(await varve('--version'))
  })

  it('is written to standard error where there is no command', async () => {
    expect(await varve([])).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('Usage: varve'),
    })
  })
})

describe('a terminal', () => {
  it('of 40 columns gets lines that fit', async () => {
    await withStore(async store => {
      const text = 'a rather long text that does not fit'
      await store.save({ [`key ${text}`]: { text, list: [text, text] }, short: text })
      await store.createSnapshot({ tags: ['one', 'another tag'], description: text })
      await store.set('short', { text, deeper: { text } })
      await store.set(`key ${text}`, { text: 'x', list: [] })
    })
    for (const line of [
      'log',
      'list',
      'list --values',
      'diff',
      'history short',
      'show',
      'stats',
      'get --help',
      '--help',
    ]) {
      const { stdout } = await varve(line, { columns: 40, env: { NO_COLOR: '1' } })
      const long = stdout.split('\n').filter(text => text.length > 40)
      // Names, examples and the notes after the help are not cut.
      if (!line.includes('help') && line !== 'list' && line !== 'show') expect(long, line).toEqual([])
    }
    // Of what matters nothing is lost: keys that are listed are whole.
    expect((await varve('list', { columns: 40 })).stdout).toContain('that does not fit')
  })

  it('has the width that COLUMNS says', async () => {
    await withStore(store => store.set('text', 'x'.repeat(200)))
    const columns = [
      await varve('list --values', { columns: 80, env: { COLUMNS: '40' } }),
      await varve('list --values', { env: { COLUMNS: '40' } }),
      await varve('list --values', { columns: 80, env: { COLUMNS: '' } }),
      await varve('list --values'),
    ].map(({ stdout }) => stdout.length - 1)
    expect(columns).toEqual([40, 40, 80, 208])
  })

  it('has wide characters in columns, and none of them cut in two', async () => {
    await withStore(async store => {
      await store.set('漢字', '漢字の値'.repeat(20))
      await store.set('emoji', '👩‍👩‍👧'.repeat(20))
      await store.createSnapshot({ tag: '第一', description: 'wide' })
      await store.createSnapshot({ tag: 'narrow', description: 'not' })
    })
    const { stdout: log } = await varve('log')
    expect(log.split('\n')[1]?.indexOf('not')).toBe((log.split('\n')[2]?.indexOf('wide') ?? 0) + 2)
    for (let columns = 20; columns < 44; columns++) {
      const { stdout } = await varve('list --values', { columns })
      expect(stdout).toBe(stdout.toWellFormed())
      const [emoji = '', wide = ''] = stdout.split('\n')
      expect(wide).toMatch(/^漢字 {2}"[漢字の値]+…$/)
      // Two columns for each of these; a place of one may be left.
      const used = wide.length + (wide.match(/[漢字の値]/g)?.length ?? 0)
      expect([columns, columns - 1]).toContain(used)
      expect(emoji).toMatch(/…$/)
    }
  })

  it.each([
    ['import state.jsonl', /20,000 keys set, 0 deleted, 0 unchanged\n$/],
    ['save state.json', /20,000 keys set, 0 deleted, 0 unchanged\n$/],
    ['bench --seconds 1', /snapshot .*\n$/],
  ])('shows a bar for %s, and the result once it has gone', async (line, result) => {
    await varve('init')
    const rows = Array.from({ length: 20_000 }, (_, i) => ({ key: `key ${i}`, value: 'x'.repeat(500) }))
    await writeFile(join(cwd, 'state.jsonl'), rows.map(row => `${JSON.stringify(row)}\n`).join(''))
    await writeFile(
      join(cwd, 'state.json'),
      JSON.stringify(Object.fromEntries(rows.map(({ key, value }) => [key, value]))),
    )
    const { stdout } = await varve(line, { columns: 80, together: true, env: { NO_COLOR: '1' } })
    const last = stdout.lastIndexOf('\x1b[')
    // A machine that is faster than the bar shows none.
    expect(stdout.slice(last + 1).replace(/^\[\d*[A-Za-z]/, '')).toMatch(result)
    expect(stdout.slice(last)).not.toContain('░')
    expect(stdout).toMatch(/ {2}\d+ %|^\d/)
  })

  it('gets colours, unless NO_COLOR is set', async () => {
    await filled()
    const coloured = await varve('diff', { columns: 80 })
    expect(coloured.stdout).toContain('\x1b[33m~ count\x1b[39m')
    for (const options of [
      { columns: 80, env: { NO_COLOR: '1' } },
      { columns: 80, env: { TERM: 'dumb' } },
      {},
    ]) {
      expect((await varve('diff', options)).stdout).toBe('~ count  3 → 4\n')
    }
    expect((await varve('diff', { env: { FORCE_COLOR: '1' } })).stdout).toBe(coloured.stdout)
    expect((await varve('diff --json', { columns: 80 })).stdout).not.toContain('\x1b')
  })
})
