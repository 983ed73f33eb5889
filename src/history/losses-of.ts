import type { Damage, Table } from '../engine/engine.ts'

/** The damage by which rows of a table may be missing. */
export function lossesOf(damage: readonly Damage[], table: Table): readonly Damage[] {
  return damage.filter(loss => loss.isLossOfRows && (loss.table === undefined || loss.table === table))
}
