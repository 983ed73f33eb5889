import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { describe, expect, it } from 'vitest'
import { createPersistence } from '../../src/index.ts'
import { instrument } from '../../src/opentelemetry/index.ts'

function providers() {
  const spans = new InMemorySpanExporter()
  const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] })
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1e9 })
  const meterProvider = new MeterProvider({ readers: [reader] })
  /** The measurements so far: of each instrument the values, with one attribute of each. */
  const measured = async () => {
    await reader.forceFlush()
    const { scopeMetrics = [] } = exporter.getMetrics().at(-1) ?? {}
    return Object.fromEntries(
      scopeMetrics
        .flatMap(({ metrics }) => metrics)
        .map(({ descriptor, dataPoints }) => [
          descriptor.name,
          { unit: descriptor.unit, points: dataPoints as { attributes: object; value: unknown }[] },
        ]),
    )
  }
  return { spans, tracerProvider, meterProvider, measured }
}

describe('instrument()', () => {
  it('makes a span of each call', async () => {
    const { spans, tracerProvider, meterProvider } = providers()
    const stop = instrument({ tracerProvider, meterProvider, namespace: 'settings' })
    try {
      await using state = await createPersistence()
      await state.set('a', 1)
      await state.restoreSnapshot('v9').catch(() => undefined)
      for await (const _ of state.keys());
    } finally {
      stop()
    }
    const [set, restore, keys] = spans.getFinishedSpans()
    expect(set).toMatchObject({
      name: 'set settings',
      kind: SpanKind.INTERNAL,
      attributes: {
        'db.system.name': 'varve',
        'db.namespace': 'settings',
        'db.operation.name': 'set',
        'varve.engine': 'memory',
      },
      status: { code: SpanStatusCode.UNSET },
    })
    expect(restore).toMatchObject({
      name: 'restoreSnapshot settings',
      attributes: { 'error.type': 'SNAPSHOT_NOT_FOUND' },
      status: { code: SpanStatusCode.ERROR },
    })
    expect(restore?.events).toHaveLength(1)
    expect(keys?.name).toBe('keys settings')
  })

  it('measures durations, bytes, snapshots, prunes and packing', async () => {
    const { tracerProvider, meterProvider, measured } = providers()
    const stop = instrument({ tracerProvider, meterProvider })
    try {
      await using state = await createPersistence()
      for (let i = 0; i < 5; i++) {
        await state.set('a', { text: 'the same text again and again', number: i })
        await state.createSnapshot()
      }
      await state.pruneSnapshots({ keepLast: 4 })
      await state.compact()
    } finally {
      stop()
    }
    const metrics = await measured()
    const durations = metrics['db.client.operation.duration']
    expect(durations?.unit).toBe('s')
    const set = durations?.points.find(
      ({ attributes }) => (attributes as Record<string, unknown>)['db.operation.name'] === 'set',
    )
    expect(set?.value).toMatchObject({
      count: 5,
      buckets: { boundaries: [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10] },
    })
    expect(metrics['varve.snapshot.created']?.points[0]?.value).toBe(5)
    expect(metrics['varve.snapshot.pruned']?.points[0]?.value).toBe(1)
    expect(metrics['varve.pack.versions']?.points[0]?.value).toBeGreaterThan(0)
    expect(metrics['varve.pack.duration']?.unit).toBe('s')
    expect(metrics['varve.operation.io']?.points[0]?.value).toBeGreaterThan(0)
  })

  it('ends when it is told to', async () => {
    const { spans, tracerProvider, meterProvider } = providers()
    const stop = instrument({ tracerProvider, meterProvider })
    await using state = await createPersistence()
    const running = state.set('a', 1)
    stop()
    stop()
    await running
    await state.set('b', 1)
    expect(spans.getFinishedSpans()).toHaveLength(0)
  })

  it('refuses options that it does not know', () => {
    expect(() => instrument({ nameSpace: 'a' } as object)).toThrow('namespace')
    expect(() => instrument({ tracerProvider: {} as never })).toThrow('getTracer')
  })
})
