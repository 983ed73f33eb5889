import type { Metrics } from './persistence.ts'

/** A metric, as the text form has it. */
interface Family {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  readonly samples: readonly Sample[]
}

type Sample = readonly [value: number, labels?: Readonly<Record<string, string>>]

const MILLISECONDS = 1000

/**
 * What `getMetrics()` returned, in the text form that Prometheus reads (version 0.0.4).
 *
 * @example
 * ```ts
 * import { createPersistence, formatPrometheus } from 'varve'
 *
 * await using state = await createPersistence()
 * await state.set('visits', 1)
 * const text = formatPrometheus(await state.getMetrics())
 * console.log(text.includes('varve_operations_total{operation="set"} 1')) // → true
 * ```
 */
export function formatPrometheus(metrics: Metrics): string {
  return families(metrics)
    .filter(({ samples }) => samples.length > 0)
    .map(format)
    .join('')
}

function families({ operations, cache, delta, snapshotCount, keys, storage }: Metrics): Family[] {
  const calls = Object.entries(operations)
  const tables = Object.entries(storage.tables)
  const packed = Object.entries(delta.packed)
  return [
    {
      name: 'varve_operations_total',
      type: 'counter',
      help: 'Calls, by method.',
      samples: calls.map(([operation, { count }]) => [count, { operation }]),
    },
    {
      name: 'varve_operation_errors_total',
      type: 'counter',
      help: 'Calls that were rejected, by method.',
      samples: calls.map(([operation, { errors }]) => [errors, { operation }]),
    },
    {
      name: 'varve_operation_bytes_total',
      type: 'counter',
      help: 'Bytes of the values that calls read or wrote, by method.',
      samples: calls.map(([operation, { bytes }]) => [bytes, { operation }]),
    },
    {
      name: 'varve_operation_latency_seconds',
      type: 'gauge',
      help: 'Quantiles of the time that calls took, by method, since the store was opened.',
      samples: calls.flatMap(([operation, { latency }]): Sample[] => [
        [latency.p50 / MILLISECONDS, { operation, quantile: '0.5' }],
        [latency.p95 / MILLISECONDS, { operation, quantile: '0.95' }],
        [latency.p99 / MILLISECONDS, { operation, quantile: '0.99' }],
      ]),
    },
    {
      name: 'varve_cache_hits_total',
      type: 'counter',
      help: 'Reads that the cache answered.',
      samples: [[cache.hits, { cache: cache.kind }]],
    },
    {
      name: 'varve_cache_misses_total',
      type: 'counter',
      help: 'Reads that the cache did not answer.',
      samples: [[cache.misses, { cache: cache.kind }]],
    },
    { name: 'varve_keys', type: 'gauge', help: 'Keys in the current state.', samples: [[keys]] },
    { name: 'varve_snapshots', type: 'gauge', help: 'Snapshots on the list.', samples: [[snapshotCount]] },
    {
      name: 'varve_storage_bytes',
      type: 'gauge',
      help: 'Bytes of the files, or of the tables of a server.',
      samples: [[storage.bytes, { engine: storage.engine }]],
    },
    {
      name: 'varve_storage_free_bytes',
      type: 'gauge',
      help: 'Bytes in the files that are free for reuse.',
      samples: [[storage.freeBytes, { engine: storage.engine }]],
    },
    {
      name: 'varve_table_records',
      type: 'gauge',
      help: 'Records, by table.',
      samples: tables.map(([table, { entries }]) => [entries, { table }]),
    },
    {
      name: 'varve_table_bytes',
      type: 'gauge',
      help: 'Bytes of records, by table.',
      samples: tables.map(([table, { bytes }]) => [bytes, { table }]),
    },
    {
      name: 'varve_packed_versions_total',
      type: 'counter',
      help: 'Superseded versions put into chains since the store was made, by strategy.',
      samples: packed.map(([strategy, { versions }]) => [versions, { strategy }]),
    },
    {
      name: 'varve_packed_value_bytes_total',
      type: 'counter',
      help: 'Bytes of the values that were put into chains, by strategy.',
      samples: packed.map(([strategy, { valueBytes }]) => [valueBytes, { strategy }]),
    },
    {
      name: 'varve_packed_written_bytes_total',
      type: 'counter',
      help: 'Bytes of the chains written, by strategy.',
      samples: packed.map(([strategy, { writtenBytes }]) => [writtenBytes, { strategy }]),
    },
  ]
}

function format({ name, type, help, samples }: Family): string {
  const lines = samples.map(([value, labels]) => `${name}${formatLabels(labels)} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

function formatLabels(labels: Readonly<Record<string, string>> | undefined): string {
  if (labels === undefined) return ''
  const quote = (text: string): string =>
    text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${quote(value)}"`)
    .join(',')}}`
}
