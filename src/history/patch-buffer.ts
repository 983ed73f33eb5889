import { compareBytes, toByteString } from '../core/bytes.ts'
import type { Engine, View } from '../engine/engine.ts'
import { withView } from '../engine/with-view.ts'
import { BloomFilter } from './bloom-filter.ts'
import type { Committer } from './committer.ts'
import type { HistoryLimits } from './limits.ts'
import { MemoryRelief } from './memory-relief.ts'
import { type Payload, payloadLength } from './record.ts'
import {
  abandonStage,
  assertStaged,
  findStaged,
  newStageId,
  putStaged,
  type StageId,
  touchStage,
} from './stage.ts'
import { StageReader } from './stage-reader.ts'

/** 16 MiB: with ten million keys, one in 300 is looked for that is not there; with a hundred million, most are. */
const FILTER_BITS = 2 ** 27
const FILTER_PROBES = 4

/** What a key shall hold; `undefined` for nothing. */
export interface Target {
  readonly key: Uint8Array
  readonly target: Payload | undefined
  /** The live record that the target was found to differ from, if it was kept. */
  readonly current?: CurrentRecord | undefined
}

/** A live record as it is stored; `undefined` where there is none. */
export interface CurrentRecord {
  readonly stored: Uint8Array | undefined
}

/**
 * What a large commit is to change, gathered before it is made.
 *
 * Small patches stay in memory. Those that outgrow it are written to a stage of the store, in commits that nobody
 * sees, so that memory stays bounded whatever the size of the patch.
 */
export class PatchBuffer {
  readonly #engine: Engine
  readonly #committer: Committer
  readonly #limits: HistoryLimits
  #rows = new Map<string, Target>()
  #bytes = 0
  /** Of the live records that were kept. */
  #currentBytes = 0
  #stage: StageId | undefined
  #runs = 0
  #rowsStaged = 0
  /** The keys that were staged, so that most of those that were not need not be looked for. */
  #staged: BloomFilter | undefined
  readonly #relief: MemoryRelief

  constructor(engine: Engine, committer: Committer, limits: HistoryLimits) {
    this.#engine = engine
    this.#committer = committer
    this.#limits = limits
    this.#relief = new MemoryRelief(engine)
  }

  /** The stage that holds the patch; `undefined` while it is in memory. Rows may be waiting beside it. */
  get stage(): StageId | undefined {
    return this.#stage
  }

  /** How many runs the stage has. */
  get runs(): number {
    return this.#runs
  }

  /** How many rows were staged; one that was staged twice counts twice. */
  get rowsStaged(): number {
    return this.#rowsStaged
  }

  /** The rows in memory: all of them, or those not staged yet. */
  get rows(): Iterable<Target> {
    return this.#rows.values()
  }

  get rowsInMemory(): number {
    return this.#rows.size
  }

  /**
   * Adds a target; a later one for the same key wins. Await {@link PatchBuffer.relieve} every now and then. `current` is the
   * live record, where that was read and differs: unless others commit meanwhile, it is not read again.
   */
  add(key: Uint8Array, target: Payload | undefined, current?: CurrentRecord): void {
    // As much again as the patch may take.
    const isKept = current !== undefined && this.#currentBytes < this.#limits.patchBytes
    this.#rows.set(toByteString(key), { key, target, current: isKept ? current : undefined })
    this.#bytes += key.byteLength + (target === undefined ? 0 : payloadLength(target))
    if (isKept) this.#currentBytes += current.stored?.byteLength ?? 0
  }

  /** Moves rows to the stage if memory asks for it. */
  async relieve(): Promise<void> {
    const { patchKeys, patchBytes } = this.#limits
    if (this.#rows.size >= patchKeys || this.#bytes >= patchBytes) await this.flush()
  }

  /** Moves all rows in memory to the stage, as a run. @throws {STAGE_LOST} */
  async flush(): Promise<void> {
    let isNew = this.#stage === undefined
    const stage = this.#stage ?? newStageId()
    this.#stage = stage
    this.#staged ??= new BloomFilter(FILTER_BITS, FILTER_PROBES)
    const run = { stage, run: this.#runs }
    const targets = [...this.#rows.values()].sort((a, b) => compareBytes(a.key, b.key))
    this.#rows = new Map()
    this.#bytes = 0
    this.#currentBytes = 0
    this.#runs++
    const { stageRows, stageBytes } = this.#limits
    let start = 0
    do {
      let end = start
      let bytes = 0
      for (; end < targets.length && end - start < stageRows && bytes < stageBytes; end++) {
        bytes += (targets[end] as Target).target?.bytes.byteLength ?? 0
      }
      const part = targets.slice(start, end)
      for (const { key } of part) this.#staged.add(key)
      this.#rowsStaged += part.length
      const known = !isNew
      await this.#committer.exclusive(async (view, batch) => {
        if (known) await assertStaged(view, stage)
        touchStage(batch, stage, Date.now())
        for (const { key, target } of part) putStaged(batch, run, key, target)
        return { value: undefined }
      })
      await this.#relief.worked(0, bytes)
      isNew = false
      start = end
    } while (start < targets.length)
  }

  /** Which of these keys the patch has a target for. */
  async has(keys: readonly Uint8Array[]): Promise<boolean[]> {
    const found = keys.map(key => this.#rows.has(toByteString(key)))
    const stage = this.#stage
    const filter = this.#staged
    if (stage === undefined || filter === undefined) return found
    const candidates = [...keys.keys()].filter(i => !found[i] && filter.mayHave(keys[i] as Uint8Array))
    if (candidates.length === 0) return found
    const wanted = candidates.map(i => keys[i] as Uint8Array)
    const staged = await withView(this.#engine, view => findStaged(view, stage, this.#runs, wanted))
    for (const [j, i] of candidates.entries()) found[i] = staged[j] !== undefined
    return found
  }

  /**
   * What tells which keys the patch has a target for, as it is now. Keys are asked for in ascending order over all calls:
   * however many there are, the stage is read once.
   */
  hasInOrder(): (keys: readonly Uint8Array[]) => Promise<boolean[]> {
    const rows = new Set(this.#rows.keys())
    if (this.#stage === undefined) return async keys => keys.map(key => rows.has(toByteString(key)))
    const reader = new StageReader(this.#stage, this.#runs, undefined)
    return keys =>
      withView(this.#engine, async view => {
        const found: boolean[] = []
        for (const bytes of keys) {
          const key = toByteString(bytes)
          let staged = reader.peek()
          while (staged === undefined || staged < key) {
            if (staged !== undefined) reader.skip()
            else if (!(await reader.fill(view))) break
            staged = reader.peek()
          }
          found.push(staged === key || rows.has(key))
        }
        return found
      })
  }

  /** The target of a key that is in memory or staged, in a given view. `undefined` where the patch has none. */
  async find(
    view: View,
    keys: readonly Uint8Array[],
  ): Promise<({ target: Payload | undefined } | undefined)[]> {
    const staged = this.#stage === undefined ? [] : await findStaged(view, this.#stage, this.#runs, keys)
    return keys.map((key, i) => {
      const row = this.#rows.get(toByteString(key))
      if (row !== undefined) return row
      const target = staged[i]
      return target && { target }
    })
  }

  /** Gives up the patch. What was staged is left to maintenance. */
  async discard(): Promise<void> {
    const stage = this.#stage
    this.#rows = new Map()
    if (stage === undefined) return
    await this.#committer.exclusive((_view, batch) => {
      abandonStage(batch, stage)
      return { value: undefined }
    })
  }
}
