import { StoreClosedError } from '../core/errors.ts'
import { type MaybePromise, whenBoth, whenReady } from '../core/maybe-promise.ts'
import type { Batch, Engine, View } from '../engine/engine.ts'
import { appendLogEntry, type CommitAuthor } from './commit-log.ts'
import { Draft } from './draft.ts'
import { decodeHead, encodeHead, HEAD_KEY, type Head } from './head.ts'
import type { HistoryLimits } from './limits.ts'
import { OperationIds } from './operation-id.ts'

/** A change of some keys that shares a commit with those of other callers. */
export interface Mutation<T> {
  /** Every key that {@link Mutation.apply} reads or writes. */
  readonly keys: readonly Uint8Array[]
  /**
   * Reads and writes the draft. Throws before its first write, or not at all; then only this operation fails. It may
   * run more than once, as commits of the engine may.
   */
  apply(draft: Draft): T
}

/** What an {@link Committer.exclusive} builder decides. */
export interface ExclusiveResult<T> {
  readonly value: T
  /** The head after the commit; left out where it stays as it is. */
  readonly head?: Head
}

/** How an {@link Committer.exclusive} commit is made. */
export interface ExclusiveOptions<R> {
  /** Also while a large commit is pending. */
  readonly evenIfPending?: boolean
  /** Reads what the builder needs whatever the head says: asked for along with it, and handed to the builder. */
  readonly early?: (view: View) => MaybePromise<R>
}

/** The outcome of an operation, with the id under which the log knows it. */
export interface Committed<T> {
  readonly operationId: string
  readonly value: T
}

/** How many keys an operation set, deleted and left as they were. */
export interface OperationCounts {
  readonly set: number
  readonly deleted: number
  readonly unchanged: number
}

interface QueuedMutation {
  readonly mutation: Mutation<unknown>
  readonly operation: number
  readonly resolve: (committed: Committed<unknown>) => void
  readonly reject: (error: unknown) => void
}

interface QueuedExclusive {
  readonly run: () => Promise<void>
}

type Outcome = { readonly value: unknown } | { readonly error: unknown }

/** What the committer needs of the store around it. */
export interface CommitterOptions {
  readonly engine: Engine
  /** Whether commits wait for the disk. */
  readonly flush: boolean
  readonly limits: HistoryLimits
  /** Finishes a large commit that this or another process has begun; see `bulk-commit.ts`. */
  readonly rollForward: () => Promise<void>
  /** Called with the new head after each commit that changed it. */
  readonly onCommit: (head: Head) => void
  /** Called with the head that a commit met and left as it was: whoever made it has seen that moment. */
  readonly onUnchanged: (head: Head) => void
}

const PENDING = Symbol('pending')

/**
 * Makes all commits of one open store, one at a time and in the order in which they were asked for.
 *
 * Mutations that wait together share one commit: one lookup and one write a key, one log entry, one head. What is
 * asked for in the same tick, or while a commit is under way, therefore costs little more than one of them alone.
 */
export class Committer {
  readonly ids = new OperationIds()
  readonly #options: CommitterOptions
  readonly #queue: (QueuedMutation | QueuedExclusive)[] = []
  readonly #outcomes = new Map<number, OperationCounts>()
  /** Counts what callers asked for, by which background work tells whether it should hold back. */
  activity = 0
  #draining: Promise<void> | undefined
  #closed = false

  constructor(options: CommitterOptions) {
    this.#options = options
  }

  /** Queues a mutation. Resolves once it is committed, alone or with others. */
  mutate<T>(mutation: Mutation<T>): Promise<Committed<T>> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new StoreClosedError()
      this.activity++
      this.#queue.push({
        mutation,
        operation: this.ids.next(),
        resolve: resolve as (committed: Committed<unknown>) => void,
        reject,
      })
      this.#start()
    })
  }

  /**
   * Queues a commit of its own. `build` sees the head and may change it; it never runs while a large commit is
   * pending, unless it is the one that rolls that forward.
   */
  exclusive<T, R = undefined>(
    build: (view: View, batch: Batch, head: Head, early: R) => MaybePromise<ExclusiveResult<T>>,
    options: ExclusiveOptions<R> = {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new StoreClosedError()
      const run = (): Promise<void> => this.#commit(build, options).then(resolve, reject)
      // A roll-forward is asked for by the commit at the front of the queue: it cannot wait behind it.
      if (options.evenIfPending === true) void run()
      else {
        this.#queue.push({ run })
        this.#start()
      }
    })
  }

  /** What a large commit of this writer did, kept by whoever ended it until its caller takes it. */
  keepOutcome(operation: number, counts: OperationCounts): void {
    this.#outcomes.set(operation, counts)
  }

  takeOutcome(operation: number): OperationCounts | undefined {
    const counts = this.#outcomes.get(operation)
    this.#outcomes.delete(operation)
    return counts
  }

  /** Refuses new work and waits for what is queued. */
  async close(): Promise<void> {
    this.#closed = true
    while (this.#draining !== undefined) await this.#draining
  }

  #start(): void {
    this.#draining ??= this.#drain().finally(() => {
      this.#draining = undefined
      if (this.#queue.length > 0) this.#start()
    })
  }

  async #drain(): Promise<void> {
    // Lets everything that the current tick asks for join the first commit.
    await undefined
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      if ('run' in next) {
        this.#queue.shift()
        await next.run()
      } else {
        await this.#commitGroup(this.#takeGroup())
      }
    }
  }

  #takeGroup(): QueuedMutation[] {
    const group: QueuedMutation[] = []
    let keys = 0
    for (const item of this.#queue) {
      if (
        'run' in item ||
        (group.length > 0 && keys + item.mutation.keys.length > this.#options.limits.groupKeys)
      )
        break
      keys += item.mutation.keys.length
      group.push(item)
    }
    this.#queue.splice(0, group.length)
    return group
  }

  async #commitGroup(group: readonly QueuedMutation[]): Promise<void> {
    const keys =
      group.length === 1
        ? (group[0] as QueuedMutation).mutation.keys
        : group.flatMap(item => item.mutation.keys)
    const author: CommitAuthor = {
      writer: this.ids.writer,
      firstOperation: (group[0] as QueuedMutation).operation,
      lastOperation: (group.at(-1) as QueuedMutation).operation,
    }
    let outcomes: Outcome[] = []
    try {
      await this.#commit<void, readonly (Uint8Array | undefined)[]>(
        (view, batch, head, records) => {
          const draft = Draft.of(head, keys, records)
          outcomes = group.map(item => attempt(item.mutation, draft))
          return whenReady(draft.flush(view, batch), ({ changes, growth }): ExclusiveResult<void> => {
            if (changes.length === 0) return { value: undefined }
            const sequence = head.sequence + 1
            appendLogEntry(batch, sequence, head.epoch, author, changes, this.#options.limits)
            return { value: undefined, head: { ...head, sequence, size: head.size + growth } }
          })
        },
        { early: view => view.getMany('live', keys) },
      )
    } catch (error) {
      for (const item of group) item.reject(error)
      return
    }
    for (const [i, item] of group.entries()) {
      const outcome = outcomes[i] as Outcome
      if ('error' in outcome) item.reject(outcome.error)
      else item.resolve({ operationId: this.ids.format(item.operation), value: outcome.value })
    }
  }

  async #commit<T, R>(
    build: (view: View, batch: Batch, head: Head, early: R) => MaybePromise<ExclusiveResult<T>>,
    { early, evenIfPending }: ExclusiveOptions<R>,
  ): Promise<T> {
    const { engine, flush, rollForward, onCommit, onUnchanged } = this.#options
    for (;;) {
      let met: Head | undefined
      let committed: Head | undefined
      const value = await engine.commit<T | typeof PENDING>(
        (view, batch) =>
          whenBoth(view.get('meta', HEAD_KEY), early?.(view) as MaybePromise<R>, (stored, read) => {
            const head = decodeHead(stored)
            met = head
            committed = undefined
            if (head.pending !== 0 && evenIfPending !== true) return PENDING
            return whenReady(build(view, batch, head, read), result => {
              if (result.head !== undefined) {
                batch.put('meta', HEAD_KEY, encodeHead(result.head))
                committed = result.head
              }
              return result.value
            })
          }),
        { flush },
      )
      if (value !== PENDING) {
        if (committed !== undefined) onCommit(committed)
        else if (met !== undefined) onUnchanged(met)
        return value as T
      }
      await rollForward()
    }
  }
}

function attempt(mutation: Mutation<unknown>, draft: Draft): Outcome {
  try {
    // Others share the commit: they do not fail with it.
    draft.assertReadable(mutation.keys)
    return { value: mutation.apply(draft) }
  } catch (error) {
    return { error }
  }
}
