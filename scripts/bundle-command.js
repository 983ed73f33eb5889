// @ts-check
/**
 * Bundles the command into dist/command/: one file for the command line, and others that are loaded when a command
 * needs them. Loading a hundred modules one by one takes longer than starting Node.js.
 */
import { chmod, rm } from 'node:fs/promises'
import { build } from 'esbuild'

const outdir = 'dist/command'
// The names of the parts change with what is in them.
await rm(outdir, { recursive: true, force: true })
await build({
  entryPoints: ['src/command/main.ts'],
  outdir,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.15',
  // Dependencies stay dependencies: users see, and update, what is installed.
  packages: 'external',
  // Names of classes are part of errors.
  minifySyntax: true,
  minifyWhitespace: true,
  keepNames: false,
  logLevel: 'warning',
})
await chmod(`${outdir}/main.js`, 0o755)
