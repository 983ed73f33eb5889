// @ts-check
import { join } from 'node:path'
import { count } from '../lib/format.js'
import { each, withPeers } from '../lib/peers.js'

/** So many snapshots of varve are taken in a round: one alone is over before the processor has woken up. */
const SNAPSHOTS = 50

/** A folder of more files takes minutes to fill, and its first commit as well. */
const MOST_FILES = 200_000

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Taking a snapshot',
  about: `One key is changed, and then the whole state is kept: by \`createSnapshot\`, SQLite's \`VACUUM INTO\`, lmdb's \`backup\`, and by
\`git add --all\` and \`git commit\` in a folder of a file a key, with at most ${count(MOST_FILES)} of them. A round takes ${SNAPSHOTS} of varve's one after the other, each after a change, and one of the others'.`,
  async measure({ keys, quick, turns, folder }) {
    const files = Math.min(keys, quick ? 2_000 : MOST_FILES)
    const git = `git commit, ${count(files)} keys`
    const peers = {
      varve: 'varve',
      'SQLite VACUUM INTO': 'better-sqlite3',
      'lmdb backup': 'lmdb',
      [git]: 'git-folder',
    }
    return withPeers(folder, peers, async sides => {
      for (const [name, side] of Object.entries(sides)) await side.call('fill', name === git ? files : keys)
      // Git's first commit takes in everything, which the others have done by now.
      await sides[git]?.call('backup', join(folder, 'copy'), 1)
      const rounds = await turns(
        `snapshots of ${count(keys)} keys`,
        5,
        each(sides, (side, round, name) =>
          side.call('backup', join(folder, 'copy'), round + 2, name === 'varve' ? SNAPSHOTS : 1),
        ),
      )
      const samples = Object.fromEntries(Object.entries(rounds).map(([name, taken]) => [name, taken.flat()]))
      const goals = Object.keys(peers)
        .filter(name => name !== 'varve')
        .map(against => ({ against, atLeast: 1_000 }))
      return {
        measures: [{ what: 'createSnapshot', keys, per: 'snapshot', samples, subject: 'varve', goals }],
      }
    })
  },
}
