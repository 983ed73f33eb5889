import { StoreClosedError } from '../core/errors.ts'
import { type MaybePromise, whenBoth, whenReady } from '../core/maybe-promise.ts'
import { inSlices } from '../core/turns.ts'
import type { Batch, Engine, View } from '../engine/engine.ts'
import { CommitKeys } from './commit-keys.ts'
import { appendLogEntry, type CommitAuthor } from './commit-log.ts'
import { Draft } from './draft.ts'
import { decodeHead, encodeHead, HEAD_KEY, type Head } from './head.ts'
import type { HistoryLimits } from './limits.ts'
import { OperationIds } from './operation-id.ts'
import { DamagedPutError, type Puts, writePuts } from './put-group.ts'
import { type Payload, payloadLength, payloadsEqual } from './record.ts'

/** A change of some keys that shares a commit with those of other callers. */
export interface Mutation<T> {
  /** Every key that {@link Mutation.apply} reads or writes. */
  readonly keys: readonly Uint8Array[]
  /** About how many bytes it writes, where that is known. */
  readonly bytes?: number
  /**
   * Reads and writes the draft. Throws before its first write, or not at all; then only this operation fails. It may
   * run more than once, as commits of the engine may.
   */
  apply(draft: Draft): T
}

/** Distinct keys, and what each is to hold. */
export interface Entries {
  readonly keys: readonly Uint8Array[]
  readonly payloads: readonly Payload[]
  /** Of the payloads together. */
  readonly bytes: number
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
  /** The builder answers at once where the engine does, and writes a few rows. */
  readonly brief?: boolean
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

/** A change that waits for its commit, which it shares with others. */
interface QueuedChange {
  readonly operation: number
  readonly bytes: number
  readonly keyCount: number
  addKeys(keys: Uint8Array[]): void
  /** Makes the change, or notes why it cannot be made; `first` is the place of its keys among those of the commit. */
  apply(draft: Draft, first: number): void
  /** Tells its caller what has become of it. */
  committed(ids: OperationIds): void
  failed(error: unknown): void
}

/** Who waits for a change that has no result. */
export interface PendingCall {
  /** It is committed, or, with an error, it has failed. */
  settled(error?: unknown): void
}

/** The most frequent change, of which there may be many: so it takes little room. */
class QueuedPut implements QueuedChange {
  readonly operation: number
  readonly key: Uint8Array
  readonly payload: Payload
  readonly #call: PendingCall
  #error: unknown

  constructor(operation: number, key: Uint8Array, payload: Payload, call: PendingCall) {
    this.operation = operation
    this.key = key
    this.payload = payload
    this.#call = call
  }

  get bytes(): number {
    return payloadLength(this.payload)
  }

  get keyCount(): number {
    return 1
  }

  addKeys(keys: Uint8Array[]): void {
    keys.push(this.key)
  }

  apply(draft: Draft, first: number): void {
    this.#error = undefined
    try {
      draft.begin(first)
      draft.set(this.key, this.payload)
    } catch (error) {
      this.#error = error
    }
  }

  committed(): void {
    this.#call.settled(this.#error)
  }

  failed(error: unknown): void {
    this.#call.settled(error)
  }
}

type Outcome<T> = { readonly value: T } | { readonly error: unknown }

class QueuedMutation<T> implements QueuedChange {
  readonly operation: number
  readonly #mutation: Mutation<T>
  readonly #resolve: (committed: Committed<T>) => void
  readonly failed: (error: unknown) => void
  #outcome: Outcome<T> | undefined

  constructor(
    operation: number,
    mutation: Mutation<T>,
    resolve: (committed: Committed<T>) => void,
    reject: (error: unknown) => void,
  ) {
    this.operation = operation
    this.#mutation = mutation
    this.#resolve = resolve
    this.failed = reject
  }

  get bytes(): number {
    return this.#mutation.bytes ?? 0
  }

  get keyCount(): number {
    return this.#mutation.keys.length
  }

  addKeys(keys: Uint8Array[]): void {
    for (const key of this.#mutation.keys) keys.push(key)
  }

  apply(draft: Draft, first: number): void {
    try {
      draft.begin(first)
      // Others share the commit: they do not fail with it.
      draft.assertReadable(this.#mutation.keys)
      this.#outcome = { value: this.#mutation.apply(draft) }
    } catch (error) {
      this.#outcome = { error }
    }
  }

  /** Notes the result of a change that was made in another way. */
  madeElsewhere(value: T): void {
    this.#outcome = { value }
  }

  committed(ids: OperationIds): void {
    const outcome = this.#outcome as Outcome<T>
    if ('error' in outcome) this.failed(outcome.error)
    else this.#resolve({ operationId: ids.format(this.operation), value: outcome.value })
  }
}

/** A change that sets several keys, each unless it holds an equal value. */
class QueuedPuts extends QueuedMutation<OperationCounts> {
  readonly entries: Entries

  constructor(
    operation: number,
    entries: Entries,
    resolve: (committed: Committed<OperationCounts>) => void,
    reject: (error: unknown) => void,
  ) {
    const { keys, bytes } = entries
    super(operation, { keys, bytes, apply: draft => putIn(draft, entries) }, resolve, reject)
    this.entries = entries
  }
}

function putIn(draft: Draft, entries: Entries): OperationCounts {
  let set = 0
  for (const [i, key] of entries.keys.entries()) {
    const payload = entries.payloads[i] as Payload
    if (payloadsEqual(draft.get(key), payload)) continue
    draft.set(key, payload)
    set++
  }
  return countsOf(entries, set)
}

function countsOf({ keys }: Entries, set: number): OperationCounts {
  return { set, deleted: 0, unchanged: keys.length - set }
}

interface QueuedExclusive {
  readonly run: () => Promise<void>
}

/** What the committer needs of the store around it. */
export interface CommitterOptions {
  readonly engine: Engine
  /** Whether commits wait for the disk. */
  readonly flush: boolean
  readonly limits: HistoryLimits
  /** Finishes a large commit that this or another process has begun; see `bulk-commit.ts`. */
  readonly rollForward: () => Promise<void>
  /** Called with each commit of the engine as it begins. */
  readonly onBegin: (commit: Promise<unknown>) => void
  /** Called with the new head after each commit that changed it, and the one that it met. */
  readonly onCommit: (head: Head, met: Head) => void
  /** Called with the head that a commit met and left as it was: whoever made it has seen that moment. */
  readonly onUnchanged: (head: Head) => void
}

/** The keys of a commit, and the records that it meets there, in the order of the sorted ones. */
interface KnownRecords {
  readonly keys: CommitKeys
  readonly records: readonly (Uint8Array | undefined)[]
}

const PENDING = Symbol('pending')

/** What a commit comes to that was made for callers instead. */
const GAVE_WAY = Symbol('gave way')

function keysOf(group: readonly QueuedChange[]): CommitKeys {
  const given: Uint8Array[] = []
  for (const item of group) item.addKeys(given)
  return new CommitKeys(given)
}

/** With so few keys and bytes, a commit takes less time than to hand it to another thread would. */
export const BRIEF_KEYS = 32
const BRIEF_BYTES = 32 * 1024

function isBrief(group: readonly QueuedChange[]): boolean {
  if (group.length > BRIEF_KEYS) return false
  let keys = 0
  let bytes = 0
  for (const item of group) {
    keys += item.keyCount
    bytes += item.bytes
  }
  return keys <= BRIEF_KEYS && bytes <= BRIEF_BYTES
}

/**
 * What a group of changes comes to, where that can be told without the records that are there; `undefined` where it cannot.
 * Its keys are put in order when it is called.
 */
function putsIn(group: readonly QueuedChange[]): (() => Puts) | undefined {
  const [first] = group
  if (group.length === 1 && first instanceof QueuedPuts)
    return () => inOrder(new CommitKeys(first.entries.keys), first.entries.payloads, true)
  const payloads: Payload[] = []
  for (const item of group) {
    if (!(item instanceof QueuedPut)) return undefined
    payloads.push(item.payload)
  }
  return () => inOrder(keysOf(group), payloads, false)
}

/** @param payloads of the keys as they were given: of those of one key, the last counts */
function inOrder(keys: CommitKeys, payloads: readonly Payload[], unlessEqual: boolean): Puts {
  const ordered = new Array<Payload>(keys.sorted.length)
  for (const [i, payload] of payloads.entries()) ordered[keys.placeOf(i)] = payload
  return { keys, payloads: ordered, unlessEqual }
}

/**
 * Makes all commits of one open store, one at a time and in the order in which they were asked for.
 *
 * Mutations that wait together share one commit: one lookup and one write a key, one log entry, one head. What is
 * asked for in the same tick, or while a commit is under way, therefore costs little more than one of them alone.
 */
export class Committer {
  readonly ids = new OperationIds()
  readonly #options: CommitterOptions
  readonly #queue: (QueuedChange | QueuedExclusive)[] = []
  readonly #outcomes = new Map<number, OperationCounts>()
  /** Counts what callers asked for, by which background work tells whether it should hold back. */
  activity = 0
  /** How many keys the store had when it was last asked. */
  #size = Number.POSITIVE_INFINITY
  #draining: Promise<void> | undefined
  #closed = false

  constructor(options: CommitterOptions) {
    this.#options = options
  }

  /** Queues a mutation. Resolves once it is committed, alone or with others. */
  mutate<T>(mutation: Mutation<T>): Promise<Committed<T>> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new StoreClosedError()
      this.#announce(mutation.keys.length)
      this.#enqueue(new QueuedMutation(this.ids.next(), mutation, resolve, reject))
    })
  }

  /** Queues the mutation that sets a key. `call` is told once it is committed, or of the error that it failed with. */
  put(key: Uint8Array, payload: Payload, call: PendingCall): void {
    if (this.#closed) throw new StoreClosedError()
    this.#enqueue(new QueuedPut(this.ids.next(), key, payload, call))
  }

  /** Queues the mutation that sets several keys. Resolves once it is committed, alone or with others. */
  putAll(entries: Entries): Promise<Committed<OperationCounts>> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new StoreClosedError()
      this.#announce(entries.keys.length)
      this.#enqueue(new QueuedPuts(this.ids.next(), entries, resolve, reject))
    })
  }

  /** Others are not to make commits while a large one is being prepared. */
  #announce(keys: number): void {
    const { engine, limits } = this.#options
    if (keys > limits.sliceKeys) engine.announce?.()
  }

  #enqueue(change: QueuedChange): void {
    this.activity++
    this.#queue.push(change)
    this.#start()
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

  /**
   * {@link Committer.exclusive} for background work. Changes that callers have asked for by the time that it has the write
   * lock go first, under that same lock: once, so that the work is done however busy they are. It is `brief` only while
   * nobody waits whose changes it would make.
   */
  background<T>(
    build: (view: View, batch: Batch, head: Head) => MaybePromise<ExclusiveResult<T>>,
    { brief = false }: Pick<ExclusiveOptions<never>, 'brief'> = {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new StoreClosedError()
      const run = async (): Promise<void> => {
        const value = await this.#giveWay(build, brief && this.#queue.length === 0)
        return value === GAVE_WAY ? this.#commit(build, { brief }).then(resolve, reject) : resolve(value)
      }
      this.#queue.push({ run: () => run().catch(reject) })
      this.#start()
    })
  }

  async #giveWay<T>(
    build: (view: View, batch: Batch, head: Head) => MaybePromise<ExclusiveResult<T>>,
    brief: boolean,
  ): Promise<T | typeof GAVE_WAY> {
    let group: readonly QueuedChange[] = []
    const commit = this.#commit<T | typeof GAVE_WAY, undefined>(
      (view, batch, head) => {
        if (group.length === 0) group = this.#takeGroup()
        if (group.length === 0) return build(view, batch, head)
        return whenReady(this.#readRecords(view, keysOf(group)), known =>
          whenReady(
            this.#change(group, view, batch, head, known),
            (changed): ExclusiveResult<typeof GAVE_WAY> => ({ ...changed, value: GAVE_WAY }),
          ),
        )
      },
      { brief },
    )
    // Only by its end is it known whom it was made for.
    await commit.catch(ignore)
    return this.#tell(group, commit)
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

  /** The changes at the front of the queue that share the next commit. */
  #takeGroup(): QueuedChange[] {
    const { groupKeys, groupBytes, fewKeys, fewGroupKeys } = this.#options.limits
    const mostKeys = this.#size <= fewKeys - fewGroupKeys ? fewGroupKeys : groupKeys
    const group: QueuedChange[] = []
    let keys = 0
    let bytes = 0
    for (const item of this.#queue) {
      if ('run' in item) break
      keys += item.keyCount
      bytes += item.bytes
      if (group.length > 0 && (keys > mostKeys || bytes > groupBytes)) break
      group.push(item)
    }
    this.#queue.splice(0, group.length)
    return group
  }

  async #commitGroup(group: readonly QueuedChange[]): Promise<void> {
    await this.#tell(group, this.#commitTogether(group)).catch(ignore)
  }

  async #commitTogether(group: readonly QueuedChange[]): Promise<void> {
    const putsOf = this.#options.engine.remote === true ? undefined : putsIn(group)
    if (putsOf !== undefined && (await this.#commitPuts(group, putsOf))) return
    await this.#commit<void, KnownRecords>(
      (view, batch, head, known) => this.#change(group, view, batch, head, known),
      // Keys are put in order here, and not before: others would commit meanwhile, and this commit be passed over.
      { early: view => this.#readRecords(view, keysOf(group)), brief: isBrief(group) },
    )
  }

  /** Commits changes that only set keys. Answers whether it has: it cannot where one of their records is damaged. */
  async #commitPuts(group: readonly QueuedChange[], putsOf: () => Puts): Promise<boolean> {
    const { limits } = this.#options
    const author = this.#authorOf(group)
    try {
      const written = await this.#commit<number, undefined>(
        (view, batch, head) =>
          whenReady(
            writePuts(view, batch, head, author, putsOf(), limits),
            ({ written, added }): ExclusiveResult<number> => {
              if (written === 0) return { value: written }
              const { sequence, size } = head
              return { value: written, head: { ...head, sequence: sequence + 1, size: size + added } }
            },
          ),
        { brief: isBrief(group) },
      )
      const [first] = group
      if (first instanceof QueuedPuts) first.madeElsewhere(countsOf(first.entries, written))
      return true
    } catch (error) {
      if (error instanceof DamagedPutError) return false
      throw error
    }
  }

  /** Tells the callers of changes what has become of them. */
  async #tell<T>(group: readonly QueuedChange[], commit: Promise<T>): Promise<T> {
    try {
      const value = await commit
      for (const item of group) item.committed(this.ids)
      return value
    } catch (error) {
      for (const item of group) item.failed(error)
      throw error
    }
  }

  /** Writes what the changes of a group come to. */
  #change(
    group: readonly QueuedChange[],
    view: View,
    batch: Batch,
    head: Head,
    known: KnownRecords,
  ): MaybePromise<ExclusiveResult<void>> {
    const author = this.#authorOf(group)
    return whenReady(this.#draft(group, head, known), draft =>
      whenReady(draft.flush(view, batch), ({ changes, growth }): ExclusiveResult<void> => {
        if (changes.length === 0) return { value: undefined }
        const sequence = head.sequence + 1
        appendLogEntry(batch, sequence, head.epoch, author, changes, this.#options.limits)
        return { value: undefined, head: { ...head, sequence, size: head.size + growth } }
      }),
    )
  }

  #authorOf(group: readonly QueuedChange[]): CommitAuthor {
    return {
      writer: this.ids.writer,
      firstOperation: (group[0] as QueuedChange).operation,
      lastOperation: (group.at(-1) as QueuedChange).operation,
    }
  }

  /** The draft of a commit after the changes of its group. */
  #draft(group: readonly QueuedChange[], head: Head, { keys, records }: KnownRecords): MaybePromise<Draft> {
    const { sliceKeys } = this.#options.limits
    return whenReady(Draft.of(head, keys, records, sliceKeys), draft => {
      let first = 0
      const applied = inSlices(group.length, sliceKeys, (start, end) => {
        for (let i = start; i < end; i++) {
          const item = group[i] as QueuedChange
          item.apply(draft, first)
          first += item.keyCount
        }
      })
      return whenReady(applied, () => draft)
    })
  }

  #readRecords(view: View, keys: CommitKeys): MaybePromise<KnownRecords> {
    const { engine, limits } = this.#options
    const { sorted } = keys
    // A server takes all of them in one round trip, and the event loop turns meanwhile.
    if (engine.remote === true || sorted.length <= limits.sliceKeys)
      return whenReady(view.getMany('live', sorted), records => ({ keys, records }))
    const records: (Uint8Array | undefined)[] = []
    const read = inSlices(sorted.length, limits.sliceKeys, (start, end) =>
      whenReady(view.getMany('live', sorted.slice(start, end)), found => {
        for (const record of found) records.push(record)
      }),
    )
    return whenReady(read, () => ({ keys, records }))
  }

  async #commit<T, R>(
    build: (view: View, batch: Batch, head: Head, early: R) => MaybePromise<ExclusiveResult<T>>,
    { early, evenIfPending, brief }: ExclusiveOptions<R>,
  ): Promise<T> {
    const { engine, flush, rollForward, onBegin, onCommit, onUnchanged } = this.#options
    for (;;) {
      let met: Head | undefined
      let committed: Head | undefined
      const commit = engine.commit<T | typeof PENDING>(
        (view, batch) =>
          whenBoth(view.get('meta', HEAD_KEY), early?.(view) as MaybePromise<R>, (stored, read) => {
            const head = decodeHead(stored)
            met = head
            this.#size = head.size
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
        { flush, brief },
      )
      onBegin(commit)
      const value = await commit
      if (value !== PENDING) {
        if (met === undefined) return value as T
        if (committed === undefined) onUnchanged(met)
        else onCommit(committed, met)
        return value as T
      }
      await rollForward()
    }
  }
}

/** Whoever waits for it has been told. */
function ignore(): void {}
