import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { TestProject } from 'vitest/node'

/** What is tested survives the death of processes, not of the machine. */
const FLAGS = ['-c', 'fsync=off']
const PROGRAM = fileURLToPath(new URL('../fixtures/postgres-server.mjs', import.meta.url))

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the PostgreSQL server of this run is; empty where there is none. */
    postgres: string
  }
}

/** A server of its own, for tests that stop it. */
export interface PostgresServer {
  readonly url: string
  /** Stops it: `fast` after it has cut all connections, `immediate` as in a crash. */
  stop(how: 'fast' | 'immediate'): Promise<void>
  start(): Promise<void>
  /** Stops it and removes its files. */
  end(): Promise<void>
}

/** Starts a server that ends with this process at the latest. @throws where none can be started here. */
export async function startPostgres(): Promise<PostgresServer> {
  const child = fork(PROGRAM, FLAGS, { execArgv: [], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
  const { url, error } = await firstMessage(child)
  if (url === undefined) throw new Error(error)
  let calls = 0
  const call = (action: 'stop' | 'start', signal?: NodeJS.Signals): Promise<void> => {
    const id = calls++
    return new Promise((resolve, reject) => {
      child.on('message', (answer: { id?: number; error?: string }) => {
        if (answer.id !== id) return
        if (answer.error === undefined) resolve()
        else reject(new Error(answer.error))
      })
      child.send({ id, action, signal })
    })
  }
  return {
    url,
    stop: how => call('stop', how === 'fast' ? 'SIGINT' : 'SIGQUIT'),
    start: () => call('start'),
    async end() {
      const exit = once(child, 'exit')
      child.disconnect()
      await exit
    },
  }
}

async function firstMessage(child: ChildProcess): Promise<{ url?: string; error?: string }> {
  const exited = once(child, 'exit').then(() => ({ error: 'the server program ended at once' }))
  const [message] = (await Promise.race([once(child, 'message'), exited.then(result => [result])])) as [
    { url?: string; error?: string },
  ]
  return message
}

/** Vitest's global set-up: one server for the whole run, or the one that `VARVE_TEST_POSTGRES` names. */
export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const given = process.env['VARVE_TEST_POSTGRES']
  if (given !== undefined) {
    project.provide('postgres', given)
    return undefined
  }
  try {
    const server = await startPostgres()
    project.provide('postgres', server.url)
    return () => server.end()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    console.warn(`PostgreSQL cannot be started here, so its tests are skipped: ${reason}`)
    project.provide('postgres', '')
    return undefined
  }
}
