/** Writers of one store, in processes and worker threads of their own, of which one after the other is killed: the program under `power-crowd.ts`. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isMainThread, Worker } from 'node:worker_threads'
import { createPersistence } from '../../src/index.ts'
import { seededRandom } from '../support/random.ts'

/** What a crowd is to do. */
export interface CrowdOptions {
  /** The store's folder. */
  readonly path: string
  /** Each writer appends the numbers there that are to survive a loss of power, once they are acknowledged. */
  readonly acknowledged: string
  readonly seed: number
  /** How many processes there are at a time, and how many are killed. About half have two writers. */
  readonly writers: number
  readonly kills: number
}

/** So many keys are written at a time, always to the same value. */
export const SHARED_KEYS = 5
/** Longer than a writer keeps its pages after its last change. */
const IDLE_MS = 1100

/** The key of a writer's own, which counts its changes. */
export function ownKey(writer: string): string {
  return `writer/${writer}`
}

async function write({ path, acknowledged, seed }: CrowdOptions, name: string): Promise<never> {
  const random = seededRandom(seed)
  const [often, whenAsked] = await Promise.all(
    (['process', 'power'] as const).map(durability => createPersistence({ basePath: path, durability })),
  )
  for (let n = 1; ; n++) {
    const isKept = random.chance(0.1)
    const shared = `${name} ${n} ${'x'.repeat(random.below(10) ** 4)}`
    await (isKept ? whenAsked : often)?.setMany([
      [ownKey(name), n],
      ...Array.from({ length: SHARED_KEYS }, (_, i) => [`shared/${i}`, shared] as const),
    ])
    if (isKept) appendFileSync(join(acknowledged, name), `${n}\n`)
    if (random.chance(0.01)) await often?.compact()
    if (random.chance(0.1)) await delay(random.below(60))
    if (random.chance(0.01)) await delay(IDLE_MS)
    // Writes nothing.
    if (random.chance(0.1)) await often?.setMany([])
  }
}

async function killOneByOne(options: CrowdOptions): Promise<void> {
  const random = seededRandom(options.seed)
  const writers = new Set<ChildProcess>()
  let count = 0
  function start(): void {
    const name = String(++count)
    const own = { ...options, seed: options.seed * 1000 + count }
    writers.add(fork(process.argv[1] as string, [JSON.stringify(own), name], { execArgv: [] }))
  }
  while (count < options.writers) start()
  for (let i = 0; i < options.kills; i++) {
    await delay(300 + random.below(500))
    const writer = random.pick([...writers])
    writers.delete(writer)
    writer.kill('SIGKILL')
    start()
  }
  for (const writer of writers) {
    writer.kill('SIGKILL')
    await once(writer, 'exit')
  }
}

const [, , options, name] = process.argv
if (options?.startsWith('{')) {
  if (name === undefined) await killOneByOne(JSON.parse(options))
  else {
    const own = JSON.parse(options) as CrowdOptions
    const isAlone = !isMainThread || seededRandom(own.seed).chance(0.5)
    if (!isAlone) {
      const threadOptions = JSON.stringify({ ...own, seed: own.seed + 500 })
      new Worker(process.argv[1] as string, { argv: [threadOptions, `${name}t`] })
    }
    await write(own, name)
  }
}
