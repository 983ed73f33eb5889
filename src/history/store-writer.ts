import { randomUUID } from 'node:crypto'
import { bytesEqual } from '../core/bytes.ts'
import { ConflictError, EngineError } from '../core/errors.ts'
import { type Batch, type Engine, TABLES, type Table, type View } from '../engine/engine.ts'
import { copyMark, FORMAT_KEY, isCopyMark } from './format.ts'

/** A commit writes at most so many rows, or about so many bytes. */
const COMMIT_ROWS = 2000
const COMMIT_BYTES = 4 * 1024 * 1024

/** Writes a new store row by row. Until it is finished, nobody can open it. */
export class StoreWriter {
  readonly #engine: Engine
  readonly #mark: Uint8Array = copyMark(randomUUID())
  #waiting: { readonly table: Table; readonly key: Uint8Array; readonly value: Uint8Array }[] = []
  #bytes = 0

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** Takes the place of the store. What an earlier writer has left there unfinished is removed. */
  async begin(): Promise<void> {
    const isUnfinished = await this.#engine.commit(async (view, batch) => {
      const isUnfinished = isCopyMark(await view.get('meta', FORMAT_KEY))
      for (const table of isUnfinished ? [] : TABLES) {
        if ((await view.scan(table, { limit: 1, keysOnly: true })).rows.length === 0) continue
        throw new EngineError(
          'The place for the new store holds data already. Give a new place, or remove what is there first.',
          { code: 'COPY_TARGET_NOT_EMPTY' },
        )
      }
      batch.put('meta', FORMAT_KEY, this.#mark)
      return isUnfinished
    })
    // The table meta is written last, by the commit that finishes.
    for (const table of isUnfinished ? TABLES : []) {
      for (let more = table !== 'meta'; more; ) more = await this.#removeSome(table)
    }
  }

  #removeSome(table: Table): Promise<boolean> {
    return this.commit(async (view, batch) => {
      const { rows } = await view.scan(table, { limit: COMMIT_ROWS, keysOnly: true })
      for (const { key } of rows) batch.delete(table, key)
      return rows.length > 0
    })
  }

  /** Writes a row, soon. */
  async put(table: Table, key: Uint8Array, value: Uint8Array): Promise<void> {
    this.#waiting.push({ table, key, value })
    this.#bytes += value.byteLength
    if (this.#waiting.length >= COMMIT_ROWS || this.#bytes >= COMMIT_BYTES) await this.flush()
  }

  async flush(): Promise<void> {
    const rows = this.#waiting
    this.#waiting = []
    this.#bytes = 0
    if (rows.length === 0) return
    await this.commit((_view, batch) => {
      for (const { table, key, value } of rows) batch.put(table, key, value)
    })
  }

  /** Makes a commit of its own. */
  async commit<T>(build: (view: View, batch: Batch) => T | Promise<T>, flush = false): Promise<T> {
    return this.#engine.commit(
      async (view, batch) => {
        const mark = await view.get('meta', FORMAT_KEY)
        if (mark === undefined || !bytesEqual(mark, this.#mark)) {
          throw new ConflictError('Another call has taken over the place for the new store; this one ends.')
        }
        return build(view, batch)
      },
      { flush },
    )
  }
}
