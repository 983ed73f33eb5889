// @ts-check
/**
 * Binary deltas of varve beside those of xdelta3, bsdiff and the package fossil-delta: their sizes, the time to make them
 * and to apply them. All sides see the same pairs in one run.
 *
 *     node delta-tools.js [--quick] [--pairs 2000] [--largest 10000000] [history.jsonl.gz]
 *
 * xdelta3 and bsdiff are Debian packages of these names; those not installed are left out. The history is as for
 * replay-check.js.
 */
import assert from 'node:assert/strict'
import { createDelta } from 'fossil-delta'
import { applyBinaryDelta, encodeBinaryDelta } from 'varve/delta'
import { count, milliseconds, ratio } from '../lib/format.js'
import { readOptions } from '../lib/options.js'
import { progress } from '../lib/progress.js'
import { historyFile, readHistoryLines } from '../lib/recorded-history.js'
import { goals, heading, table } from '../lib/report.js'
import { withTempFolder } from '../lib/temp.js'
import { deltaSizes, installedTools } from './command-line-tools.js'
import { CHANGES, recordedPairs, syntheticPairs } from './pairs.js'

const MAX_SIZE_RATIO = 1.1
const MIN_ENCODE_RATIO = 5
const MIN_DECODE_RATE = 300
/** The best of so many rounds counts, for what is done so quickly that a pause of the machine would show. */
const ROUNDS = 7
const LARGE = 1_000_000
const SIZES = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]

/**
 * What the pairs of one kind came to. Bytes, and milliseconds.
 *
 * @typedef {object} Totals
 * @property {string} name
 * @property {number} pairs
 * @property {number} targetBytes
 * @property {number} deltaBytes
 * @property {number[]} toolBytes
 * @property {number} fossilBytes
 * @property {number} encode
 * @property {number} fossilEncode
 * @property {number} decode
 */

const { numbers, positionals } = readOptions({
  pairs: { full: 2_000, quick: 200 },
  largest: { full: 10_000_000, quick: 100_000 },
})
const tools = await installedTools()
const lines = await readHistoryLines(historyFile(positionals[0]))
const sizes = SIZES.filter(size => size <= numbers.largest)

/** @type {{ name: string, pairs: () => import('./pairs.js').Pair[] }[]} */
const kinds = [{ name: 'recorded history', pairs: () => recordedPairs(lines, numbers.pairs) }]
for (const change of /** @type {(keyof typeof CHANGES)[]} */ (Object.keys(CHANGES))) {
  kinds.push({
    name: change,
    pairs: () => sizes.flatMap(size => syntheticPairs(change, size, pairsOf(size))),
  })
}

/** @type {Totals[]} */
const totals = []
await withTempFolder(async folder => {
  for (const { name, pairs } of kinds) totals.push(await measure(name, pairs(), folder))
})

const recorded = /** @type {Totals} */ (totals[0])
const all = sum('all', totals)
heading(
  'Binary deltas beside other tools',
  `encodeBinaryDelta(base, target, { compress: true }) on ${count(recorded.pairs)} pairs of successive values of a recorded history, and on ${count(all.pairs - recorded.pairs)} synthetic pairs of ${count(SIZES[0] ?? 0)} bytes to ${count(sizes.at(-1) ?? 0)}, half of them JSON and half noise. Bytes are whole files, headers included. Times are of one process, varve and fossil-delta taking turns at each pair, and the best of ${ROUNDS} rounds up to ${count(LARGE)} bytes.`,
)
const shown = [...totals, all]
table(
  ['bytes', 'pairs', 'targets', 'varve', ...tools.map(({ name }) => name), 'fossil-delta'],
  shown.map(({ name, pairs, targetBytes, deltaBytes, toolBytes, fossilBytes }) => [
    name,
    count(pairs),
    ...[targetBytes, deltaBytes, ...toolBytes, fossilBytes].map(count),
  ]),
)
table(
  ['time', 'varve encodes', 'fossil-delta encodes', 'faster', 'varve decodes'],
  shown.map(({ name, encode, fossilEncode, decode, targetBytes }) => [
    name,
    milliseconds(encode),
    milliseconds(fossilEncode),
    ratio(fossilEncode / encode),
    rate(targetBytes, decode),
  ]),
)
goals([
  ...tools.flatMap(({ name }, i) =>
    [recorded, all].map(side => {
      const measured = side.deltaBytes / /** @type {number} */ (side.toolBytes[i])
      return {
        what: `bytes against ${name}, ${side.name}`,
        goal: `≤ ${ratio(MAX_SIZE_RATIO)}`,
        figure: ratio(measured),
        met: measured <= MAX_SIZE_RATIO,
      }
    }),
  ),
  ...[recorded, all].flatMap(side => {
    const faster = side.fossilEncode / side.encode
    const speed = side.targetBytes / side.decode / 1000
    return [
      {
        what: `encoding against fossil-delta, ${side.name}`,
        goal: `≥ ${ratio(MIN_ENCODE_RATIO)}`,
        figure: ratio(faster),
        met: faster >= MIN_ENCODE_RATIO,
      },
      {
        what: `decoding, ${side.name}`,
        goal: `≥ ${MIN_DECODE_RATE} MB/s`,
        figure: rate(side.targetBytes, side.decode),
        met: speed >= MIN_DECODE_RATE,
      },
    ]
  }),
])

/**
 * @param {string} name
 * @param {readonly import('./pairs.js').Pair[]} pairs
 * @param {string} folder
 * @returns {Promise<Totals>}
 */
async function measure(name, pairs, folder) {
  const totals = {
    name,
    pairs: pairs.length,
    targetBytes: 0,
    deltaBytes: 0,
    toolBytes: tools.map(() => 0),
    fossilBytes: 0,
    encode: 0,
    fossilEncode: 0,
    decode: 0,
  }
  for (const pair of pairs) {
    const { base, target } = pair
    const rounds = target.length > LARGE ? 1 : ROUNDS
    const delta = encodeBinaryDelta(base, target, { compress: true })
    const [encode, fossilEncode, decode] = bestOf(rounds, [
      () => encodeBinaryDelta(base, target, { compress: true }),
      () => createDelta(base, target),
      () => assert.equal(applyBinaryDelta(base, delta).length, target.length),
    ])
    assert.equal(Buffer.compare(applyBinaryDelta(base, delta), target), 0)
    totals.targetBytes += target.length
    totals.deltaBytes += delta.length
    totals.fossilBytes += createDelta(base, target).length
    totals.encode += encode ?? 0
    totals.fossilEncode += fossilEncode ?? 0
    totals.decode += decode ?? 0
  }
  // Apart from the times: a process started in between leaves cold caches behind.
  const show = progress(name, pairs.length)
  for (const [i, pair] of pairs.entries()) {
    for (const [tool, size] of (await deltaSizes(tools, folder, pair)).entries()) {
      totals.toolBytes[tool] = /** @type {number} */ (totals.toolBytes[tool]) + size
    }
    show(i + 1)
  }
  return totals
}

/**
 * The least time that each of several pieces of work takes, in milliseconds. They take turns.
 *
 * @param {number} rounds
 * @param {readonly (() => unknown)[]} works
 */
function bestOf(rounds, works) {
  const best = works.map(() => Number.POSITIVE_INFINITY)
  for (let round = 0; round < rounds; round++) {
    for (const [i, work] of works.entries()) {
      const start = performance.now()
      work()
      best[i] = Math.min(best[i] ?? 0, performance.now() - start)
    }
  }
  return best
}

/**
 * @param {string} name
 * @param {readonly Totals[]} parts
 * @returns {Totals}
 */
function sum(name, parts) {
  /** @param {(part: Totals) => number} pick */
  const total = pick => parts.reduce((sum, part) => sum + pick(part), 0)
  return {
    name,
    pairs: total(part => part.pairs),
    targetBytes: total(part => part.targetBytes),
    deltaBytes: total(part => part.deltaBytes),
    toolBytes: tools.map((_, i) => total(part => part.toolBytes[i] ?? 0)),
    fossilBytes: total(part => part.fossilBytes),
    encode: total(part => part.encode),
    fossilEncode: total(part => part.fossilEncode),
    decode: total(part => part.decode),
  }
}

/**
 * Many pairs of the small sizes, one of the largest, so that each has its say in the time without taking all of it.
 *
 * @param {number} size
 */
function pairsOf(size) {
  return size <= 10_000 ? 10 : size <= 1_000_000 ? 3 : 1
}

/**
 * @param {number} bytes
 * @param {number} time in milliseconds
 */
function rate(bytes, time) {
  return `${count(Math.round(bytes / time / 1000))} MB/s`
}
