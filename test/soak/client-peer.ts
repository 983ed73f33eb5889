import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { ClientOptions, Records, Task } from './client.ts'

/** A client in a process or a worker thread of its own. */
export class ClientPeer {
  readonly #peer: ChildProcess | Worker
  readonly #ended: Promise<never>
  #settle: (answer: { readonly records: Records; readonly failure?: string }) => void = () => undefined

  private constructor(peer: ChildProcess | Worker, ended: Promise<never>) {
    this.#peer = peer
    this.#ended = ended
    peer.on('message', answer => this.#settle(answer))
  }

  static async start(
    program: string,
    kind: 'process' | 'worker',
    options: ClientOptions,
  ): Promise<ClientPeer> {
    const peer =
      kind === 'process'
        ? fork(program, [JSON.stringify(options)], { execArgv: [], serialization: 'advanced' })
        : new Worker(program, { workerData: options })
    const end = ended(peer)
    // Nobody may be waiting for it when the end comes.
    end.catch(() => undefined)
    await Promise.race([once(peer, 'message'), end])
    return new ClientPeer(peer, end)
  }

  /** Has a task done. @throws what kept it from being done. */
  async run(task: Task): Promise<Records> {
    const answer = new Promise<{ readonly records: Records; readonly failure?: string }>(resolve => {
      this.#settle = resolve
    })
    this.#send(task)
    const { records, failure } = await Promise.race([answer, this.#ended])
    if (failure !== undefined) throw new Error(`a client failed: ${failure}`)
    return records
  }

  async close(): Promise<void> {
    const exit = once(this.#peer, 'exit')
    this.#send('close')
    await exit
  }

  /** Ends it, whatever it is doing. */
  async kill(): Promise<void> {
    if (this.#peer instanceof Worker) await this.#peer.terminate()
    else this.#peer.kill('SIGKILL')
  }

  #send(message: Task | 'close'): void {
    if (this.#peer instanceof Worker) this.#peer.postMessage(message)
    else this.#peer.send(message)
  }
}

/** Rejects when a client ends by itself. */
async function ended(peer: ChildProcess | Worker): Promise<never> {
  const [code] = await once(peer, 'exit')
  throw new Error(`a client ended with ${code}`)
}
