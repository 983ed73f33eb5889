import type { KeyObject } from 'node:crypto'
import type { KeyCodec } from '../core/key.ts'
import { open, seal } from '../crypto/sealed-box.ts'
import type { KeyRing } from '../encryption/key-ring.ts'

/** Encrypts what a cache of an encrypted store holds, where that outlives the process. */
export interface CacheSeal {
  /** Under which name a key is in the cache. */
  name(key: string): string
  seal(name: string, value: Uint8Array): Uint8Array
  /** `undefined` for what was not sealed under that name, or with keys that have been replaced since: a miss. */
  open(name: string, sealed: unknown): Buffer | undefined
}

export function cacheSeal(ring: KeyRing, keys: KeyCodec): CacheSeal {
  let generation: number | undefined
  let cacheKey: KeyObject | undefined
  const current = (): KeyObject => {
    if (cacheKey === undefined || generation !== ring.generation) {
      generation = ring.generation
      cacheKey = ring.keyFor('varve cache')
    }
    return cacheKey
  }
  return {
    name: key => (keys.ordered ? key : Buffer.from(keys.encode(key)).toString('base64url')),
    seal: (name, value) => seal(current(), Buffer.from(name), value),
    open: (name, sealed) =>
      sealed instanceof Uint8Array ? open(current(), Buffer.from(name), sealed) : undefined,
  }
}
