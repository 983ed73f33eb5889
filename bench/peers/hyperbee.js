// @ts-check
import Hyperbee from 'hyperbee'
import Hypercore from 'hypercore'

/**
 * hyperbee over a hypercore on disk: the peer that keeps every version. Nothing waits for a flush.
 *
 * @type {import('./peer.js').PeerModule['open']}
 */
export async function open(folder) {
  const bee = new Hyperbee(new Hypercore(folder), { keyEncoding: 'utf-8', valueEncoding: 'json' })
  await bee.ready()
  /** @param {import('./peer.js').Mark} mark */
  const at = mark => bee.checkout(/** @type {number} */ (mark))
  /**
   * @param {import('./peer.js').Mark} from
   * @param {import('./peer.js').Mark} to
   */
  const differences = (from, to) => at(to).createDiffStream(/** @type {number} */ (from))
  return {
    set: (key, value) => bee.put(key, value),
    async setMany(entries) {
      const batch = bee.batch()
      for (const [key, value] of entries) await batch.put(key, value)
      await batch.flush()
    },
    get: async key => (await bee.get(key))?.value,
    entries: () => bee.createReadStream(),
    mark: () => bee.version,
    getAt: async (mark, key) => (await at(mark).get(key))?.value,
    async compare(from, to) {
      let differing = 0
      for await (const _ of differences(from, to)) differing++
      return differing
    },
    // It has no call for this: what differs is put back in one batch.
    async restore(mark) {
      const batch = bee.batch()
      for await (const { left, right } of differences(mark, bee.version)) {
        if (right === null) await batch.del(/** @type {{ key: string }} */ (left).key)
        else await batch.put(right.key, right.value)
      }
      await batch.flush()
    },
    close: () => bee.close(),
  }
}
