// @ts-check
import { join } from 'node:path'
import { count } from '../lib/format.js'
import { Side } from '../lib/side.js'

const MAX_WAIT = 3
const COMMIT_KEYS = 10_000

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Large commits beside a busy writer',
  about: `One process awaits single \`set\` calls without a pause; another makes commits of ${count(COMMIT_KEYS)} keys. What a large commit
waits is counted in commits of the other: those made after it was asked for, its values encoded, and before it was made.
The other's commits count up a key, which the large commit reads as it is made, so that no clock is involved.`,
  sizes: [200_000],
  async measure({ keys, quick, folder }) {
    const commits = quick ? 10 : 200
    const [single, large] = [new Side('single-writer.js'), new Side('large-writer.js')]
    try {
      const path = join(folder, 'store')
      await large.call('open', path, keys)
      await single.call('start', path)
      /** @type {{ waits: number[], milliseconds: number[], failed: number }} */
      const { waits, milliseconds, failed } = await large.call('commitMany', commits, COMMIT_KEYS)
      /** @type {{ sets: number, seconds: number }} */
      const { sets, seconds } = await single.call('stop')
      const within = waits.filter(wait => wait <= MAX_WAIT).length
      const most = Math.max(...waits)
      return {
        measures: [
          {
            what: `setMany of ${count(COMMIT_KEYS)} keys beside single sets`,
            keys,
            per: `${count(COMMIT_KEYS)} keys`,
            samples: { varve: milliseconds },
            subject: 'varve',
            goals: [],
            note: `The other process made ${count(sets)} commits, ${count(Math.round(sets / seconds))} a second. Commits of the other that a large one waited for: ${histogram(waits)}.`,
          },
        ],
        figures: [
          {
            what: `commits of ${count(COMMIT_KEYS)} keys that go through beside single sets`,
            keys,
            goal: 'all',
            figure: `${count(waits.length)} of ${count(waits.length + failed)}`,
            met: failed === 0,
          },
          {
            what: 'commits of the other that each waits for',
            keys,
            goal: `≤ ${MAX_WAIT}`,
            figure: `at most ${count(most)}; ${count(within)} of ${count(waits.length)} within the goal`,
            met: most <= MAX_WAIT,
          },
        ],
      }
    } finally {
      await single.end()
      await large.end()
    }
  },
}

/** @param {readonly number[]} waits */
function histogram(waits) {
  /** @type {Map<number, number>} */
  const counts = new Map()
  for (const wait of waits) counts.set(wait, (counts.get(wait) ?? 0) + 1)
  return [...counts]
    .sort(([a], [b]) => a - b)
    .map(([wait, times]) => `${count(wait)} (${count(times)}×)`)
    .join(', ')
}
