import { channel, tracingChannel } from 'node:diagnostics_channel'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import {
  CHANNELS,
  createPersistence,
  formatPrometheus,
  type OperationEvent,
  type PackEvent,
  type PruneEvent,
  type SnapshotEvent,
} from '../../src/index.ts'
import { temporaryFolder, toArray } from '../support/stores.ts'

const undo: (() => void)[] = []
afterEach(() => {
  for (const step of undo.splice(0)) step()
})

/** The messages of a channel, as they come. */
function listen<T>(name: string): T[] {
  const messages: T[] = []
  const listener = (message: unknown): void => void messages.push(message as T)
  channel(name).subscribe(listener)
  undo.push(() => channel(name).unsubscribe(listener))
  return messages
}

/** What is said of calls: the phase, the operation, and whether it failed. */
function listenToOperations(): { phase: string; event: OperationEvent }[] {
  const messages: { phase: string; event: OperationEvent }[] = []
  const note = (phase: string) => (event: OperationEvent) => void messages.push({ phase, event })
  const handlers = {
    start: note('start'),
    end: () => undefined,
    asyncStart: () => undefined,
    asyncEnd: note('end'),
    error: note('error'),
  }
  const operations = tracingChannel<string, OperationEvent>(CHANNELS.operation)
  operations.subscribe(handlers)
  undo.push(() => operations.unsubscribe(handlers))
  return messages
}

describe('the channel of operations', () => {
  it('tells of the beginning and the end of each call, with the bytes it moved', async () => {
    await using state = await createPersistence()
    const messages = listenToOperations()
    await state.set('a', 'twelve chars')
    await state.get('a')
    expect(messages.map(({ phase, event }) => `${phase} ${event.operation} ${event.engine}`)).toEqual([
      'start set memory',
      'end set memory',
      'start get memory',
      'end get memory',
    ])
    expect(messages[0]?.event).toBe(messages[1]?.event)
    expect(messages.map(({ event }) => event.bytes)).toEqual([14, 14, 14, 14])
  })

  it('tells why a call failed', async () => {
    await using state = await createPersistence()
    const messages = listenToOperations()
    await state.restoreSnapshot('v9').catch(() => undefined)
    expect(messages.map(({ phase }) => phase)).toEqual(['start', 'error', 'end'])
    expect(messages[2]?.event.error).toMatchObject({ code: 'SNAPSHOT_NOT_FOUND' })
  })

  it('tells once that an iteration has ended: through, left, or failed', async () => {
    await using state = await createPersistence()
    await state.setMany({ a: 1, b: 2 })
    const messages = listenToOperations()
    const seen: string[] = []
    for await (const key of state.keys()) seen.push(key)
    for await (const [key] of state.entries()) {
      seen.push(key)
      break
    }
    const failing = state.diff('v9', 'head')
    await expect(failing.next()).rejects.toThrow('v9')
    await failing.next()
    expect(seen).toEqual(['a', 'b', 'a'])
    expect(messages.map(({ phase, event }) => `${phase} ${event.operation}`)).toEqual([
      'start keys',
      'end keys',
      'start entries',
      'end entries',
      'start diff',
      'error diff',
      'end diff',
    ])
    const { operations } = await state.getMetrics()
    expect(operations['diff']).toMatchObject({ count: 1, errors: 1 })
  })

  it('gives the same results as without listeners', async () => {
    await using state = await createPersistence()
    listenToOperations()
    const changes = state.watch({ limit: 1 })
    await state.set('a', { b: 1 })
    await state.createSnapshot()
    await state.set('a', { b: 2 })
    expect(await toArray(changes)).toMatchObject([{ key: 'a' }])
    expect(await toArray(state.values({ reverse: true }))).toEqual([{ b: 2 }])
    expect(await toArray(state.diff('v1', 'head'))).toHaveLength(1)
    expect(await toArray(state.history('a'))).toEqual([{ version: 'v1', value: { b: 1 } }])
  })
})

describe('the channels of events', () => {
  it('tell of snapshots that are taken and imported, and of those that leave the list', async () => {
    const taken = listen<SnapshotEvent>(CHANNELS.snapshot)
    const pruned = listen<PruneEvent>(CHANNELS.prune)
    await using state = await createPersistence({ maxSnapshots: 2 })
    await state.createSnapshot({ tag: 'first' })
    await state.createDeltaSnapshot()
    for (let i = 0; i < 3; i++) await state.createSnapshot()
    await state.deleteSnapshot('v1')
    await state.pruneSnapshots({ keepLast: 1 })
    await state.pruneSnapshots({ keepLast: 1 })
    expect(taken.map(({ version }) => version)).toEqual(['v1', 'v2', 'v3', 'v4', 'v5'])
    expect(taken[0]).toEqual({ engine: 'memory', version: 'v1', tags: ['first'], origin: 'taken' })
    expect(pruned.map(({ versions, automatic }) => [versions, automatic])).toEqual([
      [['v2'], true],
      [['v3'], true],
      [['v1'], false],
      [['v4'], false],
    ])
  })

  it('tell of snapshots that are imported, once', async () => {
    const file = join(await temporaryFolder(), 'one.snapshot')
    await using state = await createPersistence()
    await state.set('a', 1)
    await state.exportSnapshot(await state.createSnapshot({ tag: 'moved' }), file)
    await using other = await createPersistence()
    const taken = listen<SnapshotEvent>(CHANNELS.snapshot)
    await other.importSnapshot(file)
    await other.importSnapshot(file)
    expect(taken).toEqual([{ engine: 'memory', version: 'v1', tags: ['moved'], origin: 'imported' }])
  })

  it('tell of packing passes', async () => {
    const passes = listen<PackEvent>(CHANNELS.pack)
    await using state = await createPersistence()
    for (let i = 0; i < 10; i++) {
      await state.set('a', { text: 'the same text again and again', number: i })
      await state.createSnapshot()
    }
    await state.compact()
    expect(passes.length).toBeGreaterThan(0)
    const { delta } = await state.getMetrics()
    const sum = (pick: (event: PackEvent) => number): number =>
      passes.reduce((total, event) => total + pick(event), 0)
    expect(delta.packed['binary']).toEqual({
      versions: sum(event => event.versions),
      valueBytes: sum(event => event.valueBytes),
      writtenBytes: sum(event => event.writtenBytes),
    })
    expect(passes[0]).toMatchObject({ engine: 'memory', strategy: 'binary' })
  })
})

describe('getMetrics()', () => {
  it('counts calls, errors and bytes, and orders its quantiles', async () => {
    await using state = await createPersistence()
    for (let i = 0; i < 100; i++) await state.set(`key ${i}`, 'abc')
    await state.getMany(['key 1', 'key 2', 'absent'])
    await state.get('').catch(() => undefined)
    await state.save({ kept: 'abc' })
    await state.load()
    const { operations } = await state.getMetrics()
    expect(operations['set']).toMatchObject({ count: 100, errors: 0, bytes: 500 })
    expect(operations['get']).toMatchObject({ count: 1, errors: 1, bytes: 0 })
    expect(operations['getMany']).toMatchObject({ count: 1, bytes: 10 })
    expect(operations['save']).toMatchObject({ bytes: 5 })
    expect(operations['load']).toMatchObject({ bytes: 5 })
    const { p50 = 0, p95 = 0, p99 = 0, max = 0 } = operations['set']?.latency ?? {}
    expect(p50).toBeGreaterThan(0)
    expect(p95).toBeGreaterThanOrEqual(p50)
    expect(p99).toBeGreaterThanOrEqual(p95)
    // A bucket of the histogram is named by its upper end.
    expect(max * 1.02).toBeGreaterThanOrEqual(p99)
  })

  it('counts the same with and without listeners', async () => {
    const counts = async () => {
      await using state = await createPersistence()
      await state.set('a', 1)
      await state.get('a')
      await state.get('').catch(() => undefined)
      await state.transaction(t => t.set('b', [1, 2]))
      const { operations } = await state.getMetrics()
      return Object.entries(operations).map(([name, { count, errors, bytes }]) => [
        name,
        count,
        errors,
        bytes,
      ])
    }
    const silent = await counts()
    listenToOperations()
    expect(await counts()).toEqual(silent)
  })
})

describe('formatPrometheus()', () => {
  it('writes each family with its help and type, and samples of numbers', async () => {
    await using state = await createPersistence()
    await state.set('a', 1)
    await state.createSnapshot()
    const text = formatPrometheus(await state.getMetrics())
    const lines = text.trimEnd().split('\n')
    const families = lines.filter(line => line.startsWith('# TYPE')).map(line => line.split(' ')[2])
    expect(new Set(families).size).toBe(families.length)
    for (const line of lines) {
      expect(line).toMatch(
        /^(?:# HELP [a-z_]+ .+|# TYPE [a-z_]+ (?:counter|gauge)|[a-z_]+(?:\{[a-z_]+="[^"\n]*"(?:,[a-z_]+="[^"\n]*")*\})? [\d.e+-]+)$/,
      )
    }
    expect(lines).toContain('varve_keys 1')
    expect(lines).toContain('varve_snapshots 1')
    expect(lines).toContain('varve_operations_total{operation="set"} 1')
    expect(text).toMatch(/varve_operation_latency_seconds\{operation="set",quantile="0.99"\} [\d.e-]+\n/)
    expect(text.endsWith('\n')).toBe(true)
  })

  it('escapes what would end a label', async () => {
    await using state = await createPersistence()
    const metrics = await state.getMetrics()
    const text = formatPrometheus({ ...metrics, storage: { ...metrics.storage, engine: 'a"b\\c\nd' } })
    expect(text).toContain('varve_storage_bytes{engine="a\\"b\\\\c\\nd"}')
  })
})
