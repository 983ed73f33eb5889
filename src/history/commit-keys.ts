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
  /** The first of the given keys that have a name. */
  #firsts: Map<string, number> | undefined

  constructor(given: readonly Uint8Array[]) {
    this.given = given
    this.sorted = given
    if (given.length < 2) return
    const names = given.map(toByteString)
    if (isAscending(names)) return
    const firsts = firstsOf(names)
    const sorted: Uint8Array[] = []
    const places = new Uint32Array(given.length)
    for (const name of [...firsts.keys()].sort()) {
      const first = firsts.get(name) as number
      places[first] = sorted.length
      sorted.push(given[first] as Uint8Array)
    }
    if (sorted.length < given.length) {
      for (let i = 0; i < names.length; i++)
        places[i] = places[firsts.get(names[i] as string) as number] as number
    }
    this.sorted = sorted
    this.#places = places
    this.#firsts = firsts
  }

  /** The place among the sorted keys of the `index`-th given one. */
  placeOf(index: number): number {
    return this.#places === undefined ? index : (this.#places[index] as number)
  }

  /** The place of a key; `undefined` if it is none of them. */
  find(key: Uint8Array): number | undefined {
    this.#firsts ??= firstsOf(this.given.map(toByteString))
    const first = this.#firsts.get(toByteString(key))
    return first === undefined ? undefined : this.placeOf(first)
  }
}

function firstsOf(names: readonly string[]): Map<string, number> {
  const firsts = new Map<string, number>()
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string
    if (!firsts.has(name)) firsts.set(name, i)
  }
  return firsts
}

function isAscending(names: readonly string[]): boolean {
  for (let i = 1; i < names.length; i++) {
    if ((names[i - 1] as string) >= (names[i] as string)) return false
  }
  return true
}
