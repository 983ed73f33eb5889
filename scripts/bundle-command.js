// @ts-check
/**
 * Bundles the command into dist/command/: one file for the command line, and others that are loaded when a command
 * needs them. Loading a hundred modules one by one takes longer than starting Node.js.
 */
import { chmod, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { build } from 'esbuild'

const require = createRequire(import.meta.url)

const outdir = 'dist/command'

/**
 * Packages that are modules by the dozen, or a module around what is none, are required: lmdb then loads in a third of
 * the time. They stay dependencies, and are what is installed.
 *
 * @type {import('esbuild').Plugin}
 */
const required = {
  name: 'required',
  setup(build) {
    build.onResolve({ filter: /^(?:lmdb|commander)$/ }, ({ path }) => ({ path, namespace: 'required' }))
    build.onLoad({ filter: /^/, namespace: 'required' }, ({ path }) => ({
      contents: `
        import { createRequire } from 'node:module'
        const required = createRequire(import.meta.url)('${path}')
        export const { ${Object.keys(require(path))
          .filter(name => name !== 'default')
          .join(', ')} } = required
      `,
    }))
  },
}
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
  plugins: [required],
})
await chmod(`${outdir}/main.js`, 0o755)
