import type { View } from '../engine/engine.ts'
import { firstLogged, type LogEntry, TOUCHED } from './commit-log.ts'
import type { Head } from './head.ts'

/**
 * The last sealed epoch whose log is folded to its end: no list of an epoch up to it will be added any more.
 *
 * Epochs ascend along the log, but for the entries of a large commit that adds a snapshot: those of its two epochs
 * alternate, and the ones that only touch keys are of the later.
 */
export async function foldedThrough(view: View, head: Head): Promise<number> {
  const first = await firstLogged(view, head.folded)
  if (first === undefined) return head.epoch - 1
  const follows = touchesKeys(first) ? first.epoch - 1 : first.epoch
  return Math.min(follows, head.epoch) - 1
}

/** Whether an entry has a key that the commit left as it was. */
function touchesKeys({ changes }: LogEntry): boolean {
  for (const { kind } of changes) if (kind === TOUCHED) return true
  return false
}
