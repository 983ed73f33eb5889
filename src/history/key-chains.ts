import { toByteString } from '../core/bytes.ts'
import type { KeptChain } from './chain-cache.ts'
import type { ParsedRecord } from './record.ts'
import { keptVersion } from './version-row.ts'

/** With so many, those are forgotten whose chains the cache has given up. It has no room for as many. */
const MAX_KEYS = 65_536

/**
 * By the keys of one store, the chains of the cache that were read last: reads of versions between two others of a chain need
 * not ask the engine.
 *
 * What a key held at a snapshot is the same for as long as there is that snapshot, wherever its versions are moved meanwhile:
 * nobody writes in an epoch that is sealed. Only the newest version of a chain may have been superseded by one outside.
 *
 * For engines in this process: what a server has acknowledged and lost, it may write again in another way.
 */
export class KeyChains {
  readonly #chains = new Map<string, KeptChain>()

  /** What a key held at an epoch, absence included; `undefined` if that is not known. */
  versionAt(key: Uint8Array, epoch: number): ParsedRecord | undefined {
    const name = toByteString(key)
    const chain = this.#chains.get(name)
    if (chain === undefined) return undefined
    if (!chain.isKept) {
      this.#chains.delete(name)
      return undefined
    }
    const index = chain.indexAt(epoch)
    if (index < 0 || index === chain.births.length - 1) return undefined
    chain.isUsed = true
    return keptVersion(chain, index)
  }

  /** Notes a chain that was read. */
  add(chain: KeptChain): void {
    if (!chain.isKept) return
    if (this.#chains.size >= MAX_KEYS) {
      for (const [name, { isKept }] of this.#chains) if (!isKept) this.#chains.delete(name)
    }
    this.#chains.set(toByteString(chain.key), chain)
  }
}
