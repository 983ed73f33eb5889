import { setImmediate as nextTurn } from 'node:timers/promises'
import { bytesEqual } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { counterAt, type KeyCodec, PLAIN_KEYS, splitVersionKey } from '../core/key.ts'
import { abortSignal, callback, checkOptions } from '../core/options.ts'
import type { Damage, Engine, Page, Row, Table, View } from '../engine/engine.ts'
import { withView } from '../engine/with-view.ts'
import { checkChangeRow, lastEpochOf } from './change-list.ts'
import { checkMetaRow } from './check-meta.ts'
import { checkLogRow } from './commit-log.ts'
import { snapshotsSeeing, unlessDamaged } from './damage.ts'
import { requireFormat } from './format.ts'
import { decodeHead, HEAD_KEY, type Head } from './head.ts'
import { decodePayload, parseRecord, TOMBSTONE } from './record.ts'
import { listSnapshotRows } from './snapshot-table.ts'
import { versionsOf } from './version-row.ts'

/** Something that is not as it should be. */
export interface Problem {
  /** The table in which it was found; absent where that cannot be told, or it concerns no table. */
  readonly table?: Table
  /** The key of the state that is affected, where there is one. */
  readonly key?: string
  /** The snapshots at which that key is affected, where it is not so in the current state. */
  readonly versions?: readonly string[]
  readonly message: string
}

/** What a verification found. */
export interface Verification {
  /** Whether there are no problems. */
  readonly ok: boolean
  /** Records looked at. */
  readonly checked: number
  readonly problems: readonly Problem[]
}

/** What a verification may be given. */
export interface VerifyOptions {
  /** Cancels: the call rejects with its reason. */
  readonly signal?: AbortSignal
  /** Called every now and then with the records checked so far. */
  readonly onProgress?: (checked: number) => void
}

/**
 * Looks at every record of a store: its checksum, that its value decodes, and that the tables fit each other; before that,
 * where the engine can be damaged below its records, at what lies there. A damaged store does no harm to who verifies it.
 */
export async function verifyEngine(engine: Engine, options: VerifyOptions = {}): Promise<Verification> {
  if (engine.salvage === undefined) return withView(engine, view => verifyView(view, keysOf(engine), options))
  const view = await engine.salvage({ signal: options.signal })
  try {
    return await verifyView(view, keysOf(engine), options, view.damage)
  } finally {
    view.close()
  }
}

/**
 * Looks at every record of a store that need not be open: what `verify()` of an open one does, and the same for a store that is
 * too damaged to be opened. Nothing is written. The store may be in use.
 *
 * @throws {EngineError} if there is no store, or one of a newer format (`FORMAT_TOO_NEW`).
 * @throws the signal's reason once it is aborted.
 *
 * @example
 * ```ts
 * import { lmdb, verify } from 'varve'
 *
 * const { ok } = await verify(lmdb('./state')).catch(error => ({ ok: error.code }))
 * console.log(ok) // → ENGINE_NO_STORE
 * ```
 */
export async function verify(engine: Engine, options: VerifyOptions = {}): Promise<Verification> {
  const checked = checkVerifyOptions(options)
  if (engine.salvage !== undefined) return verifyEngine(engine, checked)
  await engine.open()
  try {
    return await verifyEngine(engine, checked)
  } finally {
    await engine.close()
  }
}

/** @throws {InvalidArgumentError} */
export function checkVerifyOptions(options: unknown): VerifyOptions {
  return checkOptions<VerifyOptions>(options, { signal: abortSignal, onProgress: callback }, 'verify()')
}

function keysOf(engine: Engine): KeyCodec {
  return engine.keyCodec ?? PLAIN_KEYS
}

async function verifyView(
  view: View,
  keys: KeyCodec,
  options: VerifyOptions,
  damage: readonly Damage[] = [],
): Promise<Verification> {
  const walk = new Walk(view, keys, options)
  for (const { table, message } of damage) walk.problems.push({ message, ...(table && { table }) })
  await walk.run()
  return { ok: walk.problems.length === 0, checked: walk.checked, problems: walk.problems }
}

class Walk {
  readonly problems: Problem[] = []
  checked = 0
  readonly #view: View
  readonly #keys: KeyCodec
  readonly #options: VerifyOptions

  constructor(view: View, keys: KeyCodec, options: VerifyOptions) {
    this.#view = view
    this.#keys = keys
    this.#options = options
  }

  async run(): Promise<void> {
    try {
      await requireFormat(this.#view)
    } catch (error) {
      // What a newer varve wrote would look damaged all over.
      if (!(error instanceof DataIntegrityError)) throw error
      this.#report('meta', error)
    }
    const stored = await this.#view.get('meta', HEAD_KEY)
    const head = await unlessDamaged(() => decodeHead(stored))
    await this.#each('meta', checkMetaRow)
    await this.#live(head)
    await this.#history(head)
    await this.#log(head)
    let covered = 0
    await this.#each('changes', row => {
      checkChangeRow(row)
      const first = counterAt(row.key)
      if (first < covered) throw new Error(`it lies inside a packed row that reaches to epoch ${covered}`)
      covered = lastEpochOf(row)
    })
    await this.#snapshots(head)
    // Of their rows each is checked by whoever needs it; an engine that encrypts tells here whether they are whole.
    await this.#readable('meta')
    await this.#readable('staged')
  }

  async #readable(table: Table): Promise<void> {
    try {
      for (let gt: Uint8Array | undefined, more = true; more; ) {
        this.#options.signal?.throwIfAborted()
        const page: Page = await this.#view.scan(table, { gt })
        gt = page.rows.at(-1)?.key ?? gt
        more = page.more
      }
    } catch (error) {
      if (!(error instanceof DataIntegrityError)) throw error
      this.#report(table, error)
    }
  }

  /** Every entry up to the newest, each with all its parts. */
  async #log(head: Head | undefined): Promise<void> {
    let last: { readonly sequence: number; readonly part: number } | undefined
    await this.#each('log', row => {
      checkLogRow(row)
      const [sequence, part] = [counterAt(row.key), counterAt(row.key, 1)]
      const follows =
        last === undefined
          ? // What has been given up may be there still.
            head === undefined || sequence < head.logStart || (sequence === head.logStart && part === 0)
          : sequence === last.sequence
            ? part === last.part + 1
            : sequence === last.sequence + 1 && part === 0
      last = { sequence, part }
      if (!follows) throw new Error(`entry ${sequence} of the commit log does not follow the one before it`)
    })
    if (head !== undefined && head.sequence >= head.logStart && last?.sequence !== head.sequence) {
      this.problems.push({
        table: 'log',
        message: `the head says that the newest entry of the log is ${head.sequence}, and it is ${last?.sequence ?? 'missing'}`,
      })
    }
  }

  async #live(head: Head | undefined): Promise<void> {
    let size = 0
    await this.#each('live', ({ key, value }) => {
      size++
      // An encrypted key has a checksum of its own.
      if (!this.#keys.ordered) this.#keys.decode(key)
      const record = parseRecord(key, value)
      if (head !== undefined && head.pending === 0 && record.birth > head.epoch) {
        throw new Error(`the record was written in epoch ${record.birth}, after the open epoch ${head.epoch}`)
      }
      decodePayload(record)
    })
    if (head !== undefined && head.pending === 0 && head.size !== size) {
      this.problems.push({ table: 'live', message: `the head says ${head.size} keys, and there are ${size}` })
    }
  }

  async #history(head: Head | undefined): Promise<void> {
    let last: { readonly key: Uint8Array; readonly birth: number } | undefined
    await this.#each('history', row => {
      const { key } = splitVersionKey(row.key)
      for (const version of versionsOf(row)) {
        if (head !== undefined && head.pending === 0 && version.birth > head.epoch) {
          throw new Error(
            `a version was written in epoch ${version.birth}, after the open epoch ${head.epoch}`,
          )
        }
        if (last !== undefined && bytesEqual(last.key, key) && version.birth <= last.birth) {
          throw new Error('its versions are out of order, or overlap')
        }
        if (version.codec !== TOMBSTONE) decodePayload(version)
        last = { key, birth: version.birth }
      }
    })
  }

  async #snapshots(head: Head | undefined): Promise<void> {
    try {
      const rows = await listSnapshotRows(this.#view)
      this.checked += rows.length
      let previous = 0
      for (const { version, epoch, metadata } of rows) {
        decodePayload(metadata)
        if (epoch <= previous || (head !== undefined && epoch >= head.epoch)) {
          this.problems.push({
            table: 'snapshots',
            message: `snapshot v${version} seals epoch ${epoch}, which is out of order`,
          })
        }
        previous = epoch
      }
      if (head !== undefined && head.latestSnapshot !== previous) {
        this.problems.push({
          table: 'meta',
          message: `the head says that the newest snapshot seals epoch ${head.latestSnapshot}, and it seals ${previous}`,
        })
      }
    } catch (error) {
      this.#report('snapshots', error)
    }
  }

  async #each(table: Table, check: (row: Row) => void): Promise<void> {
    let gt: Uint8Array | undefined
    for (let more = true; more; ) {
      this.#options.signal?.throwIfAborted()
      const page = await this.#view.scan(table, { gt })
      for (const row of page.rows) {
        this.checked++
        try {
          check(row)
        } catch (error) {
          this.#report(table, error, row, await this.#versions(table, row))
        }
      }
      gt = page.rows.at(-1)?.key ?? gt
      more = page.more
      this.#options.onProgress?.(this.checked)
      await nextTurn()
    }
  }

  /** The names of the snapshots that see into a row of the history. */
  async #versions(table: Table, row: Row): Promise<readonly string[]> {
    if (table !== 'history') return []
    const versions = await snapshotsSeeing(this.#view, row.key).catch(() => [])
    return versions.map(version => `v${version}`)
  }

  #report(table: Table, error: unknown, row?: Row, versions: readonly string[] = []): void {
    const message = error instanceof Error ? error.message : String(error)
    this.problems.push({
      table,
      message,
      ...affectedKey(table, row, this.#keys),
      ...(versions.length > 0 && { versions }),
    })
  }
}

function affectedKey(table: Table, row: Row | undefined, keys: KeyCodec): { readonly key?: string } {
  if (row === undefined) return {}
  try {
    if (table === 'live') return { key: keys.decode(row.key) }
    return table === 'history' ? { key: keys.decode(splitVersionKey(row.key).key) } : {}
  } catch {
    return {}
  }
}
