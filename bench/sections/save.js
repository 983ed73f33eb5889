// @ts-check
import { count } from '../lib/format.js'
import { each, withPeers } from '../lib/peers.js'

const CHANGES = 100

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Saving a whole state',
  about: `A program that has the whole state in one object and stores it again after ${CHANGES} changes: \`save\`, and in one
transaction an upsert or a put of every key.`,
  async measure({ keys, turns, folder }) {
    const peers = { varve: 'varve', 'better-sqlite3': 'better-sqlite3', lmdb: 'lmdb' }
    return withPeers(
      folder,
      peers,
      async sides => {
        for (const side of Object.values(sides)) await side.call('save', keys, CHANGES, 0)
        const samples = await turns(
          `save of ${count(keys)} keys`,
          5,
          each(sides, (side, round) => side.call('save', keys, CHANGES, round + 1)),
        )
        return {
          measures: [
            {
              what: `save of all keys, ${CHANGES} changed`,
              keys,
              per: 'state',
              samples,
              subject: 'varve',
              goals: [{ against: 'better-sqlite3', atLeast: 3 }],
            },
          ],
        }
      },
      ['--max-old-space-size=8192'],
    )
  },
}
