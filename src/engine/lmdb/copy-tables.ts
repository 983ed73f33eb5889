import { EngineError } from '../../core/errors.ts'
import { type EngineCompactOptions, type Row, TABLES, type Table, type View } from '../engine.ts'
import type { Writer } from './writer.ts'

/** A transaction of the copy holds about so many bytes: what is in memory, and for how long the event loop waits. */
const BATCH_BYTES = 4 << 20

interface TableRows {
  readonly table: Table
  readonly rows: readonly Row[]
}

/**
 * Copies all rows of a view to empty tables, and flushes them. As they come in key order, LMDB fills one page after
 * the other and leaves no room in between, which it does not when it copies its pages by itself.
 *
 * @throws the signal's reason once it is aborted; what is there by then is to be thrown away
 */
export async function copyTables(
  source: View,
  target: Writer,
  { signal, onProgress }: EngineCompactOptions,
): Promise<void> {
  let batch: TableRows[] = []
  let bytes = 0
  let rows = 0

  async function write(flush: boolean): Promise<void> {
    const taken = batch
    batch = []
    bytes = 0
    await target.transact(nothing, () => append(target, taken), { flush })
  }

  for (const table of TABLES) {
    let last: Uint8Array | undefined
    for (let more = true; more; ) {
      signal?.throwIfAborted()
      const page = await source.scan(table, { gt: last })
      batch.push({ table, rows: page.rows })
      rows += page.rows.length
      for (const { key, value } of page.rows) bytes += key.byteLength + value.byteLength
      last = page.rows.at(-1)?.key ?? last
      more = page.more
      if (bytes < BATCH_BYTES) continue
      await write(false)
      onProgress?.(rows)
    }
  }
  await write(true)
  onProgress?.(rows)
  signal?.throwIfAborted()
}

function append({ tables, noteCommit }: Writer, batch: readonly TableRows[]): void {
  noteCommit(batch.reduce((sum, { rows }) => sum + rows.length, 0))
  for (const { table, rows } of batch) {
    const handle = tables[table]
    for (const { key, value } of rows) {
      // lmdb-js's types leave its answer out: false where the key does not come after all others of the table.
      const appended = handle.putSync(key, value, APPEND) as unknown
      if (appended === true) continue
      throw new EngineError(
        `The rows of the table "${table}" are not in order: the data file is damaged. Restore it from a backup or an ` +
          'export.',
      )
    }
  }
}

const APPEND = { append: true } as const

function nothing(): void {}
