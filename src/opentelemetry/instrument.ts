import { channel, tracingChannel } from 'node:diagnostics_channel'
import {
  type Attributes,
  type MeterProvider,
  metrics,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TracerProvider,
  trace,
} from '@opentelemetry/api'
import {
  CHANNELS,
  type OperationEvent,
  type PackEvent,
  type PruneEvent,
  type SnapshotEvent,
} from '../core/diagnostics.ts'
import { checkOptions, invalidOption, nonEmptyString } from '../core/options.ts'

/** What `instrument()` may be given. */
export interface InstrumentOptions {
  /** Where spans go; by default the provider that is registered globally. */
  readonly tracerProvider?: TracerProvider
  /** Where measurements go; by default the provider that is registered globally. */
  readonly meterProvider?: MeterProvider
  /** What the application calls its state: the attribute `db.namespace`, and a part of the names of spans. */
  readonly namespace?: string
}

const NAME = 'varve'

/** The boundaries that the conventions advise for durations of database calls, in seconds. */
const DURATION_BOUNDARIES = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]

/**
 * Makes spans and measurements of all that the stores of this process do, by OpenTelemetry's semantic conventions for
 * database clients. docs/observability.md lists them.
 *
 * @returns what ends it.
 * @throws {InvalidArgumentError} for an option that is unknown or not as it should be.
 *
 * @example
 * ```ts
 * import { createPersistence } from 'varve'
 * import { instrument } from 'varve/opentelemetry'
 *
 * const stop = instrument({ namespace: 'settings' })
 * await using state = await createPersistence()
 * await state.set('visits', 1) // a span named "set settings"
 * stop()
 * ```
 */
export function instrument(options: InstrumentOptions = {}): () => void {
  const { tracerProvider, meterProvider, namespace } = checkOptions<InstrumentOptions>(
    options,
    { tracerProvider: provider('getTracer'), meterProvider: provider('getMeter'), namespace: nonEmptyString },
    'instrument()',
  )
  const described: Attributes = {
    'db.system.name': NAME,
    ...(namespace !== undefined && { 'db.namespace': namespace }),
  }
  const unsubscribers = [
    traceOperations(tracerProvider ?? trace, meterProvider ?? metrics, described, namespace),
    measureEvents(meterProvider ?? metrics, described),
  ]
  return () => {
    for (const unsubscribe of unsubscribers.splice(0)) unsubscribe()
  }
}

interface Running {
  readonly span: Span
  readonly started: number
}

function traceOperations(
  tracerProvider: Pick<TracerProvider, 'getTracer'>,
  meterProvider: Pick<MeterProvider, 'getMeter'>,
  described: Attributes,
  namespace: string | undefined,
): () => void {
  const tracer = tracerProvider.getTracer(NAME)
  const meter = meterProvider.getMeter(NAME)
  const durations = meter.createHistogram('db.client.operation.duration', {
    description: 'Duration of database client operations.',
    unit: 's',
    advice: { explicitBucketBoundaries: DURATION_BOUNDARIES },
  })
  const bytes = meter.createCounter('varve.operation.io', {
    description: 'Bytes of the values that operations read or wrote.',
    unit: 'By',
  })
  const running = new WeakMap<OperationEvent, Running>()

  const start = (event: OperationEvent): void => {
    const { operation, engine } = event
    const span = tracer.startSpan(namespace === undefined ? operation : `${operation} ${namespace}`, {
      // What is in this process's memory is no call to elsewhere.
      kind: engine === 'memory' ? SpanKind.INTERNAL : SpanKind.CLIENT,
      attributes: { ...described, 'db.operation.name': operation, 'varve.engine': engine },
    })
    running.set(event, { span, started: performance.now() })
  }

  const end = (event: OperationEvent): void => {
    const found = running.get(event)
    // It began before anybody listened.
    if (found === undefined) return
    running.delete(event)
    const { span, started } = found
    const attributes: Attributes = {
      ...described,
      'db.operation.name': event.operation,
      'varve.engine': event.engine,
    }
    if (event.error !== undefined) {
      const type = typeOf(event.error)
      attributes['error.type'] = type
      span.setAttribute('error.type', type)
      if (event.error instanceof Error) span.recordException(event.error)
      span.setStatus({ code: SpanStatusCode.ERROR, message: String(event.error) })
    }
    span.end()
    durations.record((performance.now() - started) / 1000, attributes)
    if (event.bytes) bytes.add(event.bytes, attributes)
  }

  const operations = tracingChannel<string, OperationEvent>(CHANNELS.operation)
  const handlers = { start, end: nothing, asyncStart: nothing, asyncEnd: end, error: nothing }
  operations.subscribe(handlers)
  return () => operations.unsubscribe(handlers)
}

function measureEvents(meterProvider: Pick<MeterProvider, 'getMeter'>, described: Attributes): () => void {
  const meter = meterProvider.getMeter(NAME)
  const counter = (name: string, unit: string, description: string) =>
    meter.createCounter(name, { unit, description })
  const created = counter('varve.snapshot.created', '{snapshot}', 'Snapshots taken or imported.')
  const pruned = counter(
    'varve.snapshot.pruned',
    '{snapshot}',
    'Snapshots deleted, by a call or by the policy.',
  )
  const versions = counter('varve.pack.versions', '{version}', 'Superseded versions put into chains.')
  const values = counter('varve.pack.values', 'By', 'Bytes of the values put into chains.')
  const written = counter('varve.pack.written', 'By', 'Bytes of the chains written.')
  const passes = meter.createHistogram('varve.pack.duration', {
    unit: 's',
    description: 'Duration of packing passes.',
  })
  const attributesOf = (engine: string, more: Attributes = {}): Attributes => ({
    ...described,
    'varve.engine': engine,
    ...more,
  })

  const subscriptions: [name: string, listener: (message: unknown) => void][] = [
    [
      CHANNELS.snapshot,
      message => {
        const { engine, origin } = message as SnapshotEvent
        created.add(1, attributesOf(engine, { 'varve.snapshot.origin': origin }))
      },
    ],
    [
      CHANNELS.prune,
      message => {
        const { engine, versions, automatic } = message as PruneEvent
        pruned.add(versions.length, attributesOf(engine, { 'varve.prune.automatic': automatic }))
      },
    ],
    [
      CHANNELS.pack,
      message => {
        const { engine, strategy, ...pass } = message as PackEvent
        const attributes = attributesOf(engine, { 'varve.pack.strategy': strategy })
        versions.add(pass.versions, attributes)
        values.add(pass.valueBytes, attributes)
        written.add(pass.writtenBytes, attributes)
        passes.record(pass.milliseconds / 1000, attributes)
      },
    ],
  ]
  for (const [name, listener] of subscriptions) channel(name).subscribe(listener)
  return () => {
    for (const [name, listener] of subscriptions) channel(name).unsubscribe(listener)
  }
}

/** What the conventions call `error.type`: a word that does not vary with the message. */
function typeOf(error: unknown): string {
  if (!(error instanceof Error)) return '_OTHER'
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? code : error.name
}

function provider<T>(method: string): (value: unknown, name: string) => T {
  return (value, name) => {
    const found = (value as Record<string, unknown> | null)?.[method]
    if (typeof found === 'function') return value as T
    throw invalidOption(name, `a provider, with a method ${method}()`, value)
  }
}

function nothing(): void {}
