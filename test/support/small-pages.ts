import type { Engine, View } from '../../src/engine/engine.ts'

/** The same engine, whose scans end after so many rows, as any scan may: what reads on is then put to the test. */
export function withSmallPages(engine: Engine, rows: number): Engine {
  const paged = (view: View): View => ({
    get: (table, key) => view.get(table, key),
    getMany: (table, keys) => view.getMany(table, keys),
    seek: (table, query) => view.seek(table, query),
    seekMany: (table, queries) => view.seekMany(table, queries),
    scan: (table, range) => view.scan(table, { ...range, limit: Math.min(rows, range.limit ?? rows) }),
    close: () => view.close(),
  })
  return {
    ...engine,
    read: () => paged(engine.read()),
    commit: (build, options) => engine.commit((view, batch) => build(paged(view), batch), options),
  }
}
