/**
 * Makes demo/data/caniuse-slice.jsonl.gz: the first lines of a longer history, compressed again.
 *
 * Usage: node demo/make-slice.js <history.jsonl.gz> <lines>
 *
 * The lines are taken from the start and without gaps, so that replaying them from an empty state gives the exact
 * state at each of them.
 */

import { createReadStream, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { createGunzip, gzipSync } from 'node:zlib'

const [input, count] = process.argv.slice(2)
const wanted = Number(count)
if (input === undefined || !Number.isSafeInteger(wanted) || wanted < 1) {
  console.error('Usage: node demo/make-slice.js <history.jsonl.gz> <lines>')
  process.exit(2)
}

/** @type {string[]} */
const lines = []
for await (const line of createInterface({ input: createReadStream(input).pipe(createGunzip()) })) {
  lines.push(`${line}\n`)
  if (lines.length === wanted) break
}
if (lines.length < wanted) {
  console.error(`${input} has only ${lines.length} lines, not ${wanted}.`)
  process.exit(1)
}
writeFileSync(new URL('data/caniuse-slice.jsonl.gz', import.meta.url), gzipSync(lines.join(''), { level: 9 }))
