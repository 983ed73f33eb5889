// @ts-check
/**
 * Whether comparing two snapshots, and restoring one of them, costs what differs and not what is stored.
 *
 *     node compare-restore.js [--quick] [--large 1000000] [--small 10000] [--changes 1000] [--rounds 15]
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { entriesOf, openFilled } from './lib/filled-store.js'
import { count, millisecondRange, milliseconds, ratio } from './lib/format.js'
import { interleave, timed } from './lib/interleave.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { distinctIntegers, seededRandom } from './lib/random.js'
import { goals, heading, table } from './lib/report.js'
import { median, middleHalf } from './lib/statistics.js'
import { withTempFolder } from './lib/temp.js'

const MAX_RATIO = 2
const WARM_UP = 3
/** The background work of what came before ends before something is timed. In milliseconds. */
const PAUSE = 50

const { numbers } = readOptions({
  large: { full: 1_000_000, quick: 100_000 },
  small: { full: 10_000, quick: 10_000 },
  changes: { full: 1_000, quick: 1_000 },
  rounds: { full: 15, quick: 5 },
})

const samples = await withTempFolder(async folder => {
  const large = await openFilled(join(folder, 'large'), numbers.large)
  const small = await openFilled(join(folder, 'small'), numbers.small)
  const measured = await interleave({
    rounds: numbers.rounds,
    warmUp: WARM_UP,
    sides: { large: roundOf(large, numbers.large), small: roundOf(small, numbers.small) },
    onRound: progress('rounds', WARM_UP + numbers.rounds),
  })
  await large.close()
  await small.close()
  return measured
})

heading(
  'compareSnapshots() and restoreSnapshot() against the number of keys',
  `Each of ${numbers.rounds} rounds takes a snapshot, changes ${count(numbers.changes)} random keys, takes another, compares the two, restores the first and then the second. Both stores are open in one run and take turns.`,
)
const figures = /** @type {const} */ ([
  ['compare', 'compareSnapshots(a, b)'],
  ['restore', 'restoreSnapshot(a)'],
  ['back', 'restoreSnapshot(b)'],
]).map(([name, call]) => {
  const large = samples.large.map(times => times[name])
  const small = samples.small.map(times => times[name])
  return { call, large, small, cost: median(large) / median(small) }
})
table(
  [
    '',
    `${count(numbers.large)} keys`,
    'middle half',
    `${count(numbers.small)} keys`,
    'middle half',
    'ratio of medians',
  ],
  figures.map(({ call, large, small, cost }) => [
    call,
    milliseconds(median(large)),
    millisecondRange(middleHalf(large)),
    milliseconds(median(small)),
    millisecondRange(middleHalf(small)),
    ratio(cost),
  ]),
)
goals(
  figures.map(({ call, cost }) => ({
    what: call,
    goal: `≤ ${ratio(MAX_RATIO)}`,
    figure: ratio(cost),
    met: cost <= MAX_RATIO,
  })),
)

/**
 * @param {import('./lib/filled-store.js').Store} store
 * @param {number} keys
 */
function roundOf(store, keys) {
  /** @param {number} round */
  return async round => {
    const before = await store.createSnapshot()
    const changed = distinctIntegers(seededRandom(round), numbers.changes, keys)
    await store.setMany(entriesOf(changed, round + 1))
    const after = await store.createSnapshot()
    const { changed: found } = await store.compareSnapshots(before, after)
    assert.equal(found.length, changed.length, 'the comparison does not name every changed key')

    await delay(PAUSE)
    const compare = await timed(() => store.compareSnapshots(before, after))
    await delay(PAUSE)
    const restore = await timed(() => store.restoreSnapshot(before))
    await delay(PAUSE)
    const back = await timed(() => store.restoreSnapshot(after))
    await delay(PAUSE)
    return { compare, restore, back }
  }
}
