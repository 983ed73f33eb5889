/** What a cache that outlives the process says of the log: how far it was known, and what it had changed. */
export interface ReadJournal {
  /** Who has put entries there, oldest first, and the commit up to which these count. */
  readonly lineages: readonly (readonly [lineage: number, end: number])[]
  /** All changes after this commit are known, … */
  readonly start: number
  /** … up to this one. */
  readonly end: number
  /** Which commit is at `end`. */
  readonly mark: number
  /** The keys that changed in between, and the last commit that did so. */
  readonly changes: readonly (readonly [key: string, sequence: number])[]
}

export function encodeJournal(journal: ReadJournal): string {
  return JSON.stringify(journal)
}

/** What {@link encodeJournal} made; `undefined` for anything else. */
export function decodeJournal(value: unknown): ReadJournal | undefined {
  if (typeof value !== 'string') return undefined
  let journal: Partial<ReadJournal> | null
  try {
    journal = JSON.parse(value)
  } catch {
    return undefined
  }
  const { lineages, start, end, mark, changes } = journal ?? {}
  if (!isPairs(lineages, 'number') || !isPairs(changes, 'string')) return undefined
  const numbers = [start, end, mark]
  return numbers.every(number => typeof number === 'number') ? (journal as ReadJournal) : undefined
}

function isPairs(value: unknown, first: 'number' | 'string'): boolean {
  return (
    Array.isArray(value) &&
    value.every(pair => Array.isArray(pair) && typeof pair[0] === first && typeof pair[1] === 'number')
  )
}
