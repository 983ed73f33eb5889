// @ts-check
import { join } from 'node:path'
import { count, megabytes } from '../lib/format.js'
import { Side } from '../lib/side.js'

/** Beyond Node's own, mapped pages of files not counted. */
const MAX_BYTES = 200e6
/** What the heap may hold more at the end than at the beginning. */
const MAX_GROWTH = 5e6

/** @type {import('../lib/measure.js').Section} */
export const section = {
  title: 'Memory under load',
  about: `A process opens a store of the given size, with values of 900 bytes, and works on it for a minute: random reads now and at
snapshots, sets in flight, updates, \`getMany\`, iterations of ranges, a snapshot a second, \`compareSnapshots\` of the last two
and \`diff\` from any of them to the last, which is streamed: a result of \`compareSnapshots\` is the caller's, as large as it
may be. "Memory" is what the kernel counts as anonymous (\`RssAnon\`): all that is resident but pages of mapped files. Node's own is that of a process
that waits for a message. The heap is compared by its least size in windows of a sixth of the time, which garbage that
has not been collected yet does not reach: the last window against the second.`,
  sizes: [4_500_000],
  async measure({ keys, quick, folder }) {
    const seconds = quick ? 6 : 60
    const path = join(folder, 'store')
    const filler = new Side('mixed-load.js')
    /** @type {number} */
    const storeBytes = await filler.call('fill', path, keys).finally(() => filler.end())
    const bare = new Side('bare.js')
    /** @type {number} */
    const own = await bare.call('memory').finally(() => bare.end())
    const side = new Side('mixed-load.js')
    /** @type {import('../sides/mixed-load.js').Load} */
    const load = await side.call('run', path, keys, seconds).finally(() => side.end())
    const peak = Math.max(...load.samples.map(({ anonymous }) => anonymous))
    const floors = floorsOf(load.samples.map(({ heap }) => heap))
    const growth = /** @type {number} */ (floors.at(-1)) - /** @type {number} */ (floors[1])
    return {
      figures: [
        {
          what: `most memory in ${seconds} s of mixed load on ${(storeBytes / 1e9).toFixed(1)} GB, beyond Node's own ${megabytes(own)}`,
          keys,
          goal: `≤ ${megabytes(MAX_BYTES)}`,
          figure: megabytes(peak - own),
          met: peak - own <= MAX_BYTES,
        },
        {
          what: `heap, floors of six windows: ${floors.map(floor => megabytes(floor)).join(', ')}; ${count(load.calls)} calls`,
          keys,
          goal: `flat: ≤ ${megabytes(MAX_GROWTH)} more`,
          figure: megabytes(growth),
          met: growth <= MAX_GROWTH,
        },
      ],
    }
  },
}

/**
 * The least of each sixth of the samples.
 *
 * @param {readonly number[]} samples
 */
function floorsOf(samples) {
  const length = Math.floor(samples.length / 6)
  return Array.from({ length: 6 }, (_, i) => Math.min(...samples.slice(i * length, (i + 1) * length)))
}
