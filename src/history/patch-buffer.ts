import { toByteString } from '../core/bytes.ts'
import type { Engine, View } from '../engine/engine.ts'
import type { Committer } from './committer.ts'
import type { HistoryLimits } from './limits.ts'
import type { Payload } from './record.ts'
import { abandonStage, findStaged, newStageId, putStaged, type StageId, touchStage } from './stage.ts'

/** What a key shall hold; `undefined` for nothing. */
export interface Target {
  readonly key: Uint8Array
  readonly target: Payload | undefined
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
  #stage: StageId | undefined

  constructor(engine: Engine, committer: Committer, limits: HistoryLimits) {
    this.#engine = engine
    this.#committer = committer
    this.#limits = limits
  }

  /** The stage that holds the patch; `undefined` while it is in memory. Rows may be waiting beside it. */
  get stage(): StageId | undefined {
    return this.#stage
  }

  /** The rows in memory: all of them, or those not staged yet. */
  get rows(): Iterable<Target> {
    return this.#rows.values()
  }

  get rowsInMemory(): number {
    return this.#rows.size
  }

  /** Adds a target; a later one for the same key wins. Await {@link PatchBuffer.relieve} every now and then. */
  add(key: Uint8Array, target: Payload | undefined): void {
    this.#rows.set(toByteString(key), { key, target })
    this.#bytes += key.byteLength + (target?.bytes.byteLength ?? 0)
  }

  /** Moves rows to the stage if memory asks for it. */
  async relieve(): Promise<void> {
    const staged = this.#stage !== undefined
    const { patchKeys, patchBytes, stageRows, stageBytes } = this.#limits
    const keys = staged ? stageRows : patchKeys
    const bytes = staged ? stageBytes : patchBytes
    if (this.#rows.size >= keys || this.#bytes >= bytes) await this.flush()
  }

  /** Moves all rows in memory to the stage. */
  async flush(): Promise<void> {
    const stage = this.#stage ?? newStageId()
    this.#stage = stage
    const targets = [...this.#rows.values()]
    this.#rows = new Map()
    this.#bytes = 0
    const { stageRows, stageBytes } = this.#limits
    let start = 0
    do {
      let end = start
      for (let bytes = 0; end < targets.length && end - start < stageRows && bytes < stageBytes; end++) {
        bytes += (targets[end] as Target).target?.bytes.byteLength ?? 0
      }
      const part = targets.slice(start, end)
      await this.#committer.exclusive((_view, batch) => {
        touchStage(batch, stage, Date.now())
        for (const { key, target } of part) putStaged(batch, stage, key, target)
        return { value: undefined }
      })
      start = end
    } while (start < targets.length)
  }

  /** Which of these keys the patch has a target for. */
  async has(keys: readonly Uint8Array[]): Promise<boolean[]> {
    const found = keys.map(key => this.#rows.has(toByteString(key)))
    const stage = this.#stage
    if (stage === undefined) return found
    const view = this.#engine.read()
    try {
      const staged = await findStaged(view, stage, keys)
      return found.map((here, i) => here || staged[i] !== undefined)
    } finally {
      view.close()
    }
  }

  /** The target of a key that is in memory or staged, in a given view. `undefined` where the patch has none. */
  async find(
    view: View,
    keys: readonly Uint8Array[],
  ): Promise<({ target: Payload | undefined } | undefined)[]> {
    const staged = this.#stage === undefined ? [] : await findStaged(view, this.#stage, keys)
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
