import { mkdir, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Makes one file of a program in TypeScript, for processes and threads that are started many times, and returns its path.
 * Packages stay packages; they are found because the file lies below the repository.
 */
export async function bundleProgram(entry: URL): Promise<string> {
  const folder = join(ROOT, 'node_modules', '.cache', 'varve-programs', String(process.pid))
  await mkdir(folder, { recursive: true })
  const file = join(folder, `${basename(entry.pathname, '.ts')}.mjs`)
  await build({
    entryPoints: [fileURLToPath(entry)],
    outfile: file,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.15',
    packages: 'external',
    logLevel: 'warning',
  })
  return file
}

/** Removes what {@link bundleProgram} has made in this process. */
export async function removeBundles(): Promise<void> {
  await rm(join(ROOT, 'node_modules', '.cache', 'varve-programs', String(process.pid)), {
    recursive: true,
    force: true,
  })
}
