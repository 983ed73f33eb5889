// @ts-check
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const PROGRAM = fileURLToPath(new URL('../../test/fixtures/postgres-server.mjs', import.meta.url))

/**
 * Runs `use` with a PostgreSQL server that is there for it alone and has the settings it comes with; or with the one that
 * `VARVE_TEST_POSTGRES` names.
 *
 * @param {(url: string) => Promise<void>} use
 */
export async function withServer(use) {
  const given = process.env['VARVE_TEST_POSTGRES']
  if (given !== undefined) return use(given)
  const child = fork(PROGRAM, [], { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const [{ url, error }] = await once(child, 'message')
  if (url === undefined) throw new Error(`PostgreSQL cannot be started here: ${error}`)
  const exit = once(child, 'exit')
  try {
    await use(url)
  } finally {
    child.disconnect()
    await exit
  }
}
