/**
 * The candidate that `word` was most likely meant to be, ignoring case; `undefined` where none is near.
 *
 * "Near" is at most one edit for every three letters of the word, and two edits are always near.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    // Replacing every letter is not a likeness, however short the word.
    if (distance < bestDistance && distance < candidate.length) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/**
 * The Levenshtein distance: the least number of insertions, deletions and substitutions of one UTF-16 unit that turn
 * `a` into `b`. Wagner and Fischer's dynamic programme ("The string-to-string correction problem", 1974), one row at a
 * time.
 */
function editDistance(a: string, b: string): number {
  // Invariant: before step i, row[j] is the distance between the first i units of `a` and the first j of `b`.
  const row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 0; i < a.length; i++) {
    let diagonal = i
    let left = i + 1
    row[0] = left
    for (let j = 0; j < b.length; j++) {
      const above = row[j + 1] as number
      const substitution = diagonal + (a[i] === b[j] ? 0 : 1)
      left = Math.min(substitution, above + 1, left + 1)
      row[j + 1] = left
      diagonal = above
    }
  }
  return row[b.length] as number
}
