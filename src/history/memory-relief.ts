import type { Engine } from '../engine/engine.ts'

/** After about so many bytes the engine is asked to let go of what it holds of them. */
const BYTES = 8 * 1024 * 1024
/** What one row of a large table brings into memory at least: a page of it. */
const ROW_BYTES = 4096

/** Keeps long work from filling memory with what the engine has read and written for it. */
export class MemoryRelief {
  readonly #engine: Engine
  #bytes = 0

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** To be called with what was read and written since the last call, and without a view of one's own open. */
  async worked(rows: number, bytes: number): Promise<void> {
    this.#bytes += rows * ROW_BYTES + bytes
    if (this.#bytes < BYTES) return
    this.#bytes = 0
    await this.#engine.trim?.()
  }
}
