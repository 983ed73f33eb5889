import { Turns } from '../core/turns.ts'
import type { History, Moment } from '../history/history.ts'
import { type Conversion, convertAll, type KeyedRecord } from '../history/reader.ts'
import { nameOf, type Range, rangeTest, toKeyRange } from './key-range.ts'

/**
 * The records of a range at a moment, in the order of their keys, in pages.
 *
 * Encrypted keys are stored in another order, or rather in none: then a pass over all keys gathers the names of the range
 * that come next, as many as may be in memory together, and their records are looked up. So memory is bounded, and each pass
 * costs the reading of the whole state, however short the range is.
 */
export function orderedRecords(
  history: History,
  moment: Moment,
  range: Range | undefined,
): AsyncGenerator<readonly KeyedRecord[], void, undefined> {
  return history.keys.ordered
    ? history.records(moment, toKeyRange(range))
    : sortedRecords(history, moment, range)
}

/** What becomes of {@link orderedRecords}, in pages. */
export function orderedItems<T>(
  history: History,
  moment: Moment,
  range: Range | undefined,
  conversion: () => Conversion<T>,
): AsyncGenerator<readonly T[], void, undefined> {
  return history.keys.ordered
    ? history.converted(moment, toKeyRange(range), conversion)
    : convertPages(sortedRecords(history, moment, range), conversion)
}

async function* convertPages<T>(
  pages: AsyncIterable<readonly KeyedRecord[]>,
  conversion: () => Conversion<T>,
): AsyncGenerator<readonly T[], void, undefined> {
  for await (const page of pages) yield convertAll(page, conversion())
}

/** Records looked up at a time. */
const LOOKUP_KEYS = 500

async function* sortedRecords(
  history: History,
  moment: Moment,
  range: Range | undefined,
): AsyncGenerator<readonly KeyedRecord[], void, undefined> {
  const keyRange = toKeyRange(range)
  const turns = new Turns()
  let left = keyRange.limit ?? Number.POSITIVE_INFINITY
  let beyond: string | undefined
  while (left > 0) {
    const names = new NextNames(
      keyRange.reverse === true,
      Math.min(left, history.limits.sortKeys),
      rangeTest(keyRange),
      beyond,
    )
    for await (const page of history.records(moment, {})) {
      for (const { key } of page) names.offer(nameOf(key, history.keys), key)
    }
    const { sorted, more } = names.take()
    for (let start = 0; start < sorted.length && left > 0; start += LOOKUP_KEYS) {
      const keys = sorted.slice(start, start + LOOKUP_KEYS).map(({ key }) => key)
      const records = moment === 'head' ? await history.getMany(keys) : await history.getManyAt(moment, keys)
      const found: KeyedRecord[] = []
      for (const [i, key] of keys.entries()) {
        // Of the current state, a key may be gone by now.
        const record = records[i]
        if (record !== undefined && found.length < left) found.push({ key, record })
      }
      left -= found.length
      if (found.length > 0) yield found
      await turns.breathe()
    }
    beyond = sorted.at(-1)?.name
    if (!more) return
  }
}

interface NamedKey {
  readonly name: string
  readonly key: Uint8Array
}

/** Of all names that are offered, keeps those that come next in order; at most twice as many as it is to give. */
class NextNames {
  readonly #compare: (a: NamedKey, b: NamedKey) => number
  readonly #isBefore: (a: string, b: string) => boolean
  readonly #most: number
  readonly #wanted: (name: string) => boolean
  readonly #beyond: string | undefined
  /** Names from here on are left to a later pass. */
  #end: string | undefined
  #kept: NamedKey[] = []
  #more = false

  constructor(reverse: boolean, most: number, wanted: (name: string) => boolean, beyond: string | undefined) {
    this.#isBefore = reverse ? (a, b) => a > b : (a, b) => a < b
    this.#compare = (a, b) => (this.#isBefore(a.name, b.name) ? -1 : 1)
    this.#most = most
    this.#wanted = wanted
    this.#beyond = beyond
  }

  offer(name: string, key: Uint8Array): void {
    if (this.#beyond !== undefined && !this.#isBefore(this.#beyond, name)) return
    if (!this.#wanted(name)) return
    if (this.#end !== undefined && !this.#isBefore(name, this.#end)) {
      this.#more = true
      return
    }
    this.#kept.push({ name, key })
    if (this.#kept.length >= 2 * this.#most) this.#cut()
  }

  take(): { readonly sorted: readonly NamedKey[]; readonly more: boolean } {
    this.#cut()
    return { sorted: this.#kept, more: this.#more }
  }

  #cut(): void {
    this.#kept.sort(this.#compare)
    const next = this.#kept[this.#most]
    if (next === undefined) return
    this.#more = true
    this.#end = next.name
    this.#kept.length = this.#most
  }
}
