import { stretchOf, type TouchedKeys } from './touched-keys.ts'

/** A version that is whole, as far as it matters to what may be missing beside it. */
export interface KnownVersion {
  readonly birth: number
  readonly isTombstone: boolean
}

/** What is known of a key of a damaged store. */
export interface KnownKey {
  readonly key: Uint8Array
  /** Runs of versions with nothing missing inside: a row of the history each. Oldest first. */
  readonly rows: readonly { readonly first: KnownVersion; readonly last: KnownVersion }[]
  /** The birth of the live record, if it is there. */
  readonly live: number | undefined
  /** Whether rows of the history, or the live record, may be missing. */
  readonly mayHaveLost: boolean
}

/** What is missing of a key. */
export interface Gaps {
  /** From these epochs on, up to the next version, nothing is known: readers must not take the version before for it. */
  readonly tombstones: readonly number[]
  /** The stretches at whose end (that of the last: now) the key may have held a value that is lost. */
  readonly lost: readonly number[]
}

/**
 * Where versions of a key are missing.
 *
 * A version is what the snapshots from its birth on hold, up to the next one's birth. If the next one is missing, they would
 * find the older one, which is wrong. That it is missing is told by the change lists: a key that was touched in a stretch of
 * epochs has a version born there, unless it was absent at its end, and had no older one.
 */
export function findGaps(known: KnownKey, bounds: readonly number[], touched: TouchedKeys): Gaps {
  const { key, rows, live, mayHaveLost } = known
  const tombstones: number[] = []
  const lost: number[] = []
  const births = [...rows.map(({ first }) => first.birth), ...(live === undefined ? [] : [live])]
  // Before the first version there is nothing to be taken for another, but one may be lost.
  if (mayHaveLost) {
    const end = births[0] === undefined ? bounds.length : stretchOf(bounds, births[0]) - 1
    let isLost = false
    for (let stretch = 0; stretch <= end; stretch++) {
      isLost ||= touched.mayBeTouched(key, stretch)
      if (isLost) lost.push(stretch)
    }
  }
  for (const [i, { last }] of rows.entries()) {
    const next = births[i + 1]
    // A value is superseded by something: a record that is not there is missing.
    if (!mayHaveLost && (next !== undefined || last.isTombstone)) continue
    const from = stretchOf(bounds, last.birth) + 1
    const end = next === undefined ? bounds.length : stretchOf(bounds, next) - 1
    let isLost = !mayHaveLost
    for (let stretch = from; stretch <= end; stretch++) {
      const began = isLost
      isLost ||= touched.mayBeTouched(key, stretch)
      if (!isLost) continue
      lost.push(stretch)
      if ((!began || stretch === from) && !last.isTombstone)
        tombstones.push((bounds[stretch - 1] as number) + 1)
    }
  }
  return { tombstones: [...new Set(tombstones)], lost }
}
