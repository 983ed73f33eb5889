// @ts-check
/** Runs a program in TypeScript with the arguments that follow its path: `node scripts/run-typescript.js test/soak/crash.ts --kills 10`. */
import { mkdtemp, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const [entry, ...args] = process.argv.slice(2)
if (entry === undefined) throw new Error('Give the path of a program.')

// Below node_modules, where packages are found, and nothing else looks.
const folder = await mkdtemp(join(import.meta.dirname, '..', 'node_modules', '.run-'))
const file = join(folder, 'program.mjs')
try {
  await build({
    entryPoints: [entry],
    outfile: file,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.15',
    packages: 'external',
    sourcemap: 'inline',
    // What the program names relative to itself stays where it is.
    define: { 'import.meta.url': JSON.stringify(pathToFileURL(resolve(entry)).href) },
    logLevel: 'warning',
  })
  process.argv = [process.execPath, resolve(entry), ...args]
  await import(pathToFileURL(file).href)
} finally {
  await rm(folder, { recursive: true, force: true })
}
