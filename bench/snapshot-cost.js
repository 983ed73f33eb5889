// @ts-check
/**
 * Whether taking a snapshot costs the same however large the state is.
 *
 *     node snapshot-cost.js [--quick] [--large 1000000] [--small 1000] [--rounds 50]
 */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { keyOf, openFilled, recordOf } from './lib/filled-store.js'
import { count, millisecondRange, milliseconds, ratio } from './lib/format.js'
import { interleave, timed } from './lib/interleave.js'
import { readOptions } from './lib/options.js'
import { progress } from './lib/progress.js'
import { goals, heading, table } from './lib/report.js'
import { median, middleHalf } from './lib/statistics.js'
import { withTempFolder } from './lib/temp.js'

const MAX_RATIO = 2
const WARM_UP = 10
/** The background work of one snapshot ends before the next sample, of the other store, begins. In milliseconds. */
const PAUSE = 10

const { numbers } = readOptions({
  large: { full: 1_000_000, quick: 100_000 },
  small: { full: 1_000, quick: 1_000 },
  rounds: { full: 50, quick: 20 },
})

const samples = await withTempFolder(async folder => {
  const large = await openFilled(join(folder, 'large'), numbers.large)
  const small = await openFilled(join(folder, 'small'), numbers.small)
  const measured = await interleave({
    rounds: numbers.rounds,
    warmUp: WARM_UP,
    sides: { large: snapshotOf(large), small: snapshotOf(small) },
    onRound: progress('snapshots', WARM_UP + numbers.rounds),
  })
  await large.close()
  await small.close()
  return measured
})

heading(
  'createSnapshot() against the number of keys',
  `Both stores are open in one run and take turns; one key is changed before each snapshot. ${numbers.rounds} snapshots each.`,
)
table(
  ['keys', 'median', 'middle half'],
  [
    [count(numbers.large), milliseconds(median(samples.large)), millisecondRange(middleHalf(samples.large))],
    [count(numbers.small), milliseconds(median(samples.small)), millisecondRange(middleHalf(samples.small))],
  ],
)
const cost = median(samples.large) / median(samples.small)
goals([
  {
    what: `createSnapshot(), ${count(numbers.large)} keys against ${count(numbers.small)}`,
    goal: `≤ ${ratio(MAX_RATIO)}`,
    figure: ratio(cost),
    met: cost <= MAX_RATIO,
  },
])

/**
 * @param {import('./lib/filled-store.js').Store} store
 * @returns {(round: number) => Promise<number>} changes a key and times a snapshot
 */
function snapshotOf(store) {
  return async round => {
    await store.set(keyOf(round), recordOf(round, round + 1))
    await delay(PAUSE)
    const time = await timed(() => store.createSnapshot())
    await delay(PAUSE)
    return time
  }
}
