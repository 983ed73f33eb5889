// @ts-check
/**
 * The figures behind what varve claims of itself, one program after another. Beside its peers it stands in main.js.
 *
 *     node claims.js [--quick]
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const BENCHMARKS = [
  'snapshot-cost.js',
  'compare-restore.js',
  'transfer-memory.js',
  'command.js',
  'observability.js',
  'replay-check.js',
  'write-latency.js',
  'deleted-snapshots.js',
  'short-histories.js',
  'curves.js',
]

for (const name of BENCHMARKS) {
  const script = fileURLToPath(new URL(name, import.meta.url))
  const { status } = spawnSync(process.execPath, [script, ...process.argv.slice(2)], { stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
}
