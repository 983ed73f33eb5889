// @ts-check
import { join } from 'node:path'
import { count } from '../lib/format.js'
import { measureOf } from '../lib/measure.js'
import { each, withPeers } from '../lib/peers.js'

/** Keys of a whole-file JSON rewrite, and of keyv, whose every write waits for the disk. */
const FEW_KEYS = 10_000
const TOGETHER = 10_000

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Writing',
  about: `Objects of about 120 bytes under keys in random order. "Many in flight" are 10,000 calls at a time. Each round of new
keys fills an empty store; the others write to the stores that the last round left. better-sqlite3 answers a call before
it returns, so that none of its calls share a commit. "First overwrite" means that before each round varve and the
history of better-sqlite3 begin a new snapshot, so that every write keeps what it supersedes; lmdb keeps nothing.`,
  async measure({ keys, quick, turns, folder }) {
    const large = keys > 500_000
    const overwritten = Math.min(100_000, Math.floor(keys / 2))
    const awaited = quick ? 500 : 5_000
    const fills = large ? 3 : 5
    const peers = {
      varve: 'varve',
      lmdb: 'lmdb',
      'classic-level': 'classic-level',
      'better-sqlite3': 'better-sqlite3',
      'better-sqlite3, history': 'better-sqlite3-history',
    }
    return withPeers(folder, peers, async sides => {
      const { varve, lmdb, 'classic-level': level, 'better-sqlite3': sqlite } = sides
      // Compiles what the rounds run.
      for (const side of [varve, lmdb, level]) await side.call('setNew', Math.min(keys, 50_000))
      const fresh = await turns(
        `set of ${count(keys)} new keys`,
        fills,
        each({ varve, lmdb, 'classic-level': level }, async side => {
          await side.call('startOver')
          return side.call('setNew', keys)
        }),
        0,
      )
      await sqlite.call('fill', keys)
      await sides['better-sqlite3, history'].call('fill', keys)

      const alone = await turns(
        'set, awaited',
        7,
        each({ varve, lmdb, 'classic-level': level, 'better-sqlite3': sqlite }, (side, round) =>
          side.call('overwriteAwaited', keys, awaited, 100 + round),
        ),
      )
      const atOnce = await turns(
        'setMany, overwriting',
        7,
        each({ varve, lmdb, 'classic-level': level, 'better-sqlite3': sqlite }, (side, round) =>
          side.call('overwriteAtOnce', keys, TOGETHER, 200 + round),
        ),
      )
      const newAtOnce = await turns(
        'setMany, new keys',
        7,
        each({ varve, lmdb, 'classic-level': level, 'better-sqlite3': sqlite }, (side, round) =>
          side.call('setNewAtOnce', keys + round * TOGETHER, TOGETHER),
        ),
      )
      const again = await turns(
        'set, first overwrite',
        5,
        each(
          { varve, lmdb, 'better-sqlite3, history': sides['better-sqlite3, history'] },
          async (side, round) => {
            await side.call('mark')
            return side.call('overwrite', keys, overwritten, 300 + round)
          },
        ),
      )
      const measures = [
        measureOf('set, many in flight, new keys', keys, fresh, [{ against: 'lmdb', atLeast: 0.9 }]),
        measureOf('set, many in flight, first overwrite after a snapshot', keys, again, [
          { against: 'lmdb', atLeast: 0.5 },
        ]),
        measureOf('set, awaited one by one', keys, alone, [{ against: 'lmdb', atLeast: 1 }]),
        measureOf(
          'setMany of 10,000 keys that exist',
          keys,
          atOnce,
          [
            { against: 'lmdb', atLeast: 0.9 },
            { against: 'better-sqlite3', atLeast: 1 },
          ],
          '10,000 keys',
        ),
        measureOf(
          'setMany of 10,000 new keys',
          keys,
          newAtOnce,
          [
            { against: 'lmdb', atLeast: 0.9 },
            { against: 'better-sqlite3', atLeast: 1 },
          ],
          '10,000 keys',
        ),
      ]
      return { measures: large ? measures : [...measures, await measureFew(folder, turns)] }
    })
  },
}

/**
 * Awaited sets in small stores, for those whose writes cost what is stored, or a wait for the disk.
 *
 * @param {string} folder
 * @param {import('../lib/turns.js').Turns} turns
 */
async function measureFew(folder, turns) {
  const peers = { varve: 'varve', 'JSON file': 'json-file', keyv: 'keyv' }
  const samples = await withPeers(join(folder, 'few'), peers, async sides => {
    for (const side of Object.values(sides)) await side.call('fill', FEW_KEYS)
    return turns(
      `set, awaited, ${count(FEW_KEYS)} keys`,
      7,
      each(sides, (side, round, name) =>
        side.call('overwriteAwaited', FEW_KEYS, name === 'varve' ? 2_000 : 20, round + 1),
      ),
    )
  })
  return {
    ...measureOf('set, awaited one by one', FEW_KEYS, samples, [{ against: 'JSON file', atLeast: 100 }]),
    note: 'keyv over SQLite waits for the disk at each write, and cannot be told not to.',
  }
}
