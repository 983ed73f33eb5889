import type { MaybePromise } from '../core/maybe-promise.ts'
import type { View } from '../engine/engine.ts'
import { withView } from '../engine/with-view.ts'
import { nameDamage } from '../history/damage.ts'
import type { Head } from '../history/head.ts'
import type { History } from '../history/history.ts'
import { readManyAt } from '../history/reader.ts'
import { type Payload, parseRecord } from '../history/record.ts'

/** Keys asked for in one question. */
const CHUNK_KEYS = 1_000

/** What keys held at one moment. */
export interface LookRecords {
  /** The commit as of which it is. While a large commit is pending it tells nothing. */
  readonly sequence: number
  readonly pending: boolean
  /** What a key that was asked for held. @throws {DataIntegrityError} if that is damaged. */
  of(key: string): Payload | undefined
  /** The keys that were asked for, but for damaged ones. */
  readonly whole: Iterable<readonly [key: string, payload: Payload | undefined]>
}

/**
 * One look at the store, in one view: its head, and what some keys hold as of it, in one round trip.
 *
 * Calls that want to know either at the same time share a look. All of them want it before it runs, so that what it
 * finds is no older than their calls.
 */
export class Look {
  readonly #history: History
  readonly #wanted = new Map<string, Uint8Array>()
  readonly #followed = settledLater<boolean>()
  readonly #records = settledLater<LookRecords>()

  constructor(history: History) {
    this.#history = history
  }

  /** The keys that are asked for. */
  get keys(): Iterable<string> {
    return this.#wanted.keys()
  }

  /** Whether nobody asks for more than the head. */
  get isForHeadAlone(): boolean {
    return this.#wanted.size === 0
  }

  /** Ends the look before it begins: nothing was committed since the log was followed. */
  nothingNew(): void {
    this.#followed.settle(Promise.resolve(true))
  }

  /** Whether the log has been followed to the head: not while a large commit is pending. */
  get followed(): Promise<boolean> {
    return this.#followed.promise
  }

  get records(): Promise<LookRecords> {
    return this.#records.promise
  }

  /** Asks for a key as well. */
  want(key: string, bytes: Uint8Array): Promise<LookRecords> {
    this.#wanted.set(key, bytes)
    return this.#records.promise
  }

  /**
   * Opens the view. `follow` learns of the log up to its head; `keep` is told what was found once that is done, and if
   * possible before those who asked. Failures are for who waits.
   */
  async run(
    follow: (view: View, head: Promise<Head>) => Promise<boolean>,
    keep: (records: LookRecords) => void,
  ): Promise<void> {
    await withView(this.#history.engine, async view => {
      // All is asked for at once. Where more than one fails, the first says why: the others may only follow from it.
      const head = Promise.resolve(this.#history.headIn(view))
      let isFollowed = false
      const followed = follow(view, head).then(done => {
        isFollowed = done
        return done
      })
      const stored = this.#stored(view)
      let isKept = false
      const records = head.then(async found => {
        const all = await this.#recordsOf(view, found, await stored)
        isKept = isFollowed
        if (isKept) keep(all)
        return all
      })
      this.#followed.settle(followed)
      this.#records.settle(records.catch(async error => Promise.reject(await nameDamage(view, error))))
      await Promise.allSettled([followed, records, stored])
      if (isFollowed && !isKept) keep(await records)
    }).catch(error => {
      // Those who wait know already, unless the view could not be opened.
      this.#followed.settle(Promise.reject(error))
      this.#records.settle(Promise.reject(error))
    })
  }

  async #stored(view: View): Promise<readonly (Uint8Array | undefined)[]> {
    const keys = [...this.#wanted.values()]
    if (keys.length === 1) return [await view.get('live', keys[0] as Uint8Array)]
    const chunks: MaybePromise<(Uint8Array | undefined)[]>[] = []
    for (let at = 0; at < keys.length; at += CHUNK_KEYS) {
      chunks.push(view.getMany('live', keys.slice(at, at + CHUNK_KEYS)))
    }
    return (await Promise.all(chunks)).flat()
  }

  async #recordsOf(
    view: View,
    { sequence, epoch, pending }: Head,
    stored: readonly (Uint8Array | undefined)[],
  ): Promise<LookRecords> {
    const names = [...this.#wanted.keys()]
    const bytes = [...this.#wanted.values()]
    // Records may be of a large commit that is not visible yet.
    const visible = pending === 0 ? undefined : await readManyAt(view, bytes, epoch)
    const whole = new Map<string, Payload | undefined>()
    const damaged = new Map<string, unknown>()
    for (const [i, name] of names.entries()) {
      const record = stored[i]
      try {
        whole.set(
          name,
          visible === undefined ? record && parseRecord(bytes[i] as Uint8Array, record) : visible[i],
        )
      } catch (error) {
        // The trouble of whoever asked for it, and of nobody else.
        damaged.set(name, error)
      }
    }
    return {
      sequence,
      pending: pending !== 0,
      whole,
      of: key => {
        if (damaged.has(key)) throw damaged.get(key)
        return whole.get(key)
      },
    }
  }
}

interface SettledLater<T> {
  readonly promise: Promise<T>
  readonly settle: (value: Promise<T>) => void
}

/** A promise that nobody has to wait for. */
function settledLater<T>(): SettledLater<T> {
  let settle: (value: Promise<T>) => void = () => undefined
  const promise = new Promise<T>(resolve => {
    settle = resolve
  })
  promise.catch(() => undefined)
  return { promise, settle }
}
