// @ts-check
import { count } from '../lib/format.js'
import { measureOf } from '../lib/measure.js'
import { each, withPeers } from '../lib/peers.js'

const TOGETHER = 1_000
const FEW_KEYS = 10_000

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Reading the current state',
  about: `Random keys of stores that \`setMany\` filled, and everything in key order. Each call is awaited, also those of lmdb and
better-sqlite3 that answer before they return. "lmdb, get for each" asks for a thousand keys one by one, which is faster
than its \`getMany\`.`,
  async measure({ keys, quick, turns, folder }) {
    const reads = quick ? 5_000 : 20_000
    const peers = {
      varve: 'varve',
      lmdb: 'lmdb',
      'better-sqlite3': 'better-sqlite3',
      'classic-level': 'classic-level',
    }
    return withPeers(folder, peers, async sides => {
      for (const side of Object.values(sides)) await side.call('fill', keys)
      const single = await turns(
        `get, ${count(keys)} keys`,
        11,
        each(sides, (side, round) => side.call('get', keys, reads, round)),
        3,
      )
      /** @param {import('../lib/side.js').Side} side @param {number} round @param {string} [by] */
      const many = (side, round, by) =>
        side.call('getMany', keys, TOGETHER, Math.ceil(reads / TOGETHER), round, by)
      const several = await turns(
        'getMany',
        11,
        {
          ...each(sides, many),
          'lmdb, get for each': (/** @type {number} */ round) => many(sides.lmdb, round, 'get'),
        },
        3,
      )
      const all = await turns(
        'entries',
        5,
        each(sides, side => side.call('entries', keys)),
      )
      const measures = [
        measureOf('get, random, awaited', keys, single, [
          { against: 'lmdb', atLeast: 1 },
          { against: 'better-sqlite3', atLeast: 1.5 },
          { against: 'classic-level', atLeast: 10 },
        ]),
        measureOf(
          'getMany of 1,000 keys',
          keys,
          several,
          [
            { against: 'lmdb', atLeast: 1 },
            { against: 'lmdb, get for each', atLeast: 1 },
          ],
          '1,000 keys',
        ),
        measureOf('entries() over all', keys, all, [{ against: 'lmdb', atLeast: 1 }], 'key'),
      ]
      return { measures: keys > 500_000 ? measures : [...measures, await measureFew(folder, turns)] }
    })
  },
}

/**
 * The same beside keyv, which takes long to fill.
 *
 * @param {string} folder
 * @param {import('../lib/turns.js').Turns} turns
 */
async function measureFew(folder, turns) {
  const samples = await withPeers(`${folder}/few`, { varve: 'varve', keyv: 'keyv' }, async sides => {
    for (const side of Object.values(sides)) await side.call('fill', FEW_KEYS, 1_000)
    return turns(
      `get, ${count(FEW_KEYS)} keys`,
      7,
      each(sides, (side, round) => side.call('get', FEW_KEYS, 2_000, round)),
    )
  })
  return measureOf('get, random, awaited', FEW_KEYS, samples, [])
}
