/** A key and its value. */
export type Entry = [string, unknown]

/** What a comparison with the other versions of a state needs to name one of them. */
export type Mark = string | number

/**
 * One side of a comparison: a package, used as its documentation says. What a package has no word for is left out, and
 * not measured for it.
 */
export interface Peer {
  set(key: string, value: unknown): unknown
  /** All of them at once: in one commit, transaction or batch. */
  setMany(entries: readonly Entry[]): unknown
  get(key: string): unknown
  getMany?(keys: readonly string[]): PromiseLike<readonly unknown[]> | readonly unknown[]
  entries?(): AsyncIterable<unknown> | Iterable<unknown>
  /** Remembers the state as it is now. */
  mark?(): PromiseLike<Mark> | Mark
  getAt?(mark: Mark, key: string): unknown
  /** How many keys differ between two marked states. Every one of them is looked at. */
  compare?(from: Mark, to: Mark): PromiseLike<number> | number
  /** Makes the state equal to a marked one. */
  restore?(mark: Mark): unknown
  /** Makes the state equal to this one. */
  save?(state: Readonly<Record<string, unknown>>): unknown
  /** A copy of the whole state that can be gone back to, as the package makes one. `target` does not exist yet. */
  backup?(target: string): unknown
  /** Brings its files into the form in which they stay. */
  compact?(): unknown
  close(): unknown
}

/** What each file of this folder exports. */
export interface PeerModule {
  /** Opens what lies in an existing folder, or begins it. */
  open(folder: string): Promise<Peer>
}
