import { compareBytes, toByteString } from '../core/bytes.ts'

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
    if (isAscending(given)) return
    const sorted: Uint8Array[] = []
    const places = new Uint32Array(given.length)
    for (const index of orderOf(given)) {
      const key = given[index] as Uint8Array
      const last = sorted.at(-1)
      if (last === undefined || compareBytes(last, key) !== 0) sorted.push(key)
      places[index] = sorted.length - 1
    }
    this.sorted = sorted
    this.#places = places
  }

  /** The place among the sorted keys of the `index`-th given one. */
  placeOf(index: number): number {
    return this.#places === undefined ? index : (this.#places[index] as number)
  }

  /** The place of a key; `undefined` if it is none of them. */
  find(key: Uint8Array): number | undefined {
    this.#firsts ??= firstsOf(this.given)
    const first = this.#firsts.get(toByteString(key))
    return first === undefined ? undefined : this.placeOf(first)
  }
}

function firstsOf(keys: readonly Uint8Array[]): Map<string, number> {
  const firsts = new Map<string, number>()
  for (let i = 0; i < keys.length; i++) {
    const name = toByteString(keys[i] as Uint8Array)
    if (!firsts.has(name)) firsts.set(name, i)
  }
  return firsts
}

function isAscending(keys: readonly Uint8Array[]): boolean {
  for (let i = 1; i < keys.length; i++) {
    if (compareBytes(keys[i - 1] as Uint8Array, keys[i] as Uint8Array) >= 0) return false
  }
  return true
}

/** A key's next bytes make a number of so many digits: in each a byte and one more, or 0 behind the end of the key. */
const DIGITS = 4
const BASE = 257
/** A digit each and so many keys fit into an integer that is exact. */
const MAX_KEYS = 2 ** 20

/** The indices of keys, in the order of the keys; equal ones as they come. */
function orderOf(keys: readonly Uint8Array[]): Iterable<number> {
  if (keys.length > MAX_KEYS) {
    const compare = (a: number, b: number): number =>
      compareBytes(keys[a] as Uint8Array, keys[b] as Uint8Array) || a - b
    return Array.from(keys.keys()).sort(compare)
  }
  const order = Uint32Array.from(keys.keys())
  sortRange(keys, order, 0, keys.length, 0)
  return order
}

/**
 * Puts a range of indices in the order of their keys, which are alike in their first `alike` bytes.
 *
 * They are sorted by a number made of the bytes behind those that all of them have in common, and then among those with
 * the same number. To sort numbers takes a fraction of what comparing keys does.
 */
function sortRange(
  keys: readonly Uint8Array[],
  order: Uint32Array,
  start: number,
  end: number,
  alike: number,
): void {
  const common = commonPrefix(keys, order, start, end, alike)
  const range = order.slice(start, end)
  const numbers = Float64Array.from(
    range,
    (index, i) => numberOf(keys[index] as Uint8Array, common) * MAX_KEYS + i,
  ).sort()
  let first = 0
  for (let i = 0; i < range.length; i++) {
    const number = numbers[i] as number
    order[start + i] = range[number % MAX_KEYS] as number
    const next = numbers[i + 1]
    if (next !== undefined && Math.floor(next / MAX_KEYS) === Math.floor(number / MAX_KEYS)) continue
    // With a digit of 0 they have come to their end, and are equal.
    if (i > first && Math.floor(number / MAX_KEYS) % BASE !== 0)
      sortRange(keys, order, start + first, start + i + 1, common + DIGITS)
    first = i + 1
  }
}

/** How many bytes the keys of a range begin with, all of them, where `alike` are known to be alike. */
function commonPrefix(
  keys: readonly Uint8Array[],
  order: Uint32Array,
  start: number,
  end: number,
  alike: number,
): number {
  const first = keys[order[start] as number] as Uint8Array
  let common = first.length
  for (let i = start + 1; i < end; i++) {
    const key = keys[order[i] as number] as Uint8Array
    let length = alike
    while (length < common && key[length] === first[length]) length++
    common = length
  }
  return common
}

function numberOf(key: Uint8Array, from: number): number {
  let number = 0
  for (let i = from; i < from + DIGITS; i++)
    number = number * BASE + (i < key.length ? (key[i] as number) + 1 : 0)
  return number
}
