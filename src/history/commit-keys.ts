import { toByteString } from '../core/bytes.ts'

/**
 * The keys of a commit: those that its operations name, one after the other, and the distinct ones in their order.
 *
 * Reading and writing them in order takes a tree half the time or less than as they come, and fills its pages better.
 */
export class CommitKeys {
  /** As they were given; a key may be there more than once. */
  readonly given: readonly Uint8Array[]
  /** Ascending and distinct. */
  readonly sorted: readonly Uint8Array[]
  /** Where each given key stands among the sorted ones; `undefined` where it is the same place. */
  readonly #places: Uint32Array | undefined
  #byName: Map<string, number> | undefined

  constructor(given: readonly Uint8Array[]) {
    this.given = given
    this.sorted = given
    if (given.length < 2) return
    const names = given.map(toByteString)
    if (isAscending(names)) return
    const firsts = new Map<string, number>()
    for (let i = 0; i < names.length; i++) {
      const name = names[i] as string
      if (!firsts.has(name)) firsts.set(name, i)
    }
    const sorted: Uint8Array[] = []
    const places = new Map<string, number>()
    for (const name of [...firsts.keys()].sort()) {
      places.set(name, sorted.length)
      sorted.push(given[firsts.get(name) as number] as Uint8Array)
    }
    this.sorted = sorted
    this.#places = Uint32Array.from(names, name => places.get(name) as number)
    this.#byName = places
  }

  /** The place among the sorted keys of the `index`-th given one. */
  placeOf(index: number): number {
    return this.#places === undefined ? index : (this.#places[index] as number)
  }

  /** The place of a key; `undefined` if it is none of them. */
  find(key: Uint8Array): number | undefined {
    this.#byName ??= new Map(this.sorted.map((sorted, i) => [toByteString(sorted), i]))
    return this.#byName.get(toByteString(key))
  }
}

function isAscending(names: readonly string[]): boolean {
  for (let i = 1; i < names.length; i++) {
    if ((names[i - 1] as string) >= (names[i] as string)) return false
  }
  return true
}
