import { fromByteString } from '../core/bytes.ts'
import type { View } from '../engine/engine.ts'
import { readChangedKeys } from '../history/change-list.ts'
import { nameDamage } from '../history/damage.ts'
import type { Head } from '../history/head.ts'
import type { History, Moment } from '../history/history.ts'
import { readManyAt } from '../history/reader.ts'
import type { ParsedRecord } from '../history/record.ts'
import { requireSnapshot } from '../history/snapshot-table.ts'

/** A key that was written between two moments, and what each of them sees there: perhaps the same. */
export interface TouchedRecord {
  readonly key: Uint8Array
  readonly before: ParsedRecord | undefined
  readonly after: ParsedRecord | undefined
}

/** Which of the touched keys are wanted. */
export interface TouchedOptions {
  /** A test of keys, as byte strings. */
  readonly wanted?: (key: string) => boolean
  /** Descending key order: then all keys are gathered before the first is read. */
  readonly reverse?: boolean
}

/** Keys whose records are in memory together: at most so many, and fewer where they are large. */
const MAX_CHUNK_KEYS = 500
const CHUNK_BYTES = 1024 * 1024

/**
 * The records of all keys that were touched between two moments, in key order; whichever of the two is the older.
 *
 * It reads the change lists of the epochs between and the keys they name, and nothing else of the state. A long walk
 * moves on to a fresh view now and then; where one of the moments is the head, that may have moved on as well.
 *
 * @throws {SnapshotNotFoundError} if one of the two is not there, or is dropped meanwhile.
 */
export async function* touchedRecords(
  history: History,
  from: Moment,
  to: Moment,
  options: TouchedOptions = {},
): AsyncGenerator<readonly TouchedRecord[], void, undefined> {
  const size = new ChunkSize()
  for await (const keys of touchedKeys(history, from, to, options)) {
    for (let start = 0; start < keys.length; ) {
      const view = history.engine.read()
      const opened = performance.now()
      try {
        const [before, after] = await epochsOf(history, view, from, to)
        do {
          const chunk = keys.slice(start, start + size.keys).map(fromByteString)
          start += chunk.length
          const olds = await readManyAt(view, chunk, before)
          const news = await readManyAt(view, chunk, after)
          size.learn(chunk.length, olds, news)
          // The view would go on showing a snapshot that was dropped since it began.
          await history.assertExists(from)
          await history.assertExists(to)
          yield chunk.map((key, i) => ({ key, before: olds[i], after: news[i] }))
        } while (start < keys.length && performance.now() - opened < history.limits.viewAge)
      } catch (error) {
        throw await nameDamage(view, error)
      } finally {
        view.close()
      }
    }
  }
}

/** How many keys are read at a time, so that their records take about {@link CHUNK_BYTES}, whatever their size. */
class ChunkSize {
  keys = 16

  learn(count: number, ...sides: readonly (readonly (ParsedRecord | undefined)[])[]): void {
    let bytes = 0
    for (const side of sides) for (const record of side) bytes += record?.bytes.byteLength ?? 0
    const fitting = Math.floor(CHUNK_BYTES / Math.max(1, bytes / count))
    this.keys = Math.min(MAX_CHUNK_KEYS, 2 * this.keys, Math.max(1, fitting))
  }
}

async function* touchedKeys(
  history: History,
  from: Moment,
  to: Moment,
  { wanted = () => true, reverse = false }: TouchedOptions,
): AsyncGenerator<readonly string[], void, undefined> {
  const gathered: string[] = []
  let above = ''
  for (let more = true; more; ) {
    const page = await history.view(async view => {
      const [one, other] = await epochsOf(history, view, from, to)
      const range = { after: Math.min(one, other), through: Math.max(one, other) }
      return readChangedKeys(view, range, history.limits, above)
    })
    const keys = page.keys.filter(wanted)
    if (reverse) for (const key of keys) gathered.push(key)
    else yield keys
    above = page.keys.at(-1) ?? above
    more = page.more
  }
  if (reverse) yield gathered.reverse()
}

/** The epochs of two moments in one view. */
async function epochsOf(history: History, view: View, from: Moment, to: Moment): Promise<[number, number]> {
  const head = await history.headIn(view)
  return [await epochOf(view, from, head), await epochOf(view, to, head)]
}

async function epochOf(view: View, moment: Moment, head: Head): Promise<number> {
  return moment === 'head' ? head.epoch : (await requireSnapshot(view, moment)).epoch
}
