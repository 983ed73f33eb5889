import { setImmediate as nextTurn } from 'node:timers/promises'
import { bytesEqual } from '../core/bytes.ts'
import { DataIntegrityError } from '../core/errors.ts'
import { counterAt, type KeyCodec, splitVersionKey } from '../core/key.ts'
import type { Page, Row, Table, View } from '../engine/engine.ts'
import { checkChangeRow, lastEpochOf } from './change-list.ts'
import { checkLogRow } from './commit-log.ts'
import { snapshotsSeeing } from './damage.ts'
import { decodeHead, HEAD_KEY, type Head } from './head.ts'
import { decodePayload, parseRecord, TOMBSTONE } from './record.ts'
import { listSnapshotRows } from './snapshot-table.ts'
import { versionsOf } from './version-row.ts'

/** Something that is not as it should be. */
export interface Problem {
  /** The table in which it was found. */
  readonly table: Table
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

/** Looks at every record in one view: its checksum, that its value decodes, and that the tables fit each other. */
export async function verify(view: View, keys: KeyCodec, options: VerifyOptions = {}): Promise<Verification> {
  const walk = new Walk(view, keys, options)
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
    let head: Head | undefined
    try {
      head = decodeHead(await this.#view.get('meta', HEAD_KEY))
      this.checked++
    } catch (error) {
      this.#report('meta', error)
    }
    await this.#live(head)
    await this.#history(head)
    await this.#each('log', checkLogRow)
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
