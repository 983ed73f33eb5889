// @ts-check
/**
 * Runs one of the soaks in test/soak/ for long: `node scripts/soak.js corruption --inputs 5000 --seed 7`. What it found,
 * with the numbers it started from and the time it took, is printed at its end.
 */
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { inputs: { type: 'string' }, seed: { type: 'string', default: '1' } },
})
const [name = ''] = positionals
const { inputs = name === 'fuzz' ? '1000000' : '5000', seed } = values
for (const [option, text] of Object.entries({ inputs, seed })) {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Error(`--${option} takes a whole number, not ${text}`)
}
console.log(`${name}: ${inputs} inputs, seed ${seed}`)
const { status } = spawnSync(
  process.execPath,
  ['node_modules/vitest/vitest.mjs', 'run', `test/soak/${name}.test.ts`, '--silent=false'],
  { stdio: 'inherit', env: { ...process.env, VARVE_SOAK_INPUTS: inputs, VARVE_SOAK_SEED: seed } },
)
process.exitCode = status ?? 1
