// @ts-check
import { join } from 'node:path'
import { count, milliseconds } from '../lib/format.js'
import { withPeers } from '../lib/peers.js'
import { Side } from '../lib/side.js'
import { median } from '../lib/statistics.js'

/** A large store may take so much longer, in milliseconds. */
const MAX_DIFFERENCE = 20

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Opening a store',
  about:
    'A large store and an empty one are opened in turns, each time by a new process that has loaded varve before.',
  sizes: [10_000_000],
  async measure({ keys, turns, folder }) {
    await withPeers(folder, { large: 'varve', empty: 'varve' }, ({ large }) =>
      large.call('fillInOrder', keys),
    )
    /** @param {string} name */
    const opened = async name => {
      const side = new Side('peer.js')
      try {
        // Loads everything that a first store needs.
        await side.call('open', 'varve', join(folder, 'first'))
        await side.call('close')
        const took = await side.call('open', 'varve', join(folder, name))
        await side.call('close')
        return took
      } finally {
        await side.end()
      }
    }
    const samples = await turns(`open, ${count(keys)} keys`, 15, {
      varve: () => opened('large'),
      'varve, empty': () => opened('empty'),
    })
    const difference = median(samples.varve) - median(samples['varve, empty'])
    return {
      measures: [{ what: 'open', keys, per: 'store', samples, subject: 'varve', goals: [] }],
      figures: [
        {
          what: 'open, against that of an empty store',
          keys,
          goal: `≤ ${MAX_DIFFERENCE} ms more`,
          figure: difference < 0 ? `${milliseconds(-difference)} less` : `${milliseconds(difference)} more`,
          met: difference <= MAX_DIFFERENCE,
        },
      ],
    }
  },
}
