/**
 * Keeps the smallest of the keys that it is given, each once, however many there are.
 *
 * Keys are gathered as they come, and merged into those that are kept, which are in order. A set of them would take several
 * times the room, and as much again each time that it grows. They mostly come in lists that are in order, which are sorted in
 * little time.
 */
export class SmallestKeys {
  readonly #most: number
  #kept: string[] = []
  #gathered: string[] = []
  #upTo: string | undefined

  /** @param most how many are kept; as many again are gathered at a time */
  constructor(most: number) {
    this.#most = most
  }

  /** The greatest that is kept, once a greater one was left out. It only ever falls. */
  get upTo(): string | undefined {
    return this.#upTo
  }

  add(key: string): void {
    if (this.#upTo !== undefined && key >= this.#upTo) return
    this.#gathered.push(key)
    if (this.#gathered.length >= this.#most) this.#merge()
  }

  /** Those that are kept, in order, and whether any were left out. */
  take(): { readonly keys: readonly string[]; readonly more: boolean } {
    this.#merge()
    return { keys: this.#kept, more: this.#upTo !== undefined }
  }

  #merge(): void {
    const gathered = this.#gathered.sort()
    const kept = this.#kept
    const merged: string[] = []
    this.#gathered = []
    this.#kept = merged
    let last: string | undefined
    for (let i = 0, j = 0; i < gathered.length || j < kept.length; ) {
      const [one, other] = [gathered[i], kept[j]]
      const key = other === undefined || (one !== undefined && one < other) ? (one as string) : other
      if (key === one) i++
      else j++
      if (key === last) continue
      if (merged.length === this.#most) {
        this.#upTo = last
        return
      }
      merged.push(key)
      last = key
    }
  }
}
