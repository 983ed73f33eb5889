import type { View } from '../engine/engine.ts'
import { readLog, TOUCHED } from './commit-log.ts'
import type { Head } from './head.ts'

/**
 * The last sealed epoch whose log is folded to its end: no list of an epoch up to it will be added any more.
 *
 * Epochs ascend along the log, but for the entries of a large commit that adds a snapshot: those of its two epochs
 * alternate, and the ones that only touch keys are of the later.
 */
export async function foldedThrough(view: View, head: Head): Promise<number> {
  for await (const entries of readLog(view, head.folded)) {
    const first = entries[0]
    if (first === undefined) continue
    const follows = first.changes.some(({ kind }) => kind === TOUCHED) ? first.epoch - 1 : first.epoch
    return Math.min(follows, head.epoch) - 1
  }
  return head.epoch - 1
}
