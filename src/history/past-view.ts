import { isPromiseLike, type MaybePromise } from '../core/maybe-promise.ts'
import type { Engine, View } from '../engine/engine.ts'
import type { Head } from './head.ts'

/** So many reads share a view at most: it pins what others free meanwhile. */
const MAX_READS = 128

/**
 * A view that reads at snapshots share which follow one another before the event loop turns.
 *
 * What a snapshot shows is the same in every commit since it was taken. So a view will do that is not the newest, as long as
 * it knows the snapshot; that the snapshot has not been dropped since is for the caller to find out.
 */
export class PastView {
  readonly #engine: Engine
  readonly #headIn: (view: View) => MaybePromise<Head>
  #view: View | undefined
  /** The epoch that is open in the view: snapshots of those before are known to it. */
  #epoch = 0
  #reads = 0
  /** Whether the view will be closed before the event loop turns. */
  #closing = false

  /** For engines that answer at once. */
  constructor(engine: Engine, headIn: (view: View) => MaybePromise<Head>) {
    this.#engine = engine
    this.#headIn = headIn
  }

  /** A view that knows the snapshot of an epoch. */
  viewOf(epoch: number): View {
    if (this.#view !== undefined && epoch < this.#epoch && this.#reads < MAX_READS) {
      this.#reads++
      return this.#view
    }
    this.close()
    const view = this.#engine.read()
    this.#view = view
    this.#reads = 1
    this.#epoch = 0
    this.#closeSoon()
    const head = this.#headIn(view)
    if (!isPromiseLike(head)) this.#epoch = head.epoch
    return view
  }

  close(): void {
    this.#view?.close()
    this.#view = undefined
  }

  #closeSoon(): void {
    if (this.#closing) return
    this.#closing = true
    process.nextTick(() => {
      this.#closing = false
      this.close()
    })
  }
}
