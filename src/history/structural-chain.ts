import { asBuffer, bytesEqual } from '../core/bytes.ts'
import { JSON_CODEC } from '../core/value-codec.ts'
import type { ChainVersion } from '../delta/chain-record.ts'
import { applyPatch, createPatch, type JsonPatchOperation } from '../delta/json-patch.ts'
import { TOMBSTONE } from './record.ts'

/**
 * Structural chains, for stores opened with `delta: 'dict'`: a version is kept as the RFC 6902 patch that makes it of
 * the next newer value of its chain, where that is shorter. The chain record then compresses the patches together.
 */

/** The codec of a version that is such a patch. What comes of it is JSON. */
export const PATCHED = 0x41

/** So many versions apart one is kept whole, so that a read applies fewer patches than this. */
const WHOLE_EVERY = 16

/** The versions, oldest first, with those replaced by patches that are shorter so. */
export function toPatches(versions: readonly ChainVersion[]): ChainVersion[] {
  const patched = [...versions]
  let newer: unknown
  let hasNewer = false
  let depth = 0
  for (let i = versions.length - 1; i >= 0; i--) {
    const version = versions[i] as ChainVersion
    if (version.codec === TOMBSTONE) continue
    if (version.codec !== JSON_CODEC) {
      hasNewer = false
      continue
    }
    const value = parse(version.payload)
    depth = hasNewer && depth < WHOLE_EVERY - 1 ? depth + 1 : 0
    if (depth > 0) {
      const patch = createPatch(newer, value)
      const payload = toText(patch)
      // A patch says nothing of the order of properties, and a stored value keeps its very bytes.
      const exact =
        payload.byteLength < version.payload.byteLength &&
        bytesEqual(toText(applyPatch(newer, patch)), version.payload)
      if (exact) patched[i] = { ...version, codec: PATCHED, payload }
      else depth = 0
    }
    newer = value
    hasNewer = true
  }
  return patched
}

/** What a chain gives of its versions. */
export interface PatchedVersions {
  readonly codecs: readonly number[]
  payload(index: number): Uint8Array
}

/** The value of a version that is a patch, as JSON text. */
export function resolvePatch(chain: PatchedVersions, index: number): Uint8Array {
  const patches: JsonPatchOperation[][] = []
  let at = index
  for (; chain.codecs[at] === PATCHED || chain.codecs[at] === TOMBSTONE; at++) {
    if (chain.codecs[at] === PATCHED) patches.push(parse(chain.payload(at)) as JsonPatchOperation[])
  }
  let value = parse(chain.payload(at))
  for (const patch of patches.reverse()) value = applyPatch(value, patch)
  return toText(value)
}

function toText(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value), 'utf8')
}

function parse(text: Uint8Array): unknown {
  return JSON.parse(asBuffer(text).toString('utf8'))
}
