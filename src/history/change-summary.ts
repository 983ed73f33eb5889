import { partitionPoint } from '../core/partition-point.ts'
import type { View } from '../engine/engine.ts'
import { changeCounts } from './change-counts.ts'
import {
  type ChangePage,
  type EpochRange,
  firstListedEpoch,
  type ListVisitor,
  readChangedKeys,
  readLogAhead,
  visitFolded,
  visitLog,
} from './change-list.ts'
import type { HistoryLimits } from './limits.ts'
import { storedBytes } from './stored-bytes.ts'

/** How much a range of epochs changed. */
export interface ChangeSummary {
  /** Distinct keys touched. */
  readonly changes: number
  /** Bytes of the values born in the range, as they are stored now. See `stored-bytes.ts`. */
  readonly bytes: number
}

/**
 * How much each of some ranges of epochs changed. They ascend and do not overlap, as the epochs between snapshots do.
 *
 * Keys are counted from the first epoch whose list has not been discarded; bytes include what was written before.
 * A range that one list covers, as almost all do, is answered by the numbers before the list, one that the background
 * has counted by what it noted, and the others by passes over the keys.
 */
export async function summarizeChanges(
  view: View,
  ranges: readonly EpochRange[],
  limits: HistoryLimits,
): Promise<ChangeSummary[]> {
  const first = ranges[0]
  const last = ranges.at(-1)
  if (first === undefined || last === undefined) return []
  const all = { after: first.after, through: last.through }
  const [log, from, counts, stored] = await Promise.all([
    readLogAhead(view, all.after),
    firstListedEpoch(view),
    changeCounts(view),
    storedBytes(view, all),
  ])
  const found = ranges.map(({ after, through }) => {
    const listed = { after: Math.max(after, from - 1), through }
    const count = counts.get(through)
    const isCounted = count?.after === listed.after
    return {
      after,
      listed,
      isCounted,
      lists: 0,
      changes: isCounted ? count.changes : 0,
      bytes: isCounted ? count.bytes : 0,
    }
  })
  const at = (epoch: number): (typeof found)[number] | undefined => {
    const summary = found[partitionPoint(found.length, i => (ranges[i] as EpochRange).through < epoch)]
    return summary !== undefined && epoch > summary.after ? summary : undefined
  }
  const visitor: ListVisitor = {
    list(epoch, count, bytes) {
      const summary = at(epoch)
      if (summary === undefined || (summary.isCounted && epoch > summary.listed.after)) return false
      summary.bytes += bytes
      if (epoch > summary.listed.after && count > 0) {
        summary.lists++
        summary.changes += count
      }
      return false
    },
    key: () => undefined,
  }
  const spans = uncounted(found)
  for (const span of spans) await visitFolded(view, span, visitor)
  if (spans.length > 0) await visitLog(log, all, visitor)
  for (const [epoch, bytes] of stored) {
    const summary = at(epoch)
    if (summary !== undefined) summary.bytes += bytes
  }
  const summaries: ChangeSummary[] = []
  for (const { listed, lists, changes, bytes } of found) {
    summaries.push({ changes: lists > 1 ? await countKeys(view, listed, limits) : changes, bytes })
  }
  return summaries
}

interface Counted {
  readonly after: number
  readonly listed: EpochRange
  readonly isCounted: boolean
}

/** The epochs whose lists have to be looked at, in as few stretches as there are. */
function uncounted(ranges: readonly Counted[]): EpochRange[] {
  const spans: { after: number; through: number }[] = []
  for (const { after, listed, isCounted } of ranges) {
    // Also of what was counted, the lists before it may still say how many bytes were written.
    const through = isCounted ? listed.after : listed.through
    if (through <= after) continue
    const last = spans.at(-1)
    if (last !== undefined && last.through === after) last.through = through
    else spans.push({ after, through })
  }
  return spans
}

async function countKeys(view: View, range: EpochRange, limits: HistoryLimits): Promise<number> {
  let count = 0
  for await (const { keys } of countedPages(above => readChangedKeys(view, range, counting(limits), above))) {
    count += keys.length
  }
  return count
}

/** The keys of a range, page by page, as `read` gives those above one. */
export async function* countedPages(
  read: (above: string) => Promise<ChangePage>,
): AsyncGenerator<ChangePage, void, undefined> {
  let above = ''
  for (let more = true; more; ) {
    const page = await read(above)
    yield page
    above = page.keys.at(-1) ?? above
    more = page.more
  }
}

/** To count keys takes fewer passes, of more keys, than to read their records. */
const COUNTED_PAGES = 2

export function counting(limits: HistoryLimits): HistoryLimits {
  return { ...limits, pageKeys: COUNTED_PAGES * limits.pageKeys }
}
