import { type ChildProcess, execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { onTestFinished } from 'vitest'

/** The program of the peers. It uses the built package, as other programs would; `npm test` builds it first. */
const PROGRAM = fileURLToPath(new URL('../fixtures/store-peer.mjs', import.meta.url))

/** Another process or worker thread that has a store open. */
export interface Peer {
  /** Calls a method of its `Persistence` there; iterations are gathered into arrays. */
  call(method: string, ...args: readonly unknown[]): Promise<unknown>
  /** Closes the store and resolves with the exit code, once nothing keeps the peer running. */
  end(): Promise<number>
}

/** A process that has a store open, and ends with the test. */
export async function startProcess(path: string): Promise<Peer> {
  const child = fork(PROGRAM, ['serve', path], { execArgv: [], serialization: 'advanced' })
  onTestFinished(() => void child.kill('SIGKILL'))
  return ready(child, message => void child.send(message as object))
}

/** A worker thread that has a store open, and ends with the test. */
export async function startWorker(path: string): Promise<Peer> {
  const worker = new Worker(PROGRAM, { workerData: ['serve', path] })
  onTestFinished(async () => void (await worker.terminate()))
  return ready(worker, message => worker.postMessage(message))
}

async function ready(peer: ChildProcess | Worker, send: (message: unknown) => void): Promise<Peer> {
  const answers = new Map<number, (answer: { value?: unknown; error?: Error }) => void>()
  const exit = once(peer, 'exit').then(([code]) => code as number)
  await once(peer, 'message')
  peer.on('message', (answer: { id: number; value?: unknown; error?: Error }) => {
    answers.get(answer.id)?.(answer)
    answers.delete(answer.id)
  })
  let calls = 0
  return {
    async call(method, ...args) {
      const id = calls++
      const answered = new Promise<{ value?: unknown; error?: Error }>(resolve => answers.set(id, resolve))
      send({ id, method, args })
      const { value, error } = await answered
      if (error !== undefined) throw error
      return value
    },
    async end() {
      send('close')
      return exit
    },
  }
}

/** Starts a task of the program in a process of its own; it is killed with the test, if it has not ended by then. */
export function startTask(task: string, ...args: string[]): ChildProcess {
  const child = fork(PROGRAM, [task, ...args], { execArgv: [] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

/**
 * Starts a task of the program in a worker thread. It is told to end with the test: one that is terminated amid a call of
 * lmdb-js's can take the process with it.
 */
export function startWorkerTask(task: string, ...args: string[]): Worker {
  const worker = new Worker(PROGRAM, { workerData: [task, ...args] })
  const exit = once(worker, 'exit')
  onTestFinished(async () => {
    worker.postMessage('end')
    await exit
  })
  return worker
}

/** Resolves with the exit code, once nothing keeps the process or thread running. */
export async function exited(peer: ChildProcess | Worker): Promise<number | null> {
  if (!(peer instanceof Worker) && (peer.exitCode !== null || peer.signalCode !== null)) return peer.exitCode
  const [code] = await once(peer, 'exit')
  return code
}

/**
 * Runs a task of the program in a process of its own and returns what it says, parsed from JSON. Nothing but its own
 * lack of work ends the process; one that does not end by itself fails the test.
 */
export function runTask(task: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): unknown {
  const output = execFileSync(process.execPath, [PROGRAM, task, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 20_000,
    env: { ...process.env, ...env },
  })
  return JSON.parse(output)
}
