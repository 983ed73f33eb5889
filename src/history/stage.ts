import { randomInt } from 'node:crypto'
import { EMPTY_BYTES, fromByteString, toByteString } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { counterAt, counterKey } from '../core/key.ts'
import type { Batch, View } from '../engine/engine.ts'
import { openCounter, sealCounter } from './meta-row.ts'
import { encodeRecord, type Payload, parseRecord, TOMBSTONE_PAYLOAD } from './record.ts'

/**
 * Stages: rows of a large commit, written in many small ones and invisible until it is rolled forward.
 *
 * A row says what its key shall hold; a tombstone, that it shall be absent. The rows of a stage lie under its random
 * id, so that several may be prepared at once. A stage whose writer died is recognised by the time it was last
 * touched, and removed by maintenance.
 *
 * Within a stage the rows form **runs**, each in key order, as in an external merge sort: keys arrive in any order, and
 * to insert them one by one into one large tree would rewrite a page for each. A later run wins over an earlier one.
 */

const REGISTRY_PREFIX = Buffer.from('stage/')
const REGISTRY_END = Buffer.from('stage0')
const ID_BYTES = 6

/** A stage nobody touched for so long belongs to a writer that is gone. In milliseconds. */
const ABANDONED_AFTER = 60 * 60 * 1000

export type StageId = number

export function newStageId(): StageId {
  return randomInt(2 ** 47)
}

function registryKey(stage: StageId): Uint8Array {
  return Buffer.concat([REGISTRY_PREFIX, counterKey(stage)])
}

function putRegistry(batch: Batch, stage: StageId, touched: number): void {
  const key = registryKey(stage)
  batch.put('meta', key, sealCounter(key, touched))
}

/** Notes that the stage is in use at `now` (milliseconds). Every commit that adds to it does so. */
export function touchStage(batch: Batch, stage: StageId, now: number): void {
  putRegistry(batch, stage, now)
}

/** What a commit throws that finds its stage gone. */
export const STAGE_LOST: unique symbol = Symbol('stage lost')

/**
 * Looks whether a stage is still whole: a host whose clock is ahead may take it for abandoned.
 *
 * @throws {STAGE_LOST}
 */
export async function assertStaged(view: View, stage: StageId): Promise<void> {
  const key = registryKey(stage)
  const touched = await view.get('meta', key)
  if (touched === undefined || openCounter(key, touched) === 0) throw STAGE_LOST
}

/** Gives the stage to maintenance to remove. */
export function abandonStage(batch: Batch, stage: StageId): void {
  putRegistry(batch, stage, 0)
}

/** Ends the note of a stage whose rows are gone. */
function forgetStage(batch: Batch, stage: StageId): void {
  batch.delete('meta', registryKey(stage))
}

/** The stages that nobody will roll forward any more. */
export async function abandonedStages(view: View, now: number): Promise<StageId[]> {
  const stages: StageId[] = []
  let gt: Uint8Array = REGISTRY_PREFIX
  for (;;) {
    const page = await view.scan('meta', { gt, lt: REGISTRY_END })
    for (const { key, value } of page.rows) {
      if (openCounter(key, value) < now - ABANDONED_AFTER)
        stages.push(counterAt(key.subarray(REGISTRY_PREFIX.byteLength)))
    }
    const last = page.rows.at(-1)
    if (!page.more || last === undefined) return stages
    gt = last.key
  }
}

/** A run of a stage: they are numbered from 0. */
export interface RunId {
  readonly stage: StageId
  readonly run: number
}

function rowKey({ stage, run }: RunId, key: Uint8Array): Uint8Array {
  return Buffer.concat([counterKey(stage), counterKey(run), key])
}

/** Adds a row. `undefined` means that the key shall be absent. Runs are written in key order. */
export function putStaged(batch: Batch, run: RunId, key: Uint8Array, target: Payload | undefined): void {
  batch.put('staged', rowKey(run, key), encodeRecord(key, 0, target ?? TOMBSTONE_PAYLOAD))
}

export interface StagedRow {
  readonly key: Uint8Array
  readonly target: Payload
}

/** The keys of a run above a key, in key order. */
export async function scanRun(
  view: View,
  run: RunId,
  above: Uint8Array | undefined,
  limit: number,
): Promise<{ readonly keys: readonly Uint8Array[]; readonly more: boolean }> {
  const { rows, more } = await view.scan('staged', {
    ...(above === undefined ? { gte: rowKey(run, EMPTY_BYTES) } : { gt: rowKey(run, above) }),
    lt: rowKey({ ...run, run: run.run + 1 }, EMPTY_BYTES),
    limit,
    keysOnly: true,
  })
  return { keys: rows.map(row => row.key.subarray(2 * ID_BYTES)), more }
}

/** The rows of a stage at keys that are known to be in these runs. */
export async function readStaged(
  view: View,
  stage: StageId,
  found: readonly { readonly run: number; readonly key: Uint8Array }[],
): Promise<StagedRow[]> {
  const values = await view.getMany(
    'staged',
    found.map(({ run, key }) => rowKey({ stage, run }, key)),
  )
  return found.map(({ key }, i) => {
    const value = values[i]
    if (value === undefined) {
      throw new DataIntegrityError(
        'A row of a large commit is gone before it was rolled forward: the store is damaged.',
      )
    }
    return { key, target: parseRecord(key, value) }
  })
}

/** The targets of some keys; `undefined` for keys the stage does not hold. */
export async function findStaged(
  view: View,
  stage: StageId,
  runs: number,
  keys: readonly Uint8Array[],
): Promise<(Payload | undefined)[]> {
  const found = new Array<Payload | undefined>(keys.length).fill(undefined)
  let missing = keys.map((_, i) => i)
  for (let run = runs - 1; run >= 0 && missing.length > 0; run--) {
    const values = await view.getMany(
      'staged',
      missing.map(i => rowKey({ stage, run }, keys[i] as Uint8Array)),
    )
    for (const [j, i] of missing.entries()) {
      const value = values[j]
      if (value !== undefined) found[i] = parseRecord(keys[i] as Uint8Array, value)
    }
    missing = missing.filter(i => found[i] === undefined)
  }
  return found
}

/** Removes at most `limit` rows of a stage. Returns whether any are left. */
export async function removeStagedRows(
  view: View,
  batch: Batch,
  stage: StageId,
  limit: number,
): Promise<boolean> {
  const page = await view.scan('staged', {
    gte: counterKey(stage),
    lt: counterKey(stage + 1),
    limit,
    keysOnly: true,
  })
  for (const row of page.rows) batch.delete('staged', row.key)
  // Its writer may be alive after all: it has to see that rows are missing.
  if (page.more) abandonStage(batch, stage)
  else forgetStage(batch, stage)
  return page.more
}

const PENDING_KEY = Buffer.from('pending')
const LAST_BULK_KEY = Buffer.from('last-bulk')

/**
 * A large commit that has been decided and is being rolled forward, by whoever comes next if its writer dies.
 *
 * `state` makes the staged rows the current state; `snapshot` makes them a snapshot and leaves the current state.
 */
export interface PendingCommit {
  readonly kind: 'state' | 'snapshot'
  readonly stage: StageId
  /** How many runs the stage has. */
  readonly runs: number
  readonly writer: string
  readonly operation: number
  /** The last sequence before it: its own entries follow, and are not visible until it ends. */
  readonly since: number
  /** Rows up to this key (as a byte string) have been rolled forward. */
  readonly cursor?: string
  readonly growth: number
  readonly set: number
  readonly deleted: number
  /** Of a `snapshot`: the metadata it will have, as a codec byte and base64. */
  readonly metadata?: { readonly codec: number; readonly bytes: string }
}

export function putPending(batch: Batch, pending: PendingCommit): void {
  batch.put(
    'meta',
    PENDING_KEY,
    encodeRecord(PENDING_KEY, 0, { codec: 1, bytes: Buffer.from(JSON.stringify(pending)) }),
  )
}

/** A large commit that has ended, and the number of keys it left. */
export interface FinishedCommit extends PendingCommit {
  readonly size: number
}

/** So many large commits are remembered that have ended, for writers whose commit was finished by another process. */
const MAX_FINISHED = 32

/** Ends a pending commit, and keeps what it did for the writer that asks. */
export async function finishPending(view: View, batch: Batch, pending: FinishedCommit): Promise<void> {
  batch.delete('meta', PENDING_KEY)
  const { metadata: _, cursor: __, ...summary } = pending
  const finished = [summary, ...(await readFinished(view))].slice(0, MAX_FINISHED)
  batch.put(
    'meta',
    LAST_BULK_KEY,
    encodeRecord(LAST_BULK_KEY, 0, { codec: 1, bytes: Buffer.from(JSON.stringify(finished)) }),
  )
}

export async function readPending(view: View): Promise<PendingCommit> {
  const pending = await readJson<PendingCommit>(view, PENDING_KEY)
  if (pending === undefined) {
    throw new DataIntegrityError(
      'The store says that a large commit is pending, but not which: it is damaged.',
    )
  }
  return pending
}

/** What the last large commits did, the newest first. */
export async function readFinished(view: View): Promise<readonly FinishedCommit[]> {
  const stored = await readJson<FinishedCommit | FinishedCommit[]>(view, LAST_BULK_KEY)
  if (stored === undefined) return []
  // Stores of before have one alone.
  return Array.isArray(stored) ? stored : [stored]
}

async function readJson<T>(view: View, key: Uint8Array): Promise<T | undefined> {
  const stored = await view.get('meta', key)
  if (stored === undefined) return undefined
  return JSON.parse(Buffer.from(parseRecord(key, stored).bytes).toString('utf8')) as T
}

/** A cursor of {@link PendingCommit} as a key, and back. */
export function cursorKey(pending: PendingCommit): Uint8Array | undefined {
  return pending.cursor === undefined ? undefined : fromByteString(pending.cursor)
}

export function toCursor(key: Uint8Array): string {
  return toByteString(key)
}
