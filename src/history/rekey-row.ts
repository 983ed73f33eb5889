import { counterAt, type KeyCodec, splitVersionKey, versionKey } from '../core/key.ts'
import type { Row, Table } from '../engine/engine.ts'
import { rekeyChangeRow } from './change-list.ts'
import { type Rekey, rekeyLogRow } from './commit-log.ts'
import { encodeRecord, parseRecord } from './record.ts'

/** Rewrites the rows of one store for another, in which the keys of the state are stored otherwise. */
export class RowRekeyer {
  readonly #rekey: Rekey
  #epoch = -1
  #run = 0

  constructor(from: KeyCodec, to: KeyCodec) {
    this.#rekey = key => to.encode(from.decode(key))
  }

  /**
   * The row as the other store is to have it; `undefined` for rows that are of no use there: those of large commits that are
   * being prepared here. The rows of a table are to be given in their order.
   *
   * @throws {DataIntegrityError} if the row is damaged.
   */
  row(table: Table, row: Row): Row | undefined {
    switch (table) {
      case 'live': {
        const key = this.#rekey(row.key)
        const record = parseRecord(row.key, row.value)
        return { key, value: encodeRecord(key, record.birth, record) }
      }
      case 'history': {
        const { key: old, birth } = splitVersionKey(row.key)
        const key = this.#rekey(old)
        const record = parseRecord(old, row.value)
        return { key: versionKey(key, birth), value: encodeRecord(key, record.birth, record) }
      }
      case 'log':
        return rekeyLogRow(row, this.#rekey)
      case 'changes':
        return rekeyChangeRow(row, this.#nextRun(counterAt(row.key)), this.#rekey)
      case 'staged':
        return undefined
      default:
        return row
    }
  }

  #nextRun(epoch: number): number {
    if (epoch !== this.#epoch) this.#run = 0
    this.#epoch = epoch
    return this.#run++
  }
}
