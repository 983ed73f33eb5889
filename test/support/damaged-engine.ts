import {
  type Damage,
  type Engine,
  type Row,
  type StrayPage,
  TABLES,
  type Table,
} from '../../src/engine/engine.ts'
import { allRows } from '../../src/history/touched-keys.ts'
import { memory } from '../../src/index.ts'

/** Rows of a table, as a page of a file would have them. */
export interface TablePage extends StrayPage {
  readonly table: Table
}

/** All rows of a store that is open, in pages. */
export async function pagesOf(engine: Engine, written: number, rowsEach: number): Promise<TablePage[]> {
  const view = engine.read()
  try {
    const pages: TablePage[] = []
    for (const table of TABLES) {
      let rows: Row[] = []
      for await (const row of allRows(view, table)) {
        if (rows.length === 0 || rows.length === rowsEach) {
          rows = []
          pages.push({ table, written, rows })
        }
        rows.push(row)
      }
    }
    return pages
  } finally {
    view.close()
  }
}

/** A store of which only some pages can be read. */
export interface DamagedStore {
  /** All pages of the store, in order. */
  readonly pages: readonly TablePage[]
  /** Whether a page can be read. */
  readonly isWhole: (page: TablePage) => boolean
  /** Pages that nothing leads to. */
  readonly strays: readonly StrayPage[]
  readonly mayStraysBeOutdated: boolean
}

/** An engine that reads it as one does whose files are damaged: it says which keys were on the pages that are lost. */
export async function damagedEngine(store: DamagedStore): Promise<Engine> {
  const engine = memory()
  const damage: Damage[] = []
  await engine.open()
  await engine.commit((_view, batch) => {
    for (const [i, page] of store.pages.entries()) {
      const { table, rows } = page
      if (store.isWhole(page)) {
        for (const { key, value } of rows) batch.put(table, key, value)
        continue
      }
      const [before, after] = [store.pages[i - 1], store.pages[i + 1]]
      damage.push({
        message: `A page of the table "${table}" cannot be read.`,
        isLossOfRows: true,
        table,
        // The first page of a table has whatever comes before the second.
        ...(before?.table === table && { gte: (rows[0] as Row).key }),
        ...(after?.table === table && { lt: (after.rows[0] as Row).key }),
      })
    }
  })
  return {
    ...engine,
    salvage: async () => {
      const view = engine.read()
      const { strays, mayStraysBeOutdated } = store
      return Object.assign(view, { damage, strays: () => strays, mayStraysBeOutdated })
    },
  }
}
