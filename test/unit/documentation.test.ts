import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { transformWithEsbuild } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { examplesOfMarkdown, examplesOfSource, filesIn, ROOT } from '../support/examples.ts'
import { POSTGRES } from '../support/stores.ts'

const run = promisify(execFile)

const markdown = ['README.md', 'ARCHITECTURE.md'].map(name => join(ROOT, name)).concat(filesIn('docs', '.md'))
const examples = [
  ...markdown.flatMap(examplesOfMarkdown),
  ...filesIn('src', '.ts').flatMap(file => examplesOfSource(file)),
]

/** A folder in which `varve` is installed as its users have it: the built package. */
let folder: string

beforeAll(async () => {
  if (!existsSync(join(ROOT, 'dist', 'index.js')))
    throw new Error('Examples run on the built package: npm run build.')
  folder = await mkdtemp(join(tmpdir(), 'varve-examples-'))
  await mkdir(join(folder, 'node_modules'))
  await symlink(ROOT, join(folder, 'node_modules', 'varve'), 'junction')
  await symlink(join(ROOT, 'node_modules', '@types'), join(folder, 'node_modules', '@types'), 'junction')
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
})

afterAll(() => rm(folder, { recursive: true, force: true }))

describe('examples of the documents and of doc comments', () => {
  it('are found', () => {
    expect(examples.length).toBeGreaterThan(20)
  })

  it('have the types that they say', async () => {
    for (const [i, { code }] of examples.entries()) await writeFile(join(folder, `example-${i}.ts`), code)
    const base = JSON.parse(await readFile(join(ROOT, 'tsconfig.json'), 'utf8')) as {
      compilerOptions: object
    }
    const compilerOptions = { ...base.compilerOptions, noUnusedLocals: false, noUnusedParameters: false }
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
    const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
    const { stdout } = await run(process.execPath, [compiler, '-p', folder]).catch(error => error)
    const errors = String(stdout).replace(/example-(\d+)\.ts/g, (_, i) => examples[Number(i)]?.name ?? '')
    expect(errors).toBe('')
  })

  it.concurrent.each(examples)('$name', async ({ code, output }) => {
    if (code.includes("'varve/postgres'") && POSTGRES === '') return
    const place = await mkdtemp(join(folder, 'run-'))
    // `await using` is lowered for the versions of Node.js that do not know it.
    const program = await transformWithEsbuild(code, 'example.ts', { target: 'es2022', sourcemap: false })
    await writeFile(join(place, 'example.js'), program.code)
    const { stdout, stderr } = await run(process.execPath, ['example.js'], {
      cwd: place,
      timeout: 30_000,
      env: { ...process.env, DATABASE_URL: POSTGRES },
    })
    expect(stderr).toBe('')
    if (output !== undefined) expect(stdout.trimEnd().split('\n')).toEqual(output)
  })
})

describe('links of the documents', () => {
  it.each(markdown)('%s', async file => {
    const text = await readFile(file, 'utf8')
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(match => match[1] as string)
    const local = targets.filter(target => !/^https?:/.test(target))
    for (const target of local) {
      const [path = '', anchor] = target.split('#')
      const linked = path === '' ? file : resolve(dirname(file), path)
      expect(existsSync(linked), `${target} in ${file}`).toBe(true)
      if (anchor !== undefined) expect(anchorsOf(await readFile(linked, 'utf8'))).toContain(anchor)
    }
  })
})

/** What the headings of a Markdown text can be linked by, as GitHub makes it. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(match =>
    (match[1] as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
