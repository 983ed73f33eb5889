import { bytesEqual, fromByteString } from '../core/bytes.ts'
import { publishPack } from '../core/diagnostics.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { keyText, lastVersionKey, splitVersionKey, VERSION_SUFFIX_BYTES, versionKey } from '../core/key.ts'
import type { Logger } from '../core/logger.ts'
import { Turns } from '../core/turns.ts'
import {
  type ChainVersion,
  type EncodedChain,
  encodeChain,
  encodeChainsStepwise,
  openChain,
} from '../delta/chain-record.ts'
import type { Engine, Row, View } from '../engine/engine.ts'
import { readChangedKeys } from './change-list.ts'
import type { Committer } from './committer.ts'
import { type Head, withHead } from './head.ts'
import type { HistoryLimits } from './limits.ts'
import { openCounter, openJsonRow, sealCounter, sealMeta } from './meta-row.ts'
import { versionRows } from './reader.ts'
import { CHAIN, fromPayload, type ParsedRecord, parseRecord, TOMBSTONE } from './record.ts'
import { firstSnapshotEpoch } from './snapshot-table.ts'
import { StoredBytesChange } from './stored-bytes.ts'
import { toPatches } from './structural-chain.ts'
import { encodeChainRow, parseVersionRow, versionsOf } from './version-row.ts'

/**
 * How superseded values are stored: left as they were (`none`), each compressed by itself (`compress`), or in chains
 * of binary edits (`binary`), or of structural patches (`dict`).
 */
export type PackStrategy = 'none' | 'compress' | 'binary' | 'dict'

/** How the packer makes chains. */
export interface PackerOptions {
  readonly strategy: PackStrategy
  /** At most so many versions a chain record. */
  readonly maxChainLength: number
}

/** What packing has done to a store since it was made, by strategy. */
export type PackTotals = Readonly<Partial<Record<PackStrategy, StrategyTotals>>>

/** What packing by one strategy has done. */
export interface StrategyTotals {
  /** Versions put into chain records, those put there again included. */
  readonly versions: number
  /** Bytes of their values, not compressed. */
  readonly valueBytes: number
  /** Bytes of the chain records written. */
  readonly writtenBytes: number
}

const NO_TOTALS: StrategyTotals = { versions: 0, valueBytes: 0, writtenBytes: 0 }

const PACKED_KEY = Buffer.from('packed')
const TOTALS_KEY = Buffer.from('pack-totals')

/** Loose versions of one key are packed when they take so many bytes, if there are at least a few. */
const LOOSE_BYTES = 256 * 1024
const FEW_VERSIONS = 4
/** A chain with so many bytes of edits is not merged any more: reading it would cost too much. */
const FULL_EDIT_BYTES = 32 * 1024
/** A key is packed in groups of about so many bytes of values, by which memory is bounded; but two may always meet. */
const MAX_GROUP_BYTES = 8 * 1024 * 1024
/** Nor is a chain of several versions merged any more, if the newest of them is so large. */
const LARGE_CHAIN_BYTES = 4 * 1024 * 1024
/** A commit of the packer replaces rows of about so many bytes, and so many keys. */
interface CommitBounds {
  readonly bytes: number
  readonly keys: number
}
/** In the background: callers' commits wait for one of these. */
const SMALL_COMMITS: CommitBounds = { bytes: 128 * 1024, keys: 16 }
/** Where somebody waits for all to be packed: each commit costs the same whatever it holds. */
const LARGE_COMMITS: CommitBounds = { bytes: 1024 * 1024, keys: 128 }

/** Progress is told after about so many rows. */
const PROGRESS_ROWS = 100
/** Keys that are looked at together where each call is a round trip. */
const REMOTE_KEYS = 32
/** Keys that are looked at in one view, at most: most are not to be packed yet, and to open one takes longer than to see that. */
const VIEW_KEYS = 64

/** What a row adds to the chain in it: codec, birth and checksum. */
const ROW_OVERHEAD = 12
/** A structural chain is read patch by patch, and kept short. */
const MAX_STRUCTURAL_LENGTH = 64
/** So often is a chain encoded anew to make it fit. */
const MAX_FITTING = 3

/** A key and rows of it that are to be packed together, oldest first. */
interface PackableKey {
  readonly key: Uint8Array
  readonly rows: readonly Row[]
}

/** Rows of one key and the rows that hold the same versions in fewer bytes. */
interface Replacement {
  readonly old: readonly Row[]
  readonly new: readonly Row[]
  readonly versions: number
  readonly valueBytes: number
  /** What the replacement makes of the bytes that each epoch takes. */
  readonly stored: StoredBytesChange
}

/**
 * Packs superseded versions into chain records.
 *
 * Versions wait whole until some have gathered, so that no chain is rewritten at every seal: 32 loose ones make a chain,
 * and eight short chains a long one. A version is thus written loose once and into chains twice. The encoding
 * happens outside the write exclusion, key by key with turns of the event loop between; the commit that replaces rows
 * checks that they are still what was packed. A crash anywhere leaves the rows loose or packed, never both or neither.
 */
export class Packer {
  readonly #engine: Engine
  readonly #committer: Committer
  readonly #options: PackerOptions
  readonly #limits: HistoryLimits
  /** Keys that are looked at together. */
  readonly #together: number

  readonly #logger: Logger

  constructor(
    engine: Engine,
    committer: Committer,
    options: PackerOptions,
    limits: HistoryLimits,
    logger: Logger,
  ) {
    this.#engine = engine
    this.#together = engine.remote === true ? REMOTE_KEYS : 1
    this.#committer = committer
    // Compressed by themselves, versions stand in chains of one.
    this.#options = options.strategy === 'compress' ? { ...options, maxChainLength: 1 } : options
    this.#limits = limits
    this.#logger = logger
  }

  /**
   * Packs the keys of the epochs sealed since the last pass, once there are some, unless that came up to the epoch `goal`.
   * Returns whether it did. `giveWay` is awaited after each commit; commits are larger while the work `isAwaited`.
   */
  async step(
    goal: number,
    isStopped: () => boolean,
    giveWay: () => Promise<void>,
    isAwaited: () => boolean,
  ): Promise<boolean> {
    if (this.#options.strategy === 'none') return false
    const due = await this.#read(async (view, head) => {
      const stored = await view.get('meta', PACKED_KEY)
      // What was written before the oldest snapshot has superseded nothing that is kept.
      const oldest = (await firstSnapshotEpoch(view)) ?? head.epoch
      const packed = Math.max(oldest, stored === undefined ? 0 : openCounter(PACKED_KEY, stored))
      const sealed = head.epoch - 1
      if (packed >= goal || sealed - packed < this.#limits.packEpochs) return undefined
      return { after: packed, through: sealed }
    })
    if (due === undefined) return false
    const pending = new PendingCommit(this.#committer, this.#options.strategy, isAwaited, giveWay)
    const started = performance.now()
    const turns = new Turns()
    let above = ''
    for (let more = true; more; ) {
      const page = await this.#read(view => readChangedKeys(view, due, this.#limits, above))
      for (let start = 0; start < page.keys.length; ) {
        if (isStopped()) return false
        const keys = page.keys.slice(start, start + VIEW_KEYS).map(fromByteString)
        const { looked, packable } = await this.#read((view, head) => this.#nextPackable(view, head, keys))
        for (const { key, rows } of packable)
          await this.#unlessDamaged(key, () => this.#pack(key, rows, pending, turns, false))
        start += looked
        await turns.breathe()
      }
      above = page.keys.at(-1) ?? above
      more = page.more
    }
    await pending.flush()
    await this.#committer.background((_view, batch) => {
      batch.put('meta', PACKED_KEY, sealCounter(PACKED_KEY, due.through))
      return { value: undefined }
    })
    this.#publish(pending, started)
    return true
  }

  /** Packs whatever can be packed, key by key. `onProgress` is told how many rows were looked at so far. */
  async packAll(signal: AbortSignal | undefined, onProgress: (rows: number) => void): Promise<void> {
    if (this.#options.strategy === 'none') return
    const pending = new PendingCommit(this.#committer, this.#options.strategy, () => true)
    const started = performance.now()
    const turns = new Turns()
    let gt: Uint8Array | undefined
    let seen = 0
    let told = 0
    for (;;) {
      signal?.throwIfAborted()
      const found = await this.#read(async (view, head) => {
        const keys = await nextKeys(view, gt, this.#together)
        const all = (key: Uint8Array) => this.#unlessDamaged(key, () => this.#allPackable(view, head, key))
        return Promise.all(keys.map(async key => ({ key, packable: await all(key) })))
      })
      const last = found.at(-1)
      if (last === undefined) break
      for (const { key, packable } of found) {
        if (packable === undefined) continue
        await this.#unlessDamaged(key, async () => {
          for (const group of packable.groups) await this.#pack(key, group, pending, turns, true)
        })
        seen += packable.rows
      }
      if (seen >= told + PROGRESS_ROWS) {
        onProgress(seen)
        told = seen
      }
      gt = lastVersionKey(last.key)
      await turns.breathe()
    }
    await pending.flush()
    onProgress(seen)
    this.#publish(pending, started)
  }

  #publish({ done }: PendingCommit, started: number): void {
    if (done.versions === 0) return
    publishPack(() => ({
      engine: this.#engine.name,
      strategy: this.#options.strategy,
      ...done,
      milliseconds: performance.now() - started,
    }))
  }

  /** A key with a damaged record stays as it is, and keeps no other from being packed. */
  async #unlessDamaged<T>(key: Uint8Array, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work()
    } catch (err) {
      if (!(err instanceof DataIntegrityError)) throw err
      this.#logger.warn({ err, key: keyText(key) }, 'varve: a damaged key is not packed')
      return undefined
    }
  }

  /** What packing has done so far. */
  static async totals(view: View): Promise<PackTotals> {
    const stored = await view.get('meta', TOTALS_KEY)
    if (stored === undefined) return {}
    return JSON.parse(Buffer.from(openJsonRow(TOTALS_KEY, stored)).toString('utf8')) as PackTotals
  }

  #read<T>(read: (view: View, head: Head) => Promise<T>): Promise<T> {
    return withHead(this.#engine, read)
  }

  /** Looks at keys, one after the other, until some are to be packed; and at how many. */
  async #nextPackable(
    view: View,
    head: Head,
    keys: readonly Uint8Array[],
  ): Promise<{ readonly looked: number; readonly packable: readonly PackableKey[] }> {
    const look = async (key: Uint8Array): Promise<PackableKey> => {
      const rows = await this.#unlessDamaged(key, () => this.#packable(view, head, key))
      return { key, rows: rows ?? [] }
    }
    let looked = 0
    let packable: readonly PackableKey[] = []
    while (packable.length === 0 && looked < keys.length) {
      const some = keys.slice(looked, looked + this.#together)
      packable = (await Promise.all(some.map(look))).filter(({ rows }) => rows.length > 0)
      looked += some.length
    }
    return { looked, packable }
  }

  /** The newest rows of a key that are to be packed together, oldest first; none if it is not time yet. */
  async #packable(view: View, head: Head, key: Uint8Array): Promise<Row[]> {
    const loose: Row[] = []
    const short: Row[] = []
    let looseBytes = 0
    for await (const row of newestRows(view, key)) {
      const { record } = parseVersionRow(row)
      if (record.birth >= head.epoch) continue
      if (record.codec !== CHAIN) {
        if (short.length > 0 || (loose.length > 1 && looseBytes >= MAX_GROUP_BYTES)) break
        loose.push(row)
        looseBytes += row.value.byteLength
      } else {
        if (this.#isFull(record)) break
        short.push(row)
      }
    }
    const enough =
      loose.length >= Math.min(this.#limits.packVersions, this.#options.maxChainLength) ||
      (loose.length >= FEW_VERSIONS && looseBytes >= LOOSE_BYTES) ||
      (loose.length > 1 && looseBytes >= MAX_GROUP_BYTES)
    if (!enough) return []
    return [...loose, ...(short.length >= this.#limits.packFanOut ? short : [])].reverse()
  }

  /** Runs of rows of a key, oldest first, that packing together would make smaller, and how many rows it has in all. */
  async #allPackable(
    view: View,
    head: Head,
    key: Uint8Array,
  ): Promise<{ readonly groups: readonly Row[][]; readonly rows: number }> {
    const groups: Row[][] = []
    let group: Row[] = []
    let bytes = 0
    let rows = 0
    const close = (): void => {
      if (group.length > 1 || (group[0] !== undefined && isWorthPacking(group[0]))) groups.push(group)
      group = []
      bytes = 0
    }
    for await (const row of versionRows(view, key)) {
      rows++
      const { record } = parseVersionRow(row)
      if (record.birth >= head.epoch) break
      if (record.codec === CHAIN && this.#isFull(record)) {
        close()
        continue
      }
      if (group.length > 1 && bytes >= MAX_GROUP_BYTES) close()
      group.push(row)
      bytes += estimateBytes(record)
    }
    close()
    return { groups, rows }
  }

  #isFull(record: ParsedRecord): boolean {
    const chain = openChain(record.bytes)
    if (chain.births.length * 2 > this.#options.maxChainLength) return true
    if (chain.births.length > 1 && chain.memoryBytes > LARGE_CHAIN_BYTES) return true
    return chain.memoryBytes - chain.sizeOf(chain.births.length - 1) > FULL_EDIT_BYTES
  }

  /**
   * Chains of the versions; if they are to `fit`, cut where the engine wastes least. Where a record just passes a step
   * of the engine's rounding, one that ends before it, and a second for the rest, take less room.
   */
  async #encodeToFit(versions: readonly ChainVersion[], fit: boolean, turns: Turns): Promise<EncodedChain[]> {
    const { maxChainLength } = this.#options
    let best = await encodeInTurns(versions, maxChainLength, turns)
    const storedBytes = this.#engine.storedBytes?.bind(this.#engine)
    if (!fit || storedBytes === undefined) return best
    const cost = (chains: readonly EncodedChain[]): number =>
      chains.reduce((sum, { record }) => sum + storedBytes(record.byteLength + ROW_OVERHEAD), 0)
    let least = cost(best)
    const longest = Math.max(...best.map(({ record }) => record.byteLength + ROW_OVERHEAD))
    const room = previousStep(longest, storedBytes)
    let length = Math.floor((Math.min(maxChainLength, versions.length) * room) / longest)
    for (let attempt = 0; attempt < MAX_FITTING && length > FEW_VERSIONS; attempt++) {
      const chains = await encodeInTurns(versions, length, turns)
      const total = cost(chains)
      if (total < least) {
        best = chains
        least = total
      }
      const reached = Math.max(...chains.map(({ record }) => record.byteLength + ROW_OVERHEAD))
      if (reached <= room) break
      length = Math.min(length - 1, Math.floor((length * room) / reached))
    }
    return best
  }

  async #pack(
    key: Uint8Array,
    rows: readonly Row[],
    pending: PendingCommit,
    turns: Turns,
    fit: boolean,
  ): Promise<void> {
    let valueBytes = 0
    let versions: ChainVersion[] = []
    for (const row of rows) {
      for (const version of versionsOf(row)) {
        const { birth } = version
        if (version.codec === TOMBSTONE) {
          versions.push({ birth, codec: TOMBSTONE, payload: version.bytes })
          continue
        }
        const { codec, bytes } = fromPayload(version)
        valueBytes += bytes.byteLength
        versions.push({ birth, codec, payload: bytes })
      }
      await turns.breathe()
    }
    if (versions.some(({ codec }) => codec === TOMBSTONE)) {
      // The live record wins over a tombstone of the same birth, and will one day stand under its key.
      const stored = await this.#engine.get('live', key)
      const liveBirth = stored && parseRecord(key, stored).birth
      versions = versions.filter(({ birth, codec }) => codec !== TOMBSTONE || birth !== liveBirth)
    }
    const chains =
      this.#options.strategy === 'dict'
        ? encodeStructural(versions, this.#options)
        : await this.#encodeToFit(versions, fit, turns)
    const packed = chains.map(({ firstBirth, record }) => ({
      key: versionKey(key, firstBirth),
      value: encodeChainRow(key, firstBirth, record),
    }))
    const stored = new StoredBytesChange()
    for (const row of rows) stored.removeRow(row)
    for (const row of packed) stored.addRow(row)
    await pending.add({ old: rows, new: packed, versions: versions.length, valueBytes, stored })
  }
}

/** Replacements that share a commit. */
class PendingCommit {
  readonly #committer: Committer
  readonly #strategy: PackStrategy
  readonly #isAwaited: () => boolean
  /** Awaited after each commit. */
  readonly #giveWay: (() => Promise<void>) | undefined
  #replacements: Replacement[] = []
  #bytes = 0
  /** What has been committed. */
  done: StrategyTotals = NO_TOTALS

  constructor(
    committer: Committer,
    strategy: PackStrategy,
    isAwaited: () => boolean,
    giveWay?: () => Promise<void>,
  ) {
    this.#committer = committer
    this.#strategy = strategy
    this.#isAwaited = isAwaited
    this.#giveWay = giveWay
  }

  async add(replacement: Replacement): Promise<void> {
    this.#replacements.push(replacement)
    for (const row of replacement.old) this.#bytes += row.value.byteLength
    const { bytes, keys } = this.#isAwaited() ? LARGE_COMMITS : SMALL_COMMITS
    if (this.#bytes >= bytes || this.#replacements.length >= keys) await this.flush()
  }

  async flush(): Promise<void> {
    const replacements = this.#replacements
    if (replacements.length === 0) return
    this.#replacements = []
    this.#bytes = 0
    const added = await this.#committer.background(async (view, batch) => {
      const [totals, ...unchanged] = await Promise.all([
        Packer.totals(view),
        ...replacements.map(({ old }) => areUnchanged(view, old)),
      ])
      const stored = new StoredBytesChange()
      let { versions, valueBytes, writtenBytes } = NO_TOTALS
      for (const [i, replacement] of replacements.entries()) {
        // Freed, or packed by another process, meanwhile: what was made of the rows is out of date.
        if (unchanged[i] !== true) continue
        for (const row of replacement.old) batch.delete('history', row.key)
        for (const row of replacement.new) {
          batch.put('history', row.key, row.value)
          writtenBytes += row.value.byteLength
        }
        versions += replacement.versions
        valueBytes += replacement.valueBytes
        stored.addAll(replacement.stored)
      }
      await stored.flush(view, batch)
      const value = { versions, valueBytes, writtenBytes }
      const updated: PackTotals = {
        ...totals,
        [this.#strategy]: plus(totals[this.#strategy] ?? NO_TOTALS, value),
      }
      batch.put('meta', TOTALS_KEY, sealMeta(TOTALS_KEY, Buffer.from(JSON.stringify(updated))))
      return { value }
    })
    this.done = plus(this.done, added)
    await this.#giveWay?.()
  }
}

function plus(one: StrategyTotals, other: StrategyTotals): StrategyTotals {
  return {
    versions: one.versions + other.versions,
    valueBytes: one.valueBytes + other.valueBytes,
    writtenBytes: one.writtenBytes + other.writtenBytes,
  }
}

async function areUnchanged(view: View, rows: readonly Row[]): Promise<boolean> {
  const values = await view.getMany(
    'history',
    rows.map(row => row.key),
  )
  return values.every((value, i) => value !== undefined && bytesEqual(value, (rows[i] as Row).value))
}

/** The next keys that have rows in the history; more than one only where the engine finds them in one call. */
async function nextKeys(view: View, gt: Uint8Array | undefined, most: number): Promise<Uint8Array[]> {
  const { rows } =
    view.leap === undefined
      ? await view.scan('history', { gt, limit: 1, keysOnly: true })
      : await view.leap('history', { gt, limit: most }, VERSION_SUFFIX_BYTES)
  return rows.map(row => splitVersionKey(row.key).key)
}

/** The rows of a key in the history, newest first. */
async function* newestRows(view: View, key: Uint8Array): AsyncGenerator<Row, void, undefined> {
  const gte = versionKey(key, 0)
  let lte: Uint8Array | undefined = lastVersionKey(key)
  let lt: Uint8Array | undefined
  for (;;) {
    const page = await view.scan('history', { gte, lte, lt, reverse: true, limit: 40 })
    yield* page.rows
    lt = page.rows.at(-1)?.key
    lte = undefined
    if (!page.more || lt === undefined) return
  }
}

/**
 * Structural chains of the versions, filled from the newest on. They are cut before patches are made: a patch needs the
 * next newer value in the same record.
 */
function encodeStructural(
  versions: readonly ChainVersion[],
  { maxChainLength }: PackerOptions,
): EncodedChain[] {
  const length = Math.min(maxChainLength, MAX_STRUCTURAL_LENGTH)
  const chains: EncodedChain[] = []
  for (let end = versions.length; end > 0; end -= length) {
    const part = versions.slice(Math.max(0, end - length), end)
    chains.unshift({ firstBirth: (part[0] as ChainVersion).birth, record: encodeChain(toPatches(part)) })
  }
  return chains
}

async function encodeInTurns(
  versions: readonly ChainVersion[],
  maxVersions: number,
  turns: Turns,
): Promise<EncodedChain[]> {
  const steps = encodeChainsStepwise(versions, { maxVersions })
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
    await turns.breathe()
  }
}

/** The greatest length that an engine stores in less room than `bytes`. */
function previousStep(bytes: number, storedBytes: (bytes: number) => number): number {
  const room = storedBytes(bytes)
  let low = 0
  let high = bytes
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if (storedBytes(middle) < room) low = middle
    else high = middle - 1
  }
  return low
}

/** A single loose version is packed for the better compression if it is not small. */
function isWorthPacking(row: Row): boolean {
  return row.value.byteLength >= 512 && parseVersionRow(row).record.codec !== CHAIN
}

/** About how many bytes the values of a row take when they are not compressed. */
function estimateBytes(record: ParsedRecord): number {
  if (record.codec !== CHAIN) return record.bytes.byteLength
  return openChain(record.bytes).memoryBytes
}
