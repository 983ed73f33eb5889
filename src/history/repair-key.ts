import type { Stretches } from './stretches.ts'
import type { TouchedKeys } from './touched-keys.ts'

/** A version that is whole, as far as it matters to what may be missing beside it. */
export interface KnownVersion {
  readonly birth: number
  readonly isTombstone: boolean
}

/** Versions with nothing missing between them: a row of the history. */
export interface KnownRun {
  readonly first: KnownVersion
  readonly last: KnownVersion
  /** Whether they may have been freed, as a later one of the same stretch took their place. */
  readonly mayBeFreed: boolean
}

/** What is known of a key of a damaged store. */
export interface KnownKey {
  readonly key: Uint8Array
  /** Oldest first. */
  readonly rows: readonly KnownRun[]
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
 * find the older one, which is wrong. That it is missing is told by the change lists: a key that was touched in an epoch has a
 * version born there, unless it was absent at its end, and had no older one.
 */
export function findGaps(known: KnownKey, stretches: Stretches, touched: TouchedKeys): Gaps {
  const { key, rows, live, mayHaveLost } = known
  const tombstones: number[] = []
  const lost: number[] = []
  const births = [...rows.map(({ first }) => first.birth), ...(live === undefined ? [] : [live])]
  // Before the first version there is nothing to be taken for another, but one may be lost.
  if (mayHaveLost) {
    const end = births[0] === undefined ? stretches.last : stretches.of(births[0]) - 1
    let isLost = false
    for (let stretch = 0; stretch <= end; stretch++) {
      isLost ||= touched.mayBeTouched(key, stretches.epochsOf(stretch))
      if (isLost) lost.push(stretch)
    }
  }
  for (const [i, { last, mayBeFreed }] of rows.entries()) {
    const next = births[i + 1]
    // A value is superseded by something: a record that is not there is missing.
    if (!mayHaveLost && (next !== undefined || last.isTombstone)) continue
    const own = stretches.of(last.birth)
    const start = mayHaveLost && mayBeFreed ? own : own + 1
    const end = next === undefined ? stretches.last : stretches.of(next) - 1
    let isLost = false
    for (let stretch = start; stretch <= end; stretch++) {
      const { after, through } = stretches.epochsOf(stretch)
      const since = Math.max(after, last.birth)
      if (!isLost && (!mayHaveLost || touched.mayBeTouched(key, { after: since, through }))) {
        isLost = true
        if (!last.isTombstone) tombstones.push(since + 1)
      }
      if (isLost) lost.push(stretch)
    }
  }
  return { tombstones, lost }
}
