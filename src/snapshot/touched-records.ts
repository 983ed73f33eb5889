import { fromByteString } from '../core/bytes.ts'
import type { KeyCodec } from '../core/key.ts'
import { Turns } from '../core/turns.ts'
import type { View } from '../engine/engine.ts'
import { LostViews } from '../engine/view-lost.ts'
import { readChangedKeys } from '../history/change-list.ts'
import { nameDamage } from '../history/damage.ts'
import type { History, Moment } from '../history/history.ts'
import { readManyAtBoth } from '../history/reader.ts'
import { type ParsedRecord, payloadLength } from '../history/record.ts'
import { nameOf } from './key-range.ts'

/** A key that was written between two moments, and what each of them sees there: perhaps the same. */
export interface TouchedRecord {
  readonly key: Uint8Array
  readonly before: ParsedRecord | undefined
  readonly after: ParsedRecord | undefined
}

/** Which of the touched keys are wanted. */
export interface TouchedOptions {
  /** A test of keys, as byte strings of how they are stored. */
  readonly wanted?: (key: string) => boolean
  /** Descending key order: then all keys are gathered before the first is read, as they are where keys are encrypted. */
  readonly reverse?: boolean
  /** One view to the end, so that the head is that of one moment. */
  readonly consistent?: boolean
}

/** Keys whose records are in memory together: at most so many, and fewer where they are large. */
const MAX_CHUNK_KEYS = 1000
/** So few that they are gone before the memory of young objects is looked through twice: what is met there twice stays for long. */
const CHUNK_BYTES = 32 * 1024
/** More where each chunk is a round trip. */
const REMOTE_CHUNK_BYTES = 1024 * 1024
/** The first chunk has no more keys than this, or, where the size of records is not known, than that. */
const FIRST_CHUNK_KEYS = 128
const BLIND_CHUNK_KEYS = 16
/** A chunk has at most so many times the keys of the one before. */
const GROWTH = 8

/**
 * The records of all keys that were touched between two moments, in key order; whichever of the two is the older.
 *
 * It reads the change lists of the epochs between and the keys they name, and nothing else of the state. A long walk
 * moves on to a fresh view now and then; where one of the moments is the head, that may have moved on as well.
 *
 * A chunk is good until the next one is asked for: then it is emptied, as whoever waits for the next would keep it in memory.
 *
 * @throws {SnapshotNotFoundError} if one of the two is not there, or is dropped meanwhile.
 */
export async function* touchedRecords(
  history: History,
  from: Moment,
  to: Moment,
  options: TouchedOptions = {},
): AsyncGenerator<readonly TouchedRecord[], void, undefined> {
  const views = new RecentView(history, from, to, options.consistent === true)
  const turns = new Turns()
  const size = new ChunkSize(history.engine.remote === true ? REMOTE_CHUNK_BYTES : CHUNK_BYTES)
  const readRecords = async (
    view: View,
    names: readonly string[],
    epochs: readonly [number, number],
  ): Promise<TouchedRecord[]> => {
    const keys = names.map(fromByteString)
    const [[olds, news]] = await Promise.all([
      readManyAtBoth(view, keys, epochs),
      // The view would go on showing a snapshot that was dropped since it began.
      history.assertExists(from),
      history.assertExists(to),
    ])
    return keys.map((key, i) => ({ key, before: olds[i], after: news[i] }))
  }
  try {
    for await (const page of touchedKeys(history, views, options)) {
      size.expect(page.recordBytes)
      for (let start = 0; start < page.keys.length; ) {
        const keys = page.keys.slice(start, start + size.keys)
        start += keys.length
        const records = await views.read((view, epochs) => readRecords(view, keys, epochs))
        size.learn(records)
        yield records
        records.length = 0
        await turns.breathe()
      }
    }
  } catch (error) {
    throw await views.named(error)
  } finally {
    views.close()
  }
}

/** A view that is not old, and the epochs of two moments in it. */
class RecentView {
  readonly #history: History
  readonly #moments: readonly [Moment, Moment]
  readonly #kept: boolean
  #view: View | undefined
  #epochs: readonly [number, number] = [0, 0]
  #opened = 0

  constructor(history: History, from: Moment, to: Moment, kept: boolean) {
    this.#kept = kept
    this.#history = history
    this.#moments = [from, to]
  }

  /**
   * Reads in the view. If it is lost, the read begins again in another one, unless it is to be one view to the end.
   */
  async read<T>(read: (view: View, epochs: readonly [number, number]) => Promise<T>): Promise<T> {
    const views = new LostViews()
    for (;;) {
      const { view, epochs } = await this.#get()
      try {
        return await read(view, epochs)
      } catch (error) {
        if (this.#kept || !views.mayGoOn(error)) throw error
        this.close()
      }
    }
  }

  async #get(): Promise<{ readonly view: View; readonly epochs: readonly [number, number] }> {
    if (!this.#kept && performance.now() - this.#opened > this.#history.limits.viewAge) this.close()
    if (this.#view === undefined) {
      const view = this.#history.engine.read()
      this.#view = view
      this.#opened = performance.now()
      const [from, to] = this.#moments
      this.#epochs = await Promise.all([this.#history.epochIn(view, from), this.#history.epochIn(view, to)])
    }
    return { view: this.#view, epochs: this.#epochs }
  }

  /** The error, with the snapshots that it concerns. */
  async named(error: unknown): Promise<unknown> {
    return this.#view === undefined ? error : nameDamage(this.#view, error)
  }

  close(): void {
    this.#view?.close()
    this.#view = undefined
  }
}

/** How many keys are read at a time, so that their records take about so many bytes, whatever their size. */
class ChunkSize {
  keys = 0
  readonly #bytes: number

  constructor(bytes: number) {
    this.#bytes = bytes
  }

  /** What records take on average, as far as is known before the first are read; 0 where it is not. */
  expect(recordBytes: number): void {
    if (this.keys > 0) return
    const fitting = recordBytes === 0 ? BLIND_CHUNK_KEYS : Math.floor(this.#bytes / recordBytes)
    this.keys = Math.min(FIRST_CHUNK_KEYS, Math.max(1, fitting))
  }

  learn(records: readonly TouchedRecord[]): void {
    let bytes = 0
    for (const { before, after } of records)
      for (const record of [before, after]) bytes += record === undefined ? 0 : payloadLength(record)
    const fitting = Math.floor(this.#bytes / Math.max(1, bytes / records.length))
    this.keys = Math.min(MAX_CHUNK_KEYS, GROWTH * this.keys, Math.max(1, fitting))
  }
}

interface TouchedKeys {
  readonly keys: readonly string[]
  readonly recordBytes: number
}

function byName(stored: readonly string[], keys: KeyCodec): string[] {
  const named = stored.map(key => ({ key, name: nameOf(fromByteString(key), keys) }))
  return named.sort((a, b) => (a.name < b.name ? -1 : 1)).map(({ key }) => key)
}

async function* touchedKeys(
  history: History,
  views: RecentView,
  { wanted, reverse = false }: TouchedOptions,
): AsyncGenerator<TouchedKeys, void, undefined> {
  const gathers = reverse || !history.keys.ordered
  const gathered: string[] = []
  let recordBytes = 0
  let above = ''
  for (let more = true; more; ) {
    const last = above
    const page = await views.read((view, epochs) => {
      const range = { after: Math.min(...epochs), through: Math.max(...epochs) }
      return readChangedKeys(view, range, history.limits, last)
    })
    const keys = wanted === undefined ? page.keys : page.keys.filter(wanted)
    recordBytes = page.recordBytes
    if (gathers) for (const key of keys) gathered.push(key)
    else yield { keys, recordBytes }
    above = page.keys.at(-1) ?? above
    more = page.more
  }
  if (!gathers) return
  const sorted = history.keys.ordered ? gathered : byName(gathered, history.keys)
  yield { keys: reverse ? sorted.reverse() : sorted, recordBytes }
}
