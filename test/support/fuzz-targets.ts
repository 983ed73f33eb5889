import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { PersistenceError } from '../../src/core/errors.ts'
import { counterTupleKey, encodeKey, versionKey } from '../../src/core/key.ts'
import { decodeValue, encodeValue } from '../../src/core/value-codec.ts'
import { openChain } from '../../src/delta/chain-record.ts'
import { applyPatch, DeltaCompressor } from '../../src/delta/index.ts'
import { readChangeRow } from '../../src/history/change-list.ts'
import { checkLogRow } from '../../src/history/commit-log.ts'
import { decodeHead } from '../../src/history/head.ts'
import { decodePayload, parseRecord } from '../../src/history/record.ts'
import { versionsOf } from '../../src/history/version-row.ts'
import type { Persistence } from '../../src/index.ts'
import { readJsonDocument } from '../../src/transfer/json-document.ts'
import { readJsonLines } from '../../src/transfer/json-lines.ts'
import { checkSnapshotFile, readSnapshotFile } from '../../src/transfer/snapshot-file.ts'
import { FRAME, type FrameType, FrameWriter } from '../../src/transfer/snapshot-frames.ts'
import { fromTypedJson } from '../../src/transfer/typed-json.ts'
import { byteStream, collect } from './byte-streams.ts'
import { runCommand } from './command.ts'
import { changedBytes, corpusOf } from './fuzz-bytes.ts'
import { hostileJson, hostileKeys, hostileNames } from './hostile-values.ts'

/** Something that takes what others have made, and how to make what it must withstand. */
export interface FuzzTarget {
  readonly name: string
  /** Its share of all inputs, in parts of a thousand. */
  readonly share: number
  readonly inputs: fc.Arbitrary<unknown>
  /** Tries one input. Throws if it was not withstood. */
  readonly attempt: (input: never) => unknown
}

/** Where the targets that need a store or files have them. */
export interface FuzzPlace {
  readonly folder: string
  readonly state: Persistence
}

function target<T>(
  name: string,
  share: number,
  inputs: fc.Arbitrary<T>,
  attempt: (input: T) => unknown,
): FuzzTarget {
  return { name, share, inputs, attempt: attempt as (input: never) => unknown }
}

/** Runs what may refuse its input, in the terms of this library. Returns `undefined` then. */
async function refusable<T>(run: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof PersistenceError) return undefined
    throw error
  }
}

/** Bytes whose checksum is right, as of somebody who wants them to be believed. */
function sealed(bytes: Buffer, checksum: (bytes: Buffer) => void): Buffer {
  if (bytes.length >= 8) checksum(bytes)
  return bytes
}

const KEY = encodeKey('key')

function sealRecord(bytes: Buffer): Buffer {
  return sealed(bytes, all =>
    all.writeUInt32LE(crc32(all.subarray(0, -4), crc32(KEY as Buffer)), all.length - 4),
  )
}

function sealEnd(bytes: Buffer): Buffer {
  return sealed(bytes, all => all.writeUInt32LE(crc32(all.subarray(0, -4)), all.length - 4))
}

function sealDelta(bytes: Buffer): Buffer {
  return sealed(bytes, all => all.writeUInt32LE(crc32(all.subarray(5), crc32(all.subarray(0, 1))), 1))
}

function sealChain(bytes: Buffer): Buffer {
  return sealed(bytes, all => all.writeUInt32LE(crc32(all.subarray(6), crc32(all.subarray(0, 2))), 2))
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return undefined
  }
}

const jsonDocuments = fc
  .tuple(fc.array(fc.tuple(hostileKeys, hostileJson), { maxLength: 5 }), hostileJson)
  .map(([members, metadata]) =>
    Buffer.from(
      `{"metadata":${JSON.stringify(metadata)},"data":{${members.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`)}}}`,
    ),
  )

const jsonLines = fc
  .array(fc.tuple(hostileKeys, hostileJson), { maxLength: 5 })
  .map(rows => Buffer.from(rows.map(([key, value]) => `${JSON.stringify({ key, value })}\n`).join('')))

const tagged = fc
  .tuple(
    fc.constantFrom(
      'Date',
      'Map',
      'Set',
      'Graph',
      'Ref',
      'Error',
      'RegExp',
      'ArrayBuffer',
      'Uint8Array',
      'Float64Array',
      'BigInt',
      'Number',
      'Object',
      'Undefined',
      'DataView',
    ),
    hostileJson,
    hostileJson,
  )
  .map(([type, value, shared]): unknown => ({
    $type: type,
    value,
    shared: [shared],
    entries: value,
    items: shared,
    id: 0,
  }))

const frames = fc.array(
  fc.tuple(
    fc.constantFrom<FrameType>(FRAME.header, FRAME.rows, FRAME.rows, FRAME.end),
    fc.uint8Array({ maxLength: 80 }),
  ),
  { maxLength: 4 },
)

const words = fc.oneof(
  fc.constantFrom(
    'get',
    'set',
    'delete',
    'list',
    'save',
    'load',
    'snapshot',
    'log',
    'show',
    'diff',
    'restore',
    'tag',
    'untag',
    'history',
    'export',
    'import',
    'prune',
    'verify',
    'stats',
    'completion',
    'init',
    'help',
    '--json',
    '--debug',
    '--limit',
    '--from',
    '--to',
    '--prefix',
    '--at',
    '--keep-last',
    '--tag',
    '--base',
    '--dry-run',
    '--',
    '-',
    '--repair',
    '--into',
    'head',
    'v1',
    'v999999999999999999',
    'head~1',
    '@2026-01-31',
    '@',
    '~',
    'v1~99999999999',
    '1',
    '-1',
    '{"a":',
    'null',
    '--reverse',
    '--help',
    '--version',
    '--store=',
  ),
  hostileKeys,
  hostileNames,
)

/** Commands that would wait for somebody, or write where they are told to. */
const UNSUITABLE = new Set(['watch', 'bench', 'replay', 'copy', 'compact'])

const pointer = fc
  .array(fc.oneof(hostileNames, fc.constantFrom('a', '1', '-', '~0', '~1', '~2')), { maxLength: 4 })
  .map(parts => parts.map(part => `/${part}`).join(''))
const operation = fc.record(
  {
    op: fc.constantFrom('add', 'remove', 'replace', 'move', 'copy', 'test', 'x'),
    path: pointer,
    from: pointer,
    value: hostileJson,
  },
  { requiredKeys: ['op'] },
)

/** Everything that takes bytes, texts or words of others. */
export function fuzzTargets({ folder, state }: FuzzPlace): readonly FuzzTarget[] {
  const compressor = new DeltaCompressor({ maxBytes: 1 << 20 })
  const record = corpusOf('record')
  const withSeal = (bytes: fc.Arbitrary<Buffer>, seal: (bytes: Buffer) => Buffer): fc.Arbitrary<Buffer> =>
    fc.tuple(bytes, fc.integer({ min: 0, max: 7 })).map(([all, chance]) => (chance === 0 ? all : seal(all)))
  const documentBytes = fc.oneof(
    jsonDocuments,
    jsonDocuments.chain(one => changedBytes([one])),
    changedBytes(corpusOf('json')),
  )
  const lineBytes = fc.oneof(
    jsonLines,
    jsonLines.chain(one => changedBytes([one])),
    changedBytes(corpusOf('jsonl')),
  )
  const snapshotBytes = changedBytes(corpusOf('snapshot'))

  return [
    target('JSON documents', 154, documentBytes, async bytes => {
      const entries = await refusable(() => collect(readJsonDocument(byteStream(bytes), 'f')))
      const document = parsed(bytes) as { data?: unknown } | undefined
      // What JSON.parse refuses is refused; of what it takes, the members of "data" come.
      if (document === undefined) assert.equal(entries, undefined)
    }),
    target('JSON lines', 120, lineBytes, async bytes => {
      await refusable(() => collect(readJsonLines(byteStream(bytes), 'f')))
    }),
    target('typed JSON', 80, fc.oneof(tagged, fc.array(tagged, { maxLength: 3 }), hostileJson), json =>
      refusable(() => void fromTypedJson(json, { file: 'f' })),
    ),
    target('snapshot files', 60, snapshotBytes, bytes => refusable(() => readSnapshot(bytes))),
    target('frames of snapshot files', 60, frames, async parts => {
      const writer = new FrameWriter()
      const bytes: Uint8Array[] = [writer.preamble()]
      for (const [type, content] of parts) bytes.push(await writer.frame(type, content))
      bytes.push(writer.digest())
      await refusable(() => readSnapshot(Buffer.concat(bytes)))
    }),
    target('deltas', 120, withSeal(changedBytes(corpusOf('delta')), sealDelta), bytes =>
      refusable(() => {
        const delta = compressor.deserializeDelta(bytes)
        for (const base of [BASE, Buffer.from('base'), null]) {
          try {
            compressor.applyDelta(base, delta)
          } catch (error) {
            if (!(error instanceof PersistenceError)) throw error
          }
        }
        compressor.mergeDeltas([delta, delta])
      }),
    ),
    target(
      'JSON patches',
      60,
      fc.tuple(hostileJson, fc.array(operation, { maxLength: 4 })),
      ([value, patch]) => refusable(() => void applyPatch(value, patch as never)),
    ),
    target('records', 100, withSeal(changedBytes(record), sealRecord), bytes =>
      refusable(() => void decodePayload(parseRecord(KEY, bytes))),
    ),
    target('values', 60, fc.tuple(fc.nat(3), changedBytes(corpusOf('value'))), ([codec, bytes]) =>
      refusable(() => {
        const value = decodeValue(codec, bytes)
        encodeValue(value)
      }),
    ),
    target('chain records', 80, withSeal(changedBytes(corpusOf('chain')), sealChain), bytes =>
      refusable(() => void openChain(bytes).versions()),
    ),
    target('rows of the history', 20, withSeal(changedBytes(record), sealRecord), bytes =>
      refusable(() => void versionsOf({ key: versionKey(KEY, 1), value: bytes })),
    ),
    target('heads', 15, withSeal(changedBytes(corpusOf('head')), sealEnd), bytes =>
      refusable(() => void decodeHead(bytes)),
    ),
    target('log entries', 30, withSeal(changedBytes(corpusOf('log')), sealEnd), bytes =>
      refusable(() => checkLogRow({ key: counterTupleKey(1, 0), value: bytes })),
    ),
    target('change lists', 30, withSeal(changedBytes(corpusOf('changes')), sealEnd), bytes =>
      refusable(() => {
        let keys = 0
        readChangeRow(
          { key: counterTupleKey(1, 0), value: bytes },
          { list: () => true, key: () => void keys++ },
        )
      }),
    ),
    target(
      'keys and values',
      5,
      fc.array(fc.tuple(hostileKeys, hostileJson), { maxLength: 4 }),
      async entries => {
        const done = await refusable(() => state.setMany(entries))
        if (done === undefined) assert.deepEqual(await state.load(), STORED)
        else for (const [key, value] of new Map(entries)) assert.deepStrictEqual(await state.get(key), value)
        await state.save(STORED)
      },
    ),
    target(
      'imports of files',
      3,
      fc.tuple(
        fc.constantFrom('json', 'jsonl', 'json.gz', 'jsonl.gz', 'snapshot'),
        documentBytes,
        lineBytes,
        snapshotBytes,
        fc.boolean(),
      ),
      async ([format, document, lines, snapshot, isCut]) => {
        const path = join(folder, `input.${format}`)
        const text = format.startsWith('jsonl') ? lines : document
        const zipped = gzipSync(text)
        const content =
          format === 'snapshot'
            ? snapshot
            : !format.endsWith('gz')
              ? text
              : isCut
                ? zipped.subarray(0, zipped.length >> 1)
                : zipped
        await writeFile(path, content)
        const done = await refusable<unknown>(() =>
          format === 'snapshot' ? state.importSnapshot(path) : state.importData(path),
        )
        if (format === 'snapshot' || done === undefined) assert.deepEqual(await state.load(), STORED)
        else await state.save(STORED)
      },
    ),
    target('command lines', 3, fc.array(words, { maxLength: 6 }), async args => {
      if (args.some(word => UNSUITABLE.has(word))) return
      const { code, stderr } = await runCommand([...args.map(word => word.replaceAll('/', '_'))], {
        cwd: join(folder, 'command'),
        stdin: '{}',
      })
      assert.ok(code >= 0 && code <= 6, `exit code ${code}: ${stderr}`)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what would reach a terminal is looked for.
      assert.doesNotMatch(stderr, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
    }),
  ]
}

/** What the store holds that imports must not change in part. */
export const STORED: Readonly<Record<string, unknown>> = { a: 1, b: [2, { c: 'three' }] }

const BASE = { name: 'Ada', list: [1, 2, 3], text: 'some text '.repeat(20) }

async function readSnapshot(bytes: Uint8Array): Promise<void> {
  const checked = await checkSnapshotFile(byteStream(bytes), 'f')
  const lookup = async (keys: readonly Uint8Array[]): Promise<undefined[]> => keys.map(() => undefined)
  for await (const { value } of readSnapshotFile(byteStream(bytes), checked, lookup)) {
    if (value !== undefined) decodeValue(value.codec, value.bytes)
  }
}
