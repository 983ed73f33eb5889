/**
 * Which keys the commits of a stretch of the log changed, the last commit for each.
 *
 * What was read as of a commit in the stretch is as it was at the end of it if no later commit changed the key.
 */
export class KnownChanges {
  /** All changes after this commit, up to {@link KnownChanges.end}, are known. */
  #start: number
  #end: number
  /** After this commit `#newer` knows all, and `#older` what was before. */
  #middle: number
  #newer = new Map<string, number>()
  #older = new Map<string, number>()
  /** So many changed keys are remembered; then the older half of them is forgotten. */
  readonly #maxKeys: number

  constructor(
    maxKeys: number,
    start: number,
    end = start,
    changes: Iterable<readonly [string, number]> = [],
  ) {
    this.#maxKeys = maxKeys
    this.#start = start
    this.#middle = start
    this.#end = end
    this.#newer = new Map(changes)
  }

  /** The newest commit that is known. */
  get end(): number {
    return this.#end
  }

  /** Notes that a commit changed a key. Commits may be told of again, also those that are among the older ones by now. */
  add(key: string, sequence: number): void {
    const known = this.#newer.get(key) ?? 0
    if (sequence > known) this.#newer.set(key, sequence)
  }

  /** All changes up to this commit have been added. */
  advance(end: number): void {
    if (end <= this.#end) return
    this.#end = end
    if (this.#newer.size <= this.#maxKeys / 2) return
    this.#older = this.#newer
    this.#newer = new Map()
    this.#start = this.#middle
    this.#middle = end
  }

  /** Whether what a key held as of a commit is what it holds at the end of what is known. */
  isCurrent(key: string, sequence: number): boolean {
    return (
      sequence >= this.#start &&
      sequence <= this.#end &&
      (this.#newer.get(key) ?? 0) <= sequence &&
      (this.#older.get(key) ?? 0) <= sequence
    )
  }

  /** Whether a commit will soon be too long ago to tell. */
  isOld(sequence: number): boolean {
    return sequence < this.#middle
  }

  /** To be kept, and given to a constructor. */
  report(): {
    readonly start: number
    readonly end: number
    readonly changes: readonly (readonly [string, number])[]
  } {
    const changes = new Map(this.#older)
    for (const [key, sequence] of this.#newer) changes.set(key, Math.max(sequence, changes.get(key) ?? 0))
    return { start: this.#start, end: this.#end, changes: [...changes] }
  }
}
