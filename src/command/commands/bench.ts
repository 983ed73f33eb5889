import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { hasEncryptedKeys } from '../../encryption/is-encrypted.ts'
import { createPersistence } from '../../persistence/create-persistence.ts'
import type { Persistence } from '../../persistence/persistence.ts'
import { humanCount, humanDuration } from '../human-units.ts'
import type { Session } from '../session.ts'
import { withScratchStore } from '../store-place.ts'
import { writeTable } from '../table.ts'

/** What a kind of call was measured at. */
interface Measurement {
  readonly operation: string
  readonly perSecond: number
  /** In milliseconds. */
  readonly p50: number
  readonly p99: number
}

/** So many entries of the store are read, and their values written. */
const SAMPLE = 1000
/** Where there are none. */
const EXAMPLE: readonly [string, unknown] = ['user/1', { name: 'Ada', visits: 3, roles: ['admin'] }]
/** Calls that are made together, and may share a commit. */
const TOGETHER = 100

/** How many there are. */
const MEASUREMENTS = 5

const NANOSECONDS = 1e6

/**
 * `varve bench`: how fast this store answers here, and how fast a new one beside it, on the same disk or server, takes writes.
 * The store itself is only read.
 */
export async function bench(
  session: Session,
  _args: readonly [],
  flags: { readonly seconds: number },
): Promise<void> {
  const { output } = session
  const measurements = await session.withProgress('Measuring', humanCount, progress => {
    const measure = measureFor(flags.seconds * 1000, session.signal)
    let done = 0
    return measureAll(session, async (operation, call, calls) => {
      const measurement = await measure(operation, call, calls)
      progress.update(++done, MEASUREMENTS)
      return measurement
    })
  })
  await session.result({ measurements }, () =>
    writeTable(
      output,
      [
        { title: 'operation' },
        { title: 'per second', align: 'right' },
        { title: 'median', align: 'right' },
        { title: '99 %', align: 'right' },
      ],
      measurements.map(({ operation, perSecond, p50, p99 }) => [
        operation,
        humanCount(perSecond),
        humanDuration(p50),
        humanDuration(p99),
      ]),
    ),
  )
}

async function measureAll(session: Session, measure: Measure): Promise<Measurement[]> {
  const { host, place } = session
  let entries: (readonly [string, unknown])[] = []
  let encryptKeys = false
  const reads = await session.withStore(async (store, engine) => {
    encryptKeys = hasEncryptedKeys(engine)
    for await (const entry of store.entries({ limit: SAMPLE })) entries.push(entry)
    if (entries.length === 0) entries = [EXAMPLE]
    return measureReads(store, entries, measure)
  })
  // What is encrypted in the store is not written elsewhere as it is.
  return withScratchStore(place, host.cwd, async engine => {
    const scratch = await createPersistence({
      engine: await session.encrypted(engine, { ...(encryptKeys && { encryptKeys }) }),
    })
    try {
      return [...reads, ...(await measureWrites(scratch, entries, measure))]
    } finally {
      await scratch.close()
    }
  })
}

/** Makes calls for a while. `calls` is how many of what is counted each of them makes. */
type Measure = (
  operation: string,
  call: (i: number) => Promise<unknown>,
  calls?: number,
) => Promise<Measurement>

function measureFor(milliseconds: number, signal: AbortSignal): Measure {
  return async (operation, call, calls = 1) => {
    const latencies: RecordableHistogram = createHistogram({ figures: 3 })
    const started = performance.now()
    let made = 0
    for (let now = started; now - started < milliseconds; made++) {
      signal.throwIfAborted()
      await call(made)
      const end = performance.now()
      latencies.record(Math.max(1, Math.round((end - now) * NANOSECONDS)))
      now = end
    }
    const seconds = (performance.now() - started) / 1000
    return {
      operation,
      perSecond: Math.round((made * calls) / seconds),
      p50: latencies.percentile(50) / NANOSECONDS,
      p99: latencies.percentile(99) / NANOSECONDS,
    }
  }
}

type Entries = readonly (readonly [string, unknown])[]

async function measureReads(store: Persistence, entries: Entries, measure: Measure): Promise<Measurement[]> {
  const keyOf = (i: number): string => entryOf(entries, i)[0]
  return [
    await measure('get', i => store.get(keyOf(i))),
    await measure(
      `get, ${TOGETHER} at a time`,
      i => Promise.all(Array.from({ length: TOGETHER }, (_, j) => store.get(keyOf(i * TOGETHER + j)))),
      TOGETHER,
    ),
  ]
}

async function measureWrites(store: Persistence, entries: Entries, measure: Measure): Promise<Measurement[]> {
  const write = (i: number): Promise<void> => {
    const [key, value] = entryOf(entries, i)
    // Each round writes other values than the one before.
    return store.set(key, { round: Math.floor(i / entries.length), value })
  }
  return [
    await measure('set', write),
    await measure(
      `set, ${TOGETHER} at a time`,
      i => Promise.all(Array.from({ length: TOGETHER }, (_, j) => write(i * TOGETHER + j))),
      TOGETHER,
    ),
    await measure('snapshot', () => store.createSnapshot()),
  ]
}

function entryOf(entries: Entries, i: number): readonly [string, unknown] {
  return entries[i % entries.length] as readonly [string, unknown]
}
