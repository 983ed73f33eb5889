import { compareBytes } from '../core/bytes.ts'
import type { Damage, Table } from '../engine/engine.ts'
import { lossesOf } from './losses-of.ts'

/** Keys of the state from `from` to `to`, both included; an end that is absent is open. */
export interface KeySpan {
  readonly from: Uint8Array | undefined
  readonly to: Uint8Array | undefined
}

/** The spans of keys of which something may be lost. */
export class LostSpans {
  readonly #spans: KeySpan[] = []

  add(span: KeySpan): void {
    this.#spans.push(span)
  }

  /** Adds what the damage of a table tells. `toKey` makes a key of the state of one of the table. */
  addDamage(damage: readonly Damage[], table: Table, toKey: (key: Uint8Array) => Uint8Array): void {
    for (const { gte, lt } of lossesOf(damage, table)) {
      this.add({ from: gte && toKey(gte), to: lt && toKey(lt) })
    }
  }

  get isEmpty(): boolean {
    return this.#spans.length === 0
  }

  has(key: Uint8Array): boolean {
    return this.#spans.some(
      ({ from, to }) =>
        (from === undefined || compareBytes(key, from) >= 0) &&
        (to === undefined || compareBytes(key, to) <= 0),
    )
  }
}
