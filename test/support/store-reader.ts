import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { PersistenceOptions } from '../../src/index.ts'
import type { States } from './corruption.ts'

const PROGRAM = fileURLToPath(new URL('../fixtures/store-reader.mjs', import.meta.url))
const HANGING = 20_000

/** What came of reading a store in a process of its own. */
export type ReadOutcome =
  | { readonly states: States }
  | { readonly error: { readonly code?: string; readonly message: string; readonly stack?: string } }
  /** The process ended, or had to be ended. */
  | { readonly ended: string }

/** Reads stores that may be damaged, in another process, which is started again where one ends it. */
export class StoreReader {
  #child: ChildProcess | undefined

  async read(
    basePath: string,
    options: Pick<PersistenceOptions, 'encryptionKey'> = {},
  ): Promise<ReadOutcome> {
    this.#child ??= await start()
    const child = this.#child
    const done = new AbortController()
    const { signal } = done
    const gone = once(child, 'exit', { signal }).then(([code, name]) => ({ ended: `${name ?? code}` }))
    const answered = once(child, 'message', { signal }).then(([answer]) => answer as ReadOutcome)
    const late = delay(HANGING, { ended: 'it hangs' }, { signal })
    for (const outcome of [gone, answered, late]) outcome.catch(() => undefined)
    child.send({ basePath, ...options })
    const outcome = await Promise.race([answered, gone, late])
    done.abort()
    if ('ended' in outcome) await this.close()
    return outcome
  }

  async close(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

async function start(): Promise<ChildProcess> {
  const child = fork(PROGRAM, [], {
    execArgv: [],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  await once(child, 'message')
  return child
}
