// @ts-check
import { count } from '../lib/format.js'
import { each, withPeers } from '../lib/peers.js'

const CHANGES = 1_000
/** hyperbee takes long to fill. */
const MOST_BEE_KEYS = 100_000

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Comparing and restoring',
  about: `${count(CHANGES)} random keys are changed between two snapshots, which are then compared, and the first of them is restored.
hyperbee's side is \`createDiffStream\` between two checkouts, and a batch that puts back what differs, since it has no call
for that; it has at most ${count(MOST_BEE_KEYS)} keys. "Two objects" are both states in memory, compared value by value with
\`util.isDeepStrictEqual\`; that they would have to be loaded first is not counted.`,
  async measure({ keys, quick, turns, folder }) {
    const beeKeys = Math.min(keys, quick ? 5_000 : MOST_BEE_KEYS)
    const bee = `hyperbee, ${count(beeKeys)} keys`
    const peers = { varve: 'varve', [bee]: 'hyperbee', 'two objects': 'plain-objects' }
    return withPeers(
      folder,
      peers,
      async sides => {
        for (const [name, side] of Object.entries(sides))
          await side.call('fill', name === bee ? beeKeys : keys)
        /** @type {Record<string, { compare: number, restore: number | undefined }[]>} */
        const samples = await turns(
          `compare and restore, ${count(keys)} keys`,
          7,
          each(sides, (side, round, name) =>
            side.call('compareAndRestore', name === bee ? beeKeys : keys, CHANGES, round + 1),
          ),
        )
        /** @param {'compare' | 'restore'} name @param {string[]} against */
        const timesOf = (name, against) =>
          Object.fromEntries(
            ['varve', ...against].map(side => [side, (samples[side] ?? []).map(times => times[name] ?? 0)]),
          )
        return {
          measures: [
            {
              what: `compareSnapshots, ${count(CHANGES)} changes`,
              keys,
              per: 'comparison',
              samples: timesOf('compare', [bee, 'two objects']),
              subject: 'varve',
              goals: [
                { against: bee, atLeast: 50 },
                { against: 'two objects', atLeast: 100 },
              ],
            },
            {
              what: `restoreSnapshot, ${count(CHANGES)} changes`,
              keys,
              per: 'restore',
              samples: timesOf('restore', [bee]),
              subject: 'varve',
              goals: [{ against: bee, atLeast: 50 }],
            },
          ],
        }
      },
      // Two copies of a million objects, and the state they are copied from.
      ['--max-old-space-size=8192'],
    )
  },
}
