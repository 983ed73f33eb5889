// @ts-check
import { count } from '../lib/format.js'
import { withPeers } from '../lib/peers.js'

/** Keys that change so seldom that the background does not pack their versions, and keys that it packs. */
const SELDOM = { share: 0.25, most: 50_000 }
const OFTEN = { share: 0.1, most: 20_000 }
/** So few keys that their chains stay in memory. */
const RETURNED_TO = 500
/** hyperbee takes long to fill. */
const MOST_BEE_KEYS = 50_000

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Reading the past',
  about: `A store with 1,000 snapshots. A tenth of its keys, at most ${count(OFTEN.most)}, changes about 32 times in the course of
them, a quarter, at most ${count(SELDOM.most)}, about twice, the rest never. "Not packed" are reads of the quarter at random
snapshots before the keys' versions are packed, "packed" are reads of the tenth after \`compact()\`, "returned to" are
reads of ${RETURNED_TO} keys of the tenth. The current \`get\` that they stand beside reads random keys of all. hyperbee
has the same history, with at most ${count(MOST_BEE_KEYS)} keys.`,
  async measure({ keys, quick, turns, folder }) {
    const snapshots = quick ? 100 : 1_000
    const reads = quick ? 2_000 : 10_000
    const beeKeys = Math.min(keys, quick ? 5_000 : MOST_BEE_KEYS)
    const bee = `hyperbee, ${count(beeKeys)} keys`
    return withPeers(folder, { varve: 'varve', hyperbee: 'hyperbee' }, async ({ varve, hyperbee }) => {
      const history = rangesOf(keys)
      const beeHistory = rangesOf(beeKeys)
      await varve.call('fill', keys)
      await hyperbee.call('fill', beeKeys)
      const marks = await varve.call('addHistory', snapshots, changesOf(history, snapshots))
      const beeMarks = await hyperbee.call('addHistory', snapshots, changesOf(beeHistory, snapshots))
      /** @param {number} round */
      const current = round => varve.call('get', keys, reads, round)
      /** @param {number} round */
      const ofBee = round => hyperbee.call('getAt', beeMarks, beeHistory.often, Math.ceil(reads / 50), round)

      const loose = await turns(
        `at(version).get, not packed, ${count(keys)} keys`,
        11,
        {
          'varve, at(version).get': round => varve.call('getAt', marks, history.seldom, reads, round),
          'varve, get': current,
          [bee]: (/** @type {number} */ round) =>
            hyperbee.call('getAt', beeMarks, beeHistory.seldom, Math.ceil(reads / 50), round),
        },
        3,
      )
      await varve.call('compact')
      const returned = { from: history.often.from, to: history.often.from + RETURNED_TO }
      const packed = await turns(
        'at(version).get, packed',
        11,
        {
          'varve, at(version).get': round => varve.call('getAt', marks, history.often, reads, round),
          'varve, get': current,
          [bee]: ofBee,
        },
        3,
      )
      const again = await turns(
        'at(version).get, returned to',
        11,
        {
          'varve, at(version).get': round => varve.call('getAt', marks, returned, reads, round),
          'varve, get': current,
        },
        3,
      )
      /** @param {string} what @param {Record<string, number[]>} samples @param {import('../lib/measure.js').Goal[]} goals */
      const measureOf = (what, samples, goals) => ({
        what: `at(version).get, ${what}`,
        keys,
        per: 'call',
        samples,
        subject: 'varve, at(version).get',
        goals,
      })
      return {
        measures: [
          measureOf('not packed', loose, [
            { against: 'varve, get', atLeast: 0.4 },
            { against: bee, atLeast: 50 },
          ]),
          measureOf('packed, at random', packed, [
            { against: 'varve, get', atLeast: 0.2 },
            { against: bee, atLeast: 50 },
          ]),
          measureOf('packed, returned to', again, [{ against: 'varve, get', atLeast: 0.4 }]),
        ],
      }
    })
  },
}

/** @param {number} keys */
function rangesOf(keys) {
  /** @param {{ share: number, most: number }} group */
  const sizeOf = ({ share, most }) => Math.min(most, Math.floor(keys * share))
  const often = { from: 0, to: sizeOf(OFTEN) }
  return { often, seldom: { from: often.to, to: often.to + sizeOf(SELDOM) } }
}

/**
 * What changes before each snapshot.
 *
 * @param {ReturnType<typeof rangesOf>} ranges
 * @param {number} snapshots
 */
function changesOf({ often, seldom }, snapshots) {
  /** @param {{ from: number, to: number }} range @param {number} times */
  const some = ({ from, to }, times) => ({
    from,
    to,
    count: Math.max(1, Math.round(((to - from) * times) / snapshots)),
  })
  return [some(often, Math.min(32, snapshots / 2)), some(seldom, 2)]
}
