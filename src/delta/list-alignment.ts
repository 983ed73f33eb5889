/** Elements of two lists that are the same: `before[beforeIndex]` stayed, as `after[afterIndex]`. */
export interface Match {
  readonly beforeIndex: number
  readonly afterIndex: number
}

/** A stretch of both lists, without their last elements. */
interface Stretch {
  readonly beforeStart: number
  readonly beforeEnd: number
  readonly afterStart: number
  readonly afterEnd: number
}

/** The most insertions and deletions that are looked for in a stretch without a common anchor. */
const MAX_EDITS = 64

/**
 * Which elements of two lists to pair, both in ascending order: a long common subsequence, in O(n log n).
 *
 * Equal numbers stand for equal elements. Elements that both lists have exactly once are anchors, of which the longest
 * ascending sequence is kept (the idea of patience diff). Between anchors the shortest edit script is sought (E. Myers,
 * "An O(ND) Difference Algorithm and Its Variations", 1986), but only up to a fixed number of edits; a stretch that
 * takes more stays unmatched beyond its common ends. So the result need not be the longest, and the cost has a bound.
 */
export function alignLists(before: ArrayLike<number>, after: ArrayLike<number>): Match[] {
  const matches: Match[] = []
  let beforeStart = 0
  let afterStart = 0
  const end: Match = { beforeIndex: before.length, afterIndex: after.length }
  for (const anchor of [...findAnchors(before, after), end]) {
    if (anchor !== end && anchor.beforeIndex < beforeStart) continue
    if (anchor !== end && anchor.afterIndex < afterStart) continue
    const stretch = { beforeStart, beforeEnd: anchor.beforeIndex, afterStart, afterEnd: anchor.afterIndex }
    alignStretch(before, after, stretch, matches)
    if (anchor === end) break
    matches.push(anchor)
    beforeStart = anchor.beforeIndex + 1
    afterStart = anchor.afterIndex + 1
  }
  return matches
}

/** The longest ascending sequence of elements that occur once in each list. */
function findAnchors(before: ArrayLike<number>, after: ArrayLike<number>): Match[] {
  const beforeAt = positionsOfUnique(before)
  const afterAt = positionsOfUnique(after)
  const candidates: Match[] = []
  for (let i = 0; i < before.length; i++) {
    const element = before[i] as number
    const afterIndex = afterAt.get(element)
    if (beforeAt.get(element) === i && afterIndex !== undefined && afterIndex >= 0) {
      candidates.push({ beforeIndex: i, afterIndex })
    }
  }
  return longestAscending(candidates)
}

/** Where each element is; -1 for those that occur more than once. */
function positionsOfUnique(list: ArrayLike<number>): Map<number, number> {
  const positions = new Map<number, number>()
  for (let i = 0; i < list.length; i++) {
    const element = list[i] as number
    positions.set(element, positions.has(element) ? -1 : i)
  }
  return positions
}

/** The longest run of candidates, which ascend in `beforeIndex`, that ascends in `afterIndex` too (patience sorting). */
function longestAscending(candidates: readonly Match[]): Match[] {
  // piles[n]: of the ascending runs of n + 1 candidates, the last candidate of the one that ends lowest.
  const piles: number[] = []
  const previous = new Int32Array(candidates.length)
  for (const [i, { afterIndex }] of candidates.entries()) {
    let low = 0
    let high = piles.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((candidates[piles[middle] as number] as Match).afterIndex < afterIndex) low = middle + 1
      else high = middle
    }
    previous[i] = low > 0 ? (piles[low - 1] as number) : -1
    piles[low] = i
  }
  const run: Match[] = []
  for (let i = piles.at(-1) ?? -1; i >= 0; i = previous[i] as number) run.push(candidates[i] as Match)
  return run.reverse()
}

function alignStretch(
  before: ArrayLike<number>,
  after: ArrayLike<number>,
  stretch: Stretch,
  matches: Match[],
): void {
  let { beforeStart, beforeEnd, afterStart, afterEnd } = stretch
  while (beforeStart < beforeEnd && afterStart < afterEnd && before[beforeStart] === after[afterStart]) {
    matches.push({ beforeIndex: beforeStart++, afterIndex: afterStart++ })
  }
  let suffix = 0
  while (beforeStart < beforeEnd && afterStart < afterEnd && before[beforeEnd - 1] === after[afterEnd - 1]) {
    beforeEnd--
    afterEnd--
    suffix++
  }
  if (beforeStart < beforeEnd && afterStart < afterEnd) {
    alignByMyers(before, after, { beforeStart, beforeEnd, afterStart, afterEnd }, matches)
  }
  for (let i = 0; i < suffix; i++) {
    matches.push({ beforeIndex: beforeEnd + i, afterIndex: afterEnd + i })
  }
}

/**
 * Myers' greedy algorithm: `reach[k]` is how far into `before` the diagonal `k = beforeIndex - afterIndex` can be
 * followed with the edits made so far. Adds nothing if {@link MAX_EDITS} do not suffice.
 */
function alignByMyers(
  before: ArrayLike<number>,
  after: ArrayLike<number>,
  { beforeStart, beforeEnd, afterStart, afterEnd }: Stretch,
  matches: Match[],
): void {
  const n = beforeEnd - beforeStart
  const m = afterEnd - afterStart
  const maxEdits = Math.min(MAX_EDITS, n + m)
  if (Math.abs(n - m) > maxEdits) return
  const centre = maxEdits + 1
  const reach = new Int32Array(2 * maxEdits + 3)
  const history: Int32Array[] = []
  for (let edits = 0; edits <= maxEdits; edits++) {
    history.push(reach.slice())
    for (let k = -edits; k <= edits; k += 2) {
      let x = isDown(reach, centre, k, edits)
        ? (reach[centre + k + 1] as number)
        : (reach[centre + k - 1] as number) + 1
      let y = x - k
      while (x < n && y < m && before[beforeStart + x] === after[afterStart + y]) {
        x++
        y++
      }
      reach[centre + k] = x
      if (x >= n && y >= m) {
        traceBack(history, centre, n, m, (x0, y0) => {
          matches.push({ beforeIndex: beforeStart + x0, afterIndex: afterStart + y0 })
        })
        return
      }
    }
  }
}

/** Whether the furthest way onto diagonal `k` comes from above, by an insertion. */
function isDown(reach: Int32Array, centre: number, k: number, edits: number): boolean {
  return (
    k === -edits || (k !== edits && (reach[centre + k - 1] as number) < (reach[centre + k + 1] as number))
  )
}

/** Hands the matches of the way that was found to `visit`, in ascending order. */
function traceBack(
  history: readonly Int32Array[],
  centre: number,
  n: number,
  m: number,
  visit: (x: number, y: number) => void,
): void {
  const found: [number, number][] = []
  let x = n
  let y = m
  for (let edits = history.length - 1; edits > 0; edits--) {
    const reach = history[edits] as Int32Array
    const k = x - y
    const down = isDown(reach, centre, k, edits)
    const fromX = reach[centre + (down ? k + 1 : k - 1)] as number
    const fromY = fromX - (down ? k + 1 : k - 1)
    const snakeX = down ? fromX : fromX + 1
    while (x > snakeX) found.push([--x, --y])
    x = fromX
    y = fromY
  }
  while (x > 0) found.push([--x, --y])
  for (const [matchX, matchY] of found.reverse()) visit(matchX, matchY)
}
