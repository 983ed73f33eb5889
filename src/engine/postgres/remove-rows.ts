import { TABLES } from '../engine.ts'
import type { PostgresPool } from './driver.ts'
import { isMissing } from './errors.ts'
import { Session } from './session.ts'
import { tableName } from './statements.ts'

const STORES = 'stores'

/** Removes all rows of a store. Returns whether there were any. Rejects with an error of the driver. */
export async function removeRows(pool: PostgresPool, schema: string, store: string): Promise<boolean> {
  const session = await Session.open(pool)
  const removeFrom = async (table: string): Promise<number> => {
    const text = `DELETE FROM ${tableName(schema, table)} WHERE store = $1`
    return (
      await session.run({ name: '', text: `${text}${table === STORES ? ' RETURNING 1' : ''}` }, [store])
    ).length
  }
  try {
    await session.command('BEGIN')
    // First the row that writers lock: those who wait for it find it gone, and write nothing.
    const found = await removeFrom(STORES)
    for (const table of [...TABLES, 'writers']) await removeFrom(table)
    await session.command('COMMIT')
    return found > 0
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  } finally {
    session.release()
  }
}
