import { toByteString } from '../core/bytes.ts'
import { isPromiseLike } from '../core/maybe-promise.ts'
import type { ScanRange, View } from '../engine/engine.ts'
import type { BulkSource } from '../history/bulk-commit.ts'
import type { History } from '../history/history.ts'
import type { Target } from '../history/patch-buffer.ts'
import { scanLive } from '../history/reader.ts'
import { decodePayload, type Payload, parseRecord } from '../history/record.ts'
import { type EncodeUnder, StateComparison } from './state-comparison.ts'
import { StoredRows } from './stored-rows.ts'

/** In what a state differs from that of the store, and what it is the difference to. */
export class QuickDifference {
  /** The newest commit in the view. */
  readonly sequence: number
  /** The bytes of all values of the state, encoded. */
  readonly bytes: number
  readonly #history: History
  /** Stays open to the end: the state is what it shows, with the changes. */
  readonly #view: View
  readonly #changes: ReadonlyMap<string, Target>
  readonly #bytesRead: number

  constructor(
    history: History,
    view: View,
    sequence: number,
    changes: ReadonlyMap<string, Target>,
    { bytes, bytesRead }: { readonly bytes: number; readonly bytesRead: number },
  ) {
    this.#history = history
    this.#view = view
    this.sequence = sequence
    this.#changes = changes
    this.bytes = bytes
    this.#bytesRead = bytesRead
  }

  /** What is to be set or deleted. */
  get changes(): Iterable<Target> {
    return this.#changes.values()
  }

  /** What the state has under a key. */
  async targetOf(key: Uint8Array): Promise<Payload | undefined> {
    const change = this.#changes.get(toByteString(key))
    if (change !== undefined) return change.target
    const record = await this.#view.get('live', key)
    return record && parseRecord(key, record)
  }

  /** The whole state. */
  async state(): Promise<Record<string, unknown>> {
    const { keys } = this.#history
    const state: Record<string, unknown> = Object.create(null)
    for (let gt: Uint8Array | undefined, more = true; more; more = gt !== undefined) {
      const { records, resumeAfter } = await scanLive(this.#view, { gt })
      for (const { key, record } of records) state[keys.decode(key)] = decodePayload(record)
      gt = resumeAfter
    }
    for (const { key, target } of this.changes) {
      if (target === undefined) delete state[keys.decode(key)]
      else state[keys.decode(key)] = decodePayload(target)
    }
    return state
  }

  /** To be called when it is needed no more. */
  async close(): Promise<void> {
    this.#view.close()
    await this.#history.relieve(this.#bytesRead)
  }
}

/**
 * Compares a state with that of the store at once, before anything can change either, and without encoding what is equal.
 *
 * Answers `undefined` where that is not worth while or not possible: where the engine does not show its rows, keys are not
 * stored as they are, a large commit is under way, or more differs than fits into a patch in memory; and also where
 * anything is wrong with the state or with the store. Whoever compares them otherwise says what that is.
 */
export function compareAtOnce(
  history: History,
  data: Readonly<Record<string, unknown>>,
  compression: boolean,
  encodeUnder: EncodeUnder,
): QuickDifference | undefined {
  if (!history.keys.ordered || history.engine.remote === true) return undefined
  let view: View | undefined
  let difference: QuickDifference | undefined
  try {
    view = history.engine.read()
    difference = compareIn(view, history, data, compression, encodeUnder)
  } catch {
    // It is found again, and reported, by the other way.
  }
  if (difference === undefined) view?.close()
  return difference
}

function compareIn(
  view: View,
  history: History,
  data: Readonly<Record<string, unknown>>,
  compression: boolean,
  encodeUnder: EncodeUnder,
): QuickDifference | undefined {
  if (view.visit === undefined) return undefined
  const head = history.headIn(view)
  if (isPromiseLike(head) || head.pending !== 0) return undefined
  const { patchKeys, comparedRows } = history.limits
  let names: readonly string[] = Object.keys(data)
  if (Math.abs(head.size - names.length) >= patchKeys) return undefined
  const rows = new StoredRows(Math.max(1, Math.min(head.size, comparedRows)))
  const comparison = new StateComparison(history, view, data, compression, encodeUnder)
  let bytesRead = 0
  try {
    for (let range: ScanRange | undefined = {}; range !== undefined && !comparison.isTooMuch; ) {
      const taken = rows.take(view, range, names.length)
      bytesRead += taken.bytes
      range = taken.rest
      names = comparison.compare(names, rows)
      comparison.delete(rows.unfound())
    }
  } finally {
    rows.release()
  }
  comparison.add(names)
  if (comparison.isTooMuch) return undefined
  const { bytes, changes } = comparison
  return new QuickDifference(history, view, head.sequence, changes, { bytes, bytesRead })
}

/**
 * The change that makes the state what a difference was found to. Where others have committed so much since that the log
 * does not tell what, all of it is compared anew: `compareAnew` answers by which change.
 */
export function quickSaveSource(
  difference: QuickDifference,
  compareAnew: (state: Record<string, unknown>) => BulkSource,
  signal?: AbortSignal,
): BulkSource {
  let isFirst = true
  let anew: BulkSource | undefined
  return {
    async prepare(patch) {
      signal?.throwIfAborted()
      if (!isFirst) {
        anew ??= compareAnew(await difference.state())
        return anew.prepare(patch)
      }
      isFirst = false
      for (const { key, target } of difference.changes) patch.add(key, target)
      return difference.sequence
    },
    async targets(view, touched, patch) {
      if (anew !== undefined) return anew.targets(view, touched, patch)
      return Promise.all(touched.map(async key => ({ target: await difference.targetOf(key) })))
    },
  }
}
