import { channel, type TracingChannel, tracingChannel } from 'node:diagnostics_channel'

/**
 * The names of the channels of `node:diagnostics_channel` on which varve says what it does, at no cost while nobody
 * listens. docs/observability.md describes them.
 */
export const CHANNELS = {
  /** A tracing channel: a call begins and ends. Its messages are {@link OperationEvent}. */
  operation: 'varve:operation',
  /** A snapshot was taken or imported: {@link SnapshotEvent}. */
  snapshot: 'varve:snapshot',
  /** Snapshots left the list: {@link PruneEvent}. */
  prune: 'varve:prune',
  /** A packing pass over the history ended: {@link PackEvent}. */
  pack: 'varve:pack',
} as const

/** A call of a store. The same object is in all messages about one call. */
export interface OperationEvent {
  /** The method, such as `get`. */
  readonly operation: string
  /** The engine's name, such as `lmdb`. */
  readonly engine: string
  /** Bytes of the values that the call read or wrote, known when it has ended. */
  bytes?: number
  /** Why it failed, if it did. */
  error?: unknown
}

/** A snapshot that is on the list now. */
export interface SnapshotEvent {
  readonly engine: string
  readonly version: string
  readonly tags: readonly string[]
  /** How it came to be: by a call or by `autoSnapshotInterval`, or by an import. */
  readonly origin: 'taken' | 'imported'
}

/** Snapshots that have left the list: they were deleted, or a policy does not keep them. */
export interface PruneEvent {
  readonly engine: string
  /** Oldest first. */
  readonly versions: readonly string[]
  /** Whether the policy that the store keeps did it, as a snapshot was taken. */
  readonly automatic: boolean
}

/** A pass over the history in which superseded versions were packed into chains. */
export interface PackEvent {
  readonly engine: string
  /** How they were packed, such as `binary`. */
  readonly strategy: string
  /** Versions put into chains, those put there again included. */
  readonly versions: number
  /** Bytes of their values, not compressed. */
  readonly valueBytes: number
  /** Bytes of the chains written. */
  readonly writtenBytes: number
  /** How long the pass took. */
  readonly milliseconds: number
}

const operations: TracingChannel<string, OperationEvent> = tracingChannel(CHANNELS.operation)
// Asked for each call.
const { start, end, asyncStart, asyncEnd, error } = operations
const snapshots = channel(CHANNELS.snapshot)
const prunes = channel(CHANNELS.prune)
const packs = channel(CHANNELS.pack)

/** Whether anybody wants to know of calls. */
export function isTraced(): boolean {
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  )
}

/** Runs a call with messages about its beginning and its end. */
export function traceCall<T>(event: OperationEvent, call: () => Promise<T>): Promise<T> {
  return operations.tracePromise(call, event)
}

/** Says that an iteration begins. Returns what says that it has ended, or failed. */
export function traceIteration(event: OperationEvent): (error?: unknown) => void {
  start.publish(event)
  end.publish(event)
  return reason => {
    if (reason !== undefined) {
      event.error = reason
      error.publish(event)
    }
    asyncStart.publish(event)
    asyncEnd.publish(event)
  }
}

/** Says that a snapshot is on the list. The event is only made if somebody listens. */
export function publishSnapshot(event: () => SnapshotEvent): void {
  if (snapshots.hasSubscribers) snapshots.publish(event())
}

/** Says that snapshots have left the list. */
export function publishPrune(event: () => PruneEvent): void {
  if (prunes.hasSubscribers) prunes.publish(event())
}

/** Says that a packing pass has ended. */
export function publishPack(event: () => PackEvent): void {
  if (packs.hasSubscribers) packs.publish(event())
}
