import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32, deflateRawSync } from 'node:zlib'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { ExportError, ImportError } from '../../src/core/errors.ts'
import { encodeKey } from '../../src/core/key.ts'
import { type EncodedValue, encodeValue } from '../../src/core/value-codec.ts'
import { MAX_VARINT_BYTES, writeVarint } from '../../src/core/varint.ts'
import { createPersistence, type Persistence } from '../../src/index.ts'
import {
  checkSnapshotFile,
  readSnapshotFile,
  type SnapshotEntry,
  writeSnapshotFile,
} from '../../src/transfer/snapshot-file.ts'
import { FRAME, type FrameType, FrameWriter } from '../../src/transfer/snapshot-frames.ts'
import { encodeSnapshotHeader, type SnapshotFileHeader } from '../../src/transfer/snapshot-header.ts'
import type { SnapshotChange } from '../../src/transfer/snapshot-rows.ts'
import { byteStream, rejection } from '../support/byte-streams.ts'

const BASE = { id: '00000000-0000-4000-8000-000000000001', version: 'v1' }
const WHOLE: SnapshotFileHeader = {
  id: '00000000-0000-4000-8000-000000000002',
  version: 'v2',
  createdAt: 1_700_000_000_000,
  tags: ['release', '\u{1f600}'],
  description: 'with "quotes" and a lone \ud800',
  userInfo: new Map([['by', new Date(0)]]),
  base: undefined,
}
const DIFFERENCE: SnapshotFileHeader = { ...WHOLE, base: BASE }

function change(key: string, before: unknown, after: unknown): SnapshotChange {
  const encoded = (value: unknown) => (value === undefined ? undefined : encodeValue(value))
  return { key: encodeKey(key), before: encoded(before), after: encoded(after) }
}

async function* batches(...all: SnapshotChange[][]): AsyncGenerator<SnapshotChange[]> {
  yield* all
}

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

function write(header: SnapshotFileHeader, changes: SnapshotChange[]): Promise<Buffer> {
  return bytesOf(writeSnapshotFile(header, batches(changes), 'file'))
}

/** Reads a file as an import does: its checksums, then its entries. */
async function read(
  file: Uint8Array,
  base: ReadonlyMap<string, EncodedValue> = new Map(),
  stream: (bytes: Uint8Array) => AsyncIterable<Uint8Array> = bytes => byteStream(bytes),
): Promise<SnapshotEntry[]> {
  const checked = await checkSnapshotFile(stream(file), 'file')
  const lookup = async (keys: readonly Uint8Array[]) => keys.map(key => base.get(Buffer.from(key).toString()))
  const entries: SnapshotEntry[] = []
  for await (const entry of readSnapshotFile(stream(file), checked, lookup)) entries.push(entry)
  return entries
}

function plain(entries: readonly SnapshotEntry[]): (readonly [string, string | undefined])[] {
  return entries.map(({ key, value }) => [
    Buffer.from(key).toString(),
    value && `${value.codec}:${Buffer.from(value.bytes).toString('hex')}`,
  ])
}

async function refused(file: Uint8Array, message: RegExp): Promise<void> {
  const error = await rejection(read(file))
  assert(error instanceof ImportError, `${String(error)}`)
  assert.match(error.message, message)
}

/** A file put together by hand of frames, every checksum right. */
async function forge(...frames: (readonly [FrameType, Uint8Array])[]): Promise<Buffer> {
  const writer = new FrameWriter()
  const parts = [writer.preamble()]
  for (const [type, content] of frames) parts.push(await writer.frame(type, content))
  parts.push(writer.digest())
  return Buffer.concat(parts)
}

const header = [FRAME.header, encodeSnapshotHeader(WHOLE)] as const

function varint(value: number): Uint8Array {
  const bytes = Buffer.alloc(MAX_VARINT_BYTES)
  return bytes.subarray(0, writeVarint(bytes, 0, value))
}

/** A row of a whole file. */
function row(key: string, text: string, tag = 1): Uint8Array {
  const [name, value] = [Buffer.from(key, 'latin1'), Buffer.from(text)]
  return Buffer.concat([varint(name.length), name, Buffer.of(tag), varint(value.length), value])
}

function end(rows: number): readonly [FrameType, Uint8Array] {
  return [FRAME.end, varint(rows)]
}

/** Where the frames of a file lie, as offsets of their first bytes; the last is that of the digest. */
function frameOffsets(file: Buffer): number[] {
  const offsets = [8]
  let at = 8
  while (at < file.length - 32) {
    at += 13 + file.readUInt32LE(at + 5) + 4
    offsets.push(at)
  }
  return offsets
}

describe('the format', () => {
  const large = 'x'.repeat(3_000_000)

  test('gives back a whole snapshot, header and values to the byte, however the file is cut', async () => {
    const changes = [
      change('__proto__', undefined, { a: 1 }),
      change('a', undefined, new Map([[new Date(1), 10n]])),
      change('b', undefined, ''),
      change('large', undefined, large),
      change('z', undefined, null),
    ]
    const file = await write(WHOLE, changes)
    assert(file.length < 10_000, `${file.length} bytes`)
    const expected = plain(changes.map(({ key, after }) => ({ key, value: after })))
    assert.deepEqual(plain(await read(file)), expected)
    const everywhere = Array.from(file.keys())
    const { header } = await checkSnapshotFile(byteStream(file, everywhere), 'file')
    assert.deepEqual(header, WHOLE)
    assert.deepEqual(
      plain(await read(file, new Map(), bytes => byteStream(bytes, [1, 9, 700, 701]))),
      expected,
    )
  })

  test('gives back a difference: added, changed, removed, of large and small values', async () => {
    const changes = [
      change('added', undefined, 1),
      change('changed', { list: [1, 2, 3] }, { list: [1, 3] }),
      change('codec', 1, new Date(0)),
      change('edited', large, `${large.slice(0, 1_000_000)}!${large.slice(1_000_000)}`),
      change('removed', 'gone', undefined),
    ]
    const file = await write(DIFFERENCE, changes)
    assert(file.length < 3_000, `${file.length} bytes: an edit is stored as a delta`)
    const base = new Map(
      changes.flatMap(({ key, before }) =>
        before === undefined ? [] : [[Buffer.from(key).toString(), before] as const],
      ),
    )
    assert.deepEqual(
      plain(await read(file, base)),
      plain(changes.map(({ key, after }) => ({ key, value: after }))),
    )
  })

  test('carries a snapshot without keys, and a difference without changes', async () => {
    assert.deepEqual(await read(await write(WHOLE, [])), [])
    assert.deepEqual(await read(await write(DIFFERENCE, [])), [])
  })

  test('gathers rows in blocks of at most 1 MiB, but for rows that are larger', async () => {
    const random = (length: number, seed: number) => {
      const bytes = new Uint8Array(length)
      for (let i = 0, state = seed; i < length; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        bytes[i] = state >>> 24
      }
      return bytes
    }
    const sizes = [400_000, 400_000, 400_000, 2_000_000, 10, 10]
    const changes = sizes.map((size, i) => change(`k${i}`, undefined, random(size, i)))
    const file = await write(WHOLE, changes)
    const lengths = frameOffsets(file)
      .slice(1, -2)
      .map(offset => file.readUInt32LE(offset + 1))
    assert.equal(lengths.length, 4)
    assert.deepEqual(
      lengths.map(length => length > 1024 * 1024),
      [false, false, true, false],
    )
    assert.equal((await read(file)).length, sizes.length)
  })

  test('refuses a header that no import would read', async () => {
    const error = await rejection(write({ ...WHOLE, description: ' '.repeat(2 ** 26) }, []))
    assert(error instanceof ExportError)
    assert.match(error.message, /userInfo take \d+ bytes/)
  })
})

describe('a file that is not as it was written', () => {
  test('something else altogether', async () => {
    await refused(Buffer.from('{"data": {}}'), /not a snapshot file.*importData/)
    await refused(Buffer.alloc(0), /truncated: it ends after 0 bytes/)
  })

  test('a newer format asks for an upgrade', async () => {
    const file = await write(WHOLE, [])
    file[7] = 2
    await refused(file, /format 2.*up to 1\. Upgrade varve/)
  })

  test('the block that is damaged is named, before any of it is believed', async () => {
    const file = await write(WHOLE, [change('a', undefined, 1)])
    const [, rows = 0] = frameOffsets(file)
    for (const [offset, message] of [
      [rows + 1, /block 1 is damaged: its lengths do not match their checksum/],
      [rows + 8, /block 1 is damaged: its lengths do not match their checksum/],
      [rows + 13, /block 1 is damaged: it does not match its checksum/],
    ] as const) {
      const copy = Buffer.from(file)
      copy[offset] = (copy[offset] as number) ^ 0x80
      await refused(copy, message)
    }
  })

  test('blocks out of order, repeated, left out; and what follows the end', async () => {
    const big = Array.from({ length: 3 }, (_, i) => change(`k${i}`, undefined, `${i}`.repeat(600_000)))
    const file = await write(WHOLE, big)
    const at = frameOffsets(file)
    const part = (i: number) => file.subarray(at[i], at[i + 1])
    const rebuilt = (...order: number[]) =>
      Buffer.concat([file.subarray(0, 8), ...order.map(part), file.subarray(at.at(-1))])
    assert.deepEqual(rebuilt(0, 1, 2, 3, 4), file)
    for (const order of [
      [0, 2, 1, 3, 4],
      [0, 1, 1, 2, 3, 4],
      [0, 1, 3, 4],
      [0, 1, 2, 3, 3, 4],
      [1, 2, 3, 4],
      [0, 0, 1, 2, 3, 4],
      [0, 4],
      [0, 1, 2, 3],
    ]) {
      const error = await rejection(read(rebuilt(...order)))
      assert(error instanceof ImportError, `${order}: ${String(error)}`)
    }
    await refused(Buffer.concat([file, Buffer.of(0)]), /something follows its end/)
  })

  // Whoever forges a file can get the checksums right as well: they must not be all that is looked at.
  test('contents that no export writes, under checksums that are right', async () => {
    const rows = (...all: Uint8Array[]) => [FRAME.rows, Buffer.concat(all)] as const
    assert.deepEqual(plain(await read(await forge(header, rows(row('a', '1')), end(1)))), [['a', '1:31']])

    await refused(await forge(header, rows(row('b', '1'), row('a', '1')), end(2)), /not above those before/)
    await refused(
      await forge(header, rows(row('a', '1')), rows(row('a', '1')), end(2)),
      /not above those before/,
    )
    await refused(await forge(header, rows(row('a', '1')), end(2)), /counts 2 rows, and there are 1/)
    await refused(await forge(header, rows(row('', '1')), end(1)), /a key is not/)
    await refused(await forge(header, rows(row('k'.repeat(1025), '1')), end(1)), /a key is not/)
    await refused(await forge(header, rows(row('\xff', '1')), end(1)), /a key is not/)
    await refused(await forge(header, rows(row('a', '1', 7)), end(1)), /the tag 7/)
    await refused(await forge(header, rows(row('a', '1', 0)), end(1)), /the tag 0/)
    await refused(await forge(header, rows(row('a', '1', 0x11)), end(1)), /the tag 17/)
    await refused(await forge(header, rows(row('a', '{')), end(1)), /do not decode as JSON/)
    await refused(await forge(header, rows(row('a', 'x', 2)), end(1)), /do not decode as V8/)
    await refused(await forge(header, rows(row('a', '1').subarray(0, -1)), end(1)), /its rows cannot be read/)
    await refused(await forge(header, [FRAME.end, Buffer.of(0, 0)]), /longer than it should be/)
    await refused(await forge(rows(row('a', '1')), end(1)), /should be the header/)
    await refused(await forge(header, header, end(0)), /a second header/)
    const several = [row('a', JSON.stringify('x'.repeat(1_100_000))), row('b', '1')]
    await refused(await forge(header, rows(...several), end(2)), /too long for several rows/)
  })

  test('headers that no export writes', async () => {
    const forged = (change: object) => {
      const content = { ...JSON.parse(Buffer.from(header[1]).toString()), ...change }
      return forge([FRAME.header, Buffer.from(JSON.stringify(content))], end(0))
    }
    assert.deepEqual(await read(await forged({ unknown: 1 })), [])
    const wrong: object[] = [
      { id: 'x' },
      { version: '2' },
      { createdAt: 1.5 },
      { createdAt: 9e15 },
      { tags: 'a' },
      { tags: [''] },
      { description: null },
      { base: {} },
      { userInfo: { codec: 2, data: '' } },
      { userInfo: 7 },
    ]
    for (const change of wrong) {
      const [name] = Object.keys(change)
      await refused(await forged(change), new RegExp(name === 'base' ? 'id is not' : `${name}|do not decode`))
    }
    await refused(await forge([FRAME.header, Buffer.from('[]')], end(0)), /the header is not/)
    await refused(await forge([FRAME.header, Buffer.from('nonsense')], end(0)), /the header cannot be read/)
  })

  test('declared sizes are refused before memory is taken', async () => {
    const content = deflateRawSync(Buffer.alloc(2_000_000))
    const bomb = (type: number, length: number, stored: Buffer) => {
      const fields = Buffer.alloc(9)
      fields.writeUInt8(type, 0)
      fields.writeUInt32LE(length, 1)
      fields.writeUInt32LE(stored.length, 5)
      const checksum = Buffer.alloc(4)
      checksum.writeUInt32LE(crc32(fields))
      const last = Buffer.alloc(4)
      last.writeUInt32LE(crc32(stored))
      return Buffer.concat([fields, checksum, stored, last])
    }
    const start = frameOffsets(await forge(header, end(0)))[1] as number
    const prefix = (await forge(header, end(0))).subarray(0, start)
    await refused(
      Buffer.concat([prefix, bomb(2, 2 ** 32 - 1, content)]),
      /declares 4294967295 bytes, more than/,
    )
    await refused(Buffer.concat([prefix, bomb(1, 2 ** 31, content)]), /declares 2147483648 bytes, more than/)
    await refused(Buffer.concat([prefix, bomb(2, 500_000_000, content)]), /cannot be the deflated form/)
    await refused(Buffer.concat([prefix, bomb(2, 10, content)]), /cannot be the deflated form/)
    await refused(Buffer.concat([prefix, bomb(9, 10, content)]), /unknown type 9/)
    // Room for half of what comes out, or for twice as much, is found out while it is inflated.
    const checked = await checkSnapshotFile(byteStream(await forge(header, end(0))), 'file')
    for (const [length, message, code] of [
      [1_000_000, /cannot be inflated/, 'ERR_BUFFER_TOO_LARGE'],
      [2_000_001, /holds less than it declares/, undefined],
    ] as const) {
      const file = Buffer.concat([prefix, bomb(2, length, content)])
      const entries = readSnapshotFile(byteStream(file), checked, async () => [])
      const error = await rejection(entries.next())
      assert(error instanceof ImportError)
      assert.match(error.message, message)
      assert.equal((error.cause as { code?: string } | undefined)?.code, code)
    }
  })

  test('a file that was replaced between its two readings', async () => {
    const [one, other] = [await write(WHOLE, []), await write({ ...WHOLE, description: '' }, [])]
    const checked = await checkSnapshotFile(byteStream(one), 'file')
    const error = await rejection(readSnapshotFile(byteStream(other), checked, async () => []).next())
    assert(error instanceof ImportError)
    assert.match(error.message, /was replaced while it was read/)
  })
})

describe('a difference on a base that is not its own', () => {
  const changes = [
    change('a', undefined, 1),
    change('b', { n: 'before' }, { n: 'after!' }),
    change('c', 1, undefined),
  ]
  const right = { b: { n: 'before' }, c: 1 }

  async function on(base: Record<string, unknown>): Promise<unknown> {
    const encoded = new Map(Object.entries(base).map(([key, value]) => [key, encodeValue(value)]))
    return read(await write(DIFFERENCE, changes), encoded).catch((error: unknown) => error)
  }

  test('is refused, wherever the base is another', async () => {
    assert(Array.isArray(await on(right)))
    for (const base of [
      {},
      { ...right, a: 1 },
      { b: right.b },
      { ...right, b: { n: 'BEFORE' } },
      { ...right, b: { m: 'before' } },
      { ...right, c: 2 },
      { ...right, c: null },
    ]) {
      const error = await on(base)
      assert(error instanceof ImportError, JSON.stringify(base))
      assert.match(error.message, /difference from v1 .*holds other values/)
    }
  })

  test('also where it is changed as a delta', async () => {
    const text = 'once upon a time '.repeat(50)
    const file = await write(DIFFERENCE, [change('t', text, `${text}.`)])
    for (const base of [[], [['t', encodeValue(text.toUpperCase())] as const]]) {
      const error = await rejection(read(file, new Map(base)))
      assert(error instanceof ImportError)
      assert.match(error.message, /holds other values/)
    }
  })
})

describe('in a store', () => {
  let folder: string
  let store: Persistence
  const path = (name: string) => join(folder, name)

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'varve-snapshot-'))
    store = await createPersistence()
    const text = 'long enough that a delta of it is shorter'
    await store.save({ a: text, b: 1 })
    await store.createSnapshot()
    await store.save({ a: `${text}.`, c: new Date(0) })
    await store.createSnapshot()
    await store.exportSnapshot('v1', path('whole'))
    await store.exportSnapshot('v2', path('difference'), { base: 'v1' })
  })

  afterAll(async () => {
    await store.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function snapshotOf(state: Persistence): Promise<unknown> {
    const { keys, storage, snapshotCount } = await state.getMetrics()
    return [
      await state.load(),
      await state.listSnapshots(),
      keys,
      snapshotCount,
      storage.bytes,
      storage.tables,
    ]
  }

  /** Imports each variant of a file into one store, which must stay as it is to the last byte. */
  async function allRefused(target: Persistence, variants: readonly Buffer[]): Promise<void> {
    // Work left over in the background would change the bytes as well.
    await target.compact()
    const before = await snapshotOf(target)
    const refuse = async (variant: Buffer, i: number): Promise<void> => {
      await writeFile(path(`variant ${i}`), variant)
      const error = await rejection(target.importSnapshot(path(`variant ${i}`)))
      assert(error instanceof ImportError, String(error))
    }
    for (let start = 0; start < variants.length; start += 16) {
      await Promise.all(variants.slice(start, start + 16).map(refuse))
    }
    assert.deepEqual(await snapshotOf(target), before)
  }

  async function targetWithBase(): Promise<Persistence> {
    const target = await createPersistence()
    await target.importSnapshot(path('whole'))
    await target.set('own', 1)
    return target
  }

  function flips(file: Buffer): Buffer[] {
    return Array.from({ length: file.length * 8 }, (_, bit) => {
      const copy = Buffer.from(file)
      copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7))
      return copy
    })
  }

  test.each(['whole', 'difference'])('every flipped bit of a %s file is detected', async name => {
    await using target = await targetWithBase()
    await allRefused(target, flips(await readFile(path(name))))
  })

  test.each(['whole', 'difference'])('every cut of a %s file is detected', async name => {
    await using target = await targetWithBase()
    const file = await readFile(path(name))
    const cuts = Array.from({ length: file.length }, (_, length) => file.subarray(0, length))
    await allRefused(target, cuts)
    // And uncut it is what it should be.
    await target.importSnapshot(path(name))
  })

  test('a difference whose base is missing names it, and what to do', async () => {
    await using target = await createPersistence()
    const error = await rejection(target.importSnapshot(path('difference')))
    assert(error instanceof ImportError)
    const [base] = await store.listSnapshots()
    assert.match(error.message, new RegExp(`difference from v1 \\(${base?.id}\\).*Import that one first`))
    assert.deepEqual(await target.listSnapshots(), [])
    assert.equal(error.file, path('difference'))
  })

  test('a file that is missing, a folder, a pipe', async () => {
    assert((await rejection(store.importSnapshot(path('none')))) instanceof ImportError)
    assert((await rejection(store.importSnapshot(folder))) instanceof ImportError)
    const error = await rejection(store.importSnapshot('/dev/null'))
    assert(error instanceof ImportError)
    assert.match(error.message, /not a regular file/)
  })

  test('an export that fails leaves no file, and the former one', async () => {
    const before = await readdir(folder)
    const missing = await rejection(store.exportSnapshot('v9', path('whole')))
    assert.equal((missing as { code?: string }).code, 'SNAPSHOT_NOT_FOUND')
    const noBase = await rejection(store.exportSnapshot('v2', path('whole'), { base: 'v9' }))
    assert.equal((noBase as { code?: string }).code, 'SNAPSHOT_NOT_FOUND')
    const itself = await rejection(store.exportSnapshot('v2', path('new'), { base: 'v2' }))
    assert.equal((itself as { code?: string }).code, 'INVALID_ARGUMENT')
    const nowhere = await rejection(store.exportSnapshot('v2', join(folder, 'no', 'where')))
    assert(nowhere instanceof ExportError)
    const controller = new AbortController()
    const cancelled = store.exportSnapshot('v2', path('new'), {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error('enough')),
    })
    assert.match(String(await rejection(cancelled)), /enough/)
    assert.deepEqual(await readdir(folder), before)
    assert.equal(
      (await checkSnapshotFile(byteStream(await readFile(path('whole'))), 'x')).header.version,
      'v1',
    )
  })
})
