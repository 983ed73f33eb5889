import { SnapshotNotFoundError } from '../core/errors.ts'
import type { Persistence } from '../persistence/persistence.ts'
import type { VersionId } from '../snapshot/version.ts'
import type { ReplayStep } from './replay-step.ts'

/** So many snapshots are deleted at a time. */
const TOGETHER = 1000

/** The lines of a history that have been replayed to a store, and what is needed to take them back. */
export class ReplayedLines {
  readonly versions: VersionId[] = []
  readonly #store: Persistence
  /** What the keys that were written held before; `undefined` where there was none. */
  readonly #before = new Map<string, unknown>()

  constructor(store: Persistence) {
    this.#store = store
  }

  /** Makes the changes of a line, and the snapshot after it. */
  async apply({ put, del, options }: ReplayStep): Promise<void> {
    const met = await this.#store.transaction(async transaction => {
      const before = new Map<string, unknown>()
      const note = async (key: string): Promise<void> => {
        if (!this.#before.has(key) && !before.has(key)) before.set(key, await transaction.get(key))
      }
      for (const [key, value] of put) {
        await note(key)
        transaction.set(key, value)
      }
      for (const key of del) {
        await note(key)
        await transaction.delete(key)
      }
      return before
    })
    for (const [key, value] of met) this.#before.set(key, value)
    this.versions.push(await this.#store.createSnapshot(options))
  }

  /** Leaves the state and the list of snapshots as they were before the first line. */
  async takeBack(): Promise<void> {
    await this.#store.transaction(async transaction => {
      for (const [key, value] of this.#before) {
        if (value === undefined) await transaction.delete(key)
        else transaction.set(key, value)
      }
    })
    for (let start = 0; start < this.versions.length; start += TOGETHER) {
      const together = this.versions.slice(start, start + TOGETHER)
      await Promise.all(together.map(version => this.#store.deleteSnapshot(version).catch(ignoreAbsent)))
    }
  }
}

/** The policy of the store may have been faster. */
function ignoreAbsent(error: unknown): void {
  if (!(error instanceof SnapshotNotFoundError)) throw error
}
