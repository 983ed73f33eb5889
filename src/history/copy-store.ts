import { randomUUID } from 'node:crypto'
import { bytesEqual, compareBytes } from '../core/bytes.ts'
import { ConflictError, EngineError, InvalidArgumentError } from '../core/errors.ts'
import { type KeyCodec, PLAIN_KEYS } from '../core/key.ts'
import { abortSignal, callback, checkOptions } from '../core/options.ts'
import {
  type Batch,
  type Engine,
  type Page,
  type Row,
  TABLES,
  type Table,
  type View,
} from '../engine/engine.ts'
import { withView } from '../engine/with-view.ts'
import { copyMark, FORMAT_KEY, isCopyMark, readFormat } from './format.ts'
import { decodeHead, HEAD_KEY } from './head.ts'
import { RowRekeyer } from './rekey-row.ts'

/** How far a copy has come. */
export interface CopyProgress {
  /** Records compared or copied so far, and in all where the source knows (else 0). */
  readonly records: number
  readonly recordsTotal: number
  /** Bytes of their keys and values. */
  readonly bytes: number
}

/** What {@link copyStore} may be given. */
export interface CopyOptions {
  /** Cancels. What was copied stays, and a later call goes on from there. */
  readonly signal?: AbortSignal
  /** Called every now and then. */
  readonly onProgress?: (progress: CopyProgress) => void
}

/** What a copy did. */
export interface CopySummary {
  /** Records of the source. */
  readonly records: number
  /** Bytes of their keys and values. */
  readonly bytes: number
  /** Records that were written; fewer where an earlier call had come some way. */
  readonly written: number
}

/** A commit writes at most so many records, or about so many bytes. */
const COMMIT_RECORDS = 2000
const COMMIT_BYTES = 4 * 1024 * 1024

/**
 * Copies a whole store from one engine to another: the current state and every snapshot, to the byte.
 *
 * The source may be in use; what is copied is its state of one moment. It is streamed, with the memory of a few pages. The
 * target must be empty. Until the last commit, nobody can open it; if the copy is cancelled or dies, a later call with the same
 * target compares what is there with what the source holds by then, and writes the difference. Both engines are opened and
 * closed by the call.
 *
 * @throws {InvalidArgumentError} if source and target are the same engine, or an option is not as it should be.
 * @throws {EngineError} if an engine fails, the source holds no store (`COPY_SOURCE_EMPTY`), or the target holds one
 * already (`COPY_TARGET_NOT_EMPTY`).
 * @throws {ConflictError} if another call took over the same target.
 *
 * @example
 * ```ts
 * import { copyStore, lmdb, memory } from 'varve'
 *
 * const { records } = await copyStore(lmdb('./state'), memory()).catch(error => ({ records: error.code }))
 * console.log(records) // → COPY_SOURCE_EMPTY
 * ```
 */
export async function copyStore(from: Engine, to: Engine, options: CopyOptions = {}): Promise<CopySummary> {
  const { signal, onProgress } = checkOptions<CopyOptions>(
    options,
    { signal: abortSignal, onProgress: callback },
    'copyStore()',
  )
  if (from === to) throw new InvalidArgumentError('A store cannot be copied to itself: give another engine.')
  signal?.throwIfAborted()
  await from.open()
  try {
    await to.open()
    try {
      const view = from.read()
      try {
        return await new Copy(from, view, to, signal, onProgress).run()
      } finally {
        view.close()
      }
    } finally {
      await to.close()
    }
  } finally {
    await from.close()
  }
}

class Copy {
  readonly #from: Engine
  readonly #view: View
  readonly #to: Engine
  readonly #signal: AbortSignal | undefined
  readonly #onProgress: ((progress: CopyProgress) => void) | undefined
  /** Where keys are encrypted, here or there. */
  readonly #rekeyer: RowRekeyer | undefined
  /** Tells this copy from another one to the same target. */
  readonly #mark: Uint8Array = copyMark(randomUUID())
  #records = 0
  #recordsTotal = 0
  #bytes = 0
  #written = 0

  constructor(
    from: Engine,
    view: View,
    to: Engine,
    signal: AbortSignal | undefined,
    onProgress: ((progress: CopyProgress) => void) | undefined,
  ) {
    this.#from = from
    this.#view = view
    this.#to = to
    this.#signal = signal
    this.#onProgress = onProgress
    const [ours, theirs] = [from, to].map(engine => engine.keyCodec ?? PLAIN_KEYS) as [KeyCodec, KeyCodec]
    if (!(ours.ordered && theirs.ordered)) this.#rekeyer = new RowRekeyer(ours, theirs)
  }

  async run(): Promise<CopySummary> {
    await this.#checkSource()
    let resumed = await this.#begin()
    if (this.#rekeyer !== undefined && resumed) {
      // What is there is in an order of its own, in which it cannot be compared.
      for (const table of TABLES) if (table !== 'meta') await this.#clear(table)
      resumed = false
    }
    if (this.#onProgress !== undefined) {
      const { tables } = await this.#from.stats()
      for (const table of Object.values(tables)) this.#recordsTotal += table.entries
    }
    // The meta table last: it makes a store of the others.
    for (const table of TABLES) if (table !== 'meta') await this.#copyTable(table, resumed)
    await this.#finish()
    return { records: this.#records, bytes: this.#bytes, written: this.#written }
  }

  async #checkSource(): Promise<void> {
    const format = await this.#view.get('meta', FORMAT_KEY)
    if (format === undefined) {
      throw new EngineError('There is no store to be copied: the source is empty.', {
        code: 'COPY_SOURCE_EMPTY',
      })
    }
    await readFormat(format, this.#view)
    if (this.#rekeyer === undefined || decodeHead(await this.#view.get('meta', HEAD_KEY)).pending === 0)
      return
    throw new ConflictError(
      'A large commit is under way in the source, whose keys are stored otherwise than those of the target. Try again when it has ended; if its writer is gone, opening the source ends it.',
    )
  }

  /** Takes the target. Returns whether an earlier copy had begun there. */
  #begin(): Promise<boolean> {
    return this.#to.commit(async (view, batch) => {
      const stored = await view.get('meta', FORMAT_KEY)
      batch.put('meta', FORMAT_KEY, this.#mark)
      if (isCopyMark(stored)) return true
      for (const table of TABLES) {
        if ((await view.scan(table, { limit: 1, keysOnly: true })).rows.length === 0) continue
        throw new EngineError(
          'The target of the copy holds data already. Copy to a new place, or remove what is there first.',
          { code: 'COPY_TARGET_NOT_EMPTY' },
        )
      }
      return false
    })
  }

  async #copyTable(table: Table, resumed: boolean): Promise<void> {
    let after: Uint8Array | undefined
    let next: Promise<Page> | undefined = this.#page(table, undefined)
    while (next !== undefined) {
      const page: Page = await next
      const last = page.rows.at(-1)?.key
      const isLast = !page.more || last === undefined
      // The next page is on its way while this one is written.
      next = isLast ? undefined : this.#page(table, last)
      next?.catch(() => undefined)
      const through = isLast ? undefined : last
      if (resumed) await this.#write(table, await this.#difference(table, page.rows, after, through))
      else await this.#write(table, this.#rekeyed(table, page.rows))
      this.#count(page.rows)
      after = last
    }
  }

  #rekeyed(table: Table, rows: readonly Row[]): readonly Row[] {
    const rekeyer = this.#rekeyer
    if (rekeyer === undefined) return rows
    return rows.flatMap(row => rekeyer.row(table, row) ?? [])
  }

  async #clear(table: Table): Promise<void> {
    for (let more = true; more; ) {
      this.#signal?.throwIfAborted()
      const page = await withView(this.#to, view => view.scan(table, { keysOnly: true }))
      await this.#commit(batch => {
        for (const { key } of page.rows) batch.delete(table, key)
      })
      more = page.more
    }
  }

  async #page(table: Table, after: Uint8Array | undefined): Promise<Page> {
    this.#signal?.throwIfAborted()
    return this.#view.scan(table, { gt: after })
  }

  #count(rows: readonly Row[]): void {
    this.#records += rows.length
    for (const { key, value } of rows) this.#bytes += key.byteLength + value.byteLength
    this.#onProgress?.({
      records: this.#records,
      recordsTotal: this.#recordsTotal,
      bytes: this.#bytes,
    })
  }

  /** What has to be written so that the target holds exactly `rows` in `(after, through]`. */
  async #difference(
    table: Table,
    rows: readonly Row[],
    after: Uint8Array | undefined,
    through: Uint8Array | undefined,
  ): Promise<Change[]> {
    const changes: Change[] = []
    let position = 0
    const view = this.#to.read()
    try {
      for (let gt = after, more = true; more; ) {
        const page: Page = await view.scan(table, { gt, lte: through })
        for (const { key, value } of page.rows) {
          while (position < rows.length && compareBytes((rows[position] as Row).key, key) < 0) {
            changes.push(rows[position++] as Row)
          }
          const row = rows[position]
          if (row === undefined || compareBytes(row.key, key) !== 0) changes.push({ key, value: undefined })
          else {
            if (!bytesEqual(row.value, value)) changes.push(row)
            position++
          }
        }
        gt = page.rows.at(-1)?.key ?? gt
        more = page.more && page.rows.length > 0
      }
    } finally {
      view.close()
    }
    changes.push(...rows.slice(position))
    return changes
  }

  async #write(table: Table, changes: readonly Change[]): Promise<void> {
    for (let start = 0; start < changes.length; ) {
      let end = start
      for (
        let bytes = 0;
        end < changes.length && end - start < COMMIT_RECORDS && bytes < COMMIT_BYTES;
        end++
      ) {
        bytes += (changes[end] as Change).value?.byteLength ?? 0
      }
      const part = changes.slice(start, end)
      this.#signal?.throwIfAborted()
      await this.#commit(batch => {
        for (const { key, value } of part) {
          if (value === undefined) batch.delete(table, key)
          else batch.put(table, key, value)
        }
      })
      this.#written += part.length
      start = end
    }
  }

  /** Makes a store of what was copied. */
  async #finish(): Promise<void> {
    const rows: Row[] = []
    for (let next: Page | undefined = await this.#page('meta', undefined); next !== undefined; ) {
      rows.push(...next.rows)
      next = next.more && next.rows.length > 0 ? await this.#page('meta', next.rows.at(-1)?.key) : undefined
    }
    await this.#commit(
      batch => {
        for (const { key, value } of rows) batch.put('meta', key, value)
      },
      { flush: true },
    )
    this.#written += rows.length
    this.#count(rows)
  }

  #commit(write: (batch: Batch) => void, options?: { readonly flush: boolean }): Promise<void> {
    return this.#to.commit(async (view, batch) => {
      const mark = await view.get('meta', FORMAT_KEY)
      if (mark === undefined || !bytesEqual(mark, this.#mark)) {
        throw new ConflictError('Another call of copyStore() has taken over the target; this one ends.')
      }
      write(batch)
    }, options)
  }
}

/** A row of the target as it shall be; without a value, absent. */
interface Change {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}
