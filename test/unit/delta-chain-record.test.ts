import { brotliCompressSync, crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { DataIntegrityError, InvalidArgumentError } from '../../src/core/errors.ts'
import {
  type ChainVersion,
  decodeChainIndex,
  encodeChain,
  encodeChains,
  openChain,
  readChain,
  readChainAt,
  removeFromChain,
  TOMBSTONE_CODEC,
} from '../../src/delta/chain-record.ts'
import { noise, records, scatterEdits } from '../support/delta-samples.ts'

const JSON_CODEC = 1

function version(birth: number, payload: string | Uint8Array, codec = JSON_CODEC): ChainVersion {
  return { birth, codec, payload: typeof payload === 'string' ? Buffer.from(payload) : payload }
}

function tombstone(birth: number): ChainVersion {
  return { birth, codec: TOMBSTONE_CODEC, payload: Buffer.alloc(0) }
}

/** A value of some 2 kB edited again and again, every third time put back to what it was before. */
function edited(count: number, seed = 1): ChainVersion[] {
  let current = records(2_000, seed)
  let before = current
  return Array.from({ length: count }, (_, i) => {
    const next = i % 3 === 2 ? before : scatterEdits(current, 2, seed + i)
    before = current
    current = next
    return version(10 + 3 * i, next)
  })
}

function expectSame(actual: readonly ChainVersion[], expected: readonly ChainVersion[]): void {
  expect(actual.map(({ birth, codec }) => ({ birth, codec }))).toEqual(
    expected.map(({ birth, codec }) => ({ birth, codec })),
  )
  for (const [i, { payload }] of actual.entries()) {
    expect(Buffer.compare(payload, (expected[i] as ChainVersion).payload)).toBe(0)
  }
}

/** `record` with bytes changed by `change`, and a checksum that fits them. */
function forged(record: Uint8Array, change: (bytes: Buffer) => Buffer | undefined): Buffer {
  const copy = Buffer.from(record)
  const bytes = change(copy) ?? copy
  bytes.writeUInt32LE(crc32(bytes.subarray(6), crc32(bytes.subarray(0, 2))), 2)
  return bytes
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest]
    bytes.push((rest % 128) + 128)
  }
}

describe('chain record', () => {
  it('keeps every version readable by itself, and all at once', () => {
    const versions = edited(300)
    const record = encodeChain(versions)
    expectSame(readChain(record), versions)
    for (const [i, { birth, payload }] of versions.entries()) {
      for (const asked of [birth, birth + 1, birth + 2]) {
        const found = readChainAt(record, asked)
        expect(found?.birth).toBe(birth)
        expect(Buffer.compare(found?.payload ?? Buffer.alloc(0), payload)).toBe(0)
      }
      if (i === 0) expect(readChainAt(record, birth - 1)).toBeUndefined()
    }
  })

  it('takes few bytes a version', () => {
    const versions = edited(128)
    expect(encodeChain(versions).length).toBeLessThan(128 * 24)
    const toggled = Array.from({ length: 256 }, (_, i) => version(i, records(2_000, i % 3)))
    expect(encodeChain(toggled).length).toBeLessThan(2_800)
  })

  it('lists births, codecs and sizes', () => {
    const versions = [
      version(0, 'first', 2),
      tombstone(4),
      version(1_000_000, ''),
      version(2 ** 50, 'last', 255),
    ]
    expect(decodeChainIndex(encodeChain(versions))).toEqual([
      { birth: 0, codec: 2, size: 5 },
      { birth: 4, codec: 0, size: 0 },
      { birth: 1_000_000, codec: 1, size: 0 },
      { birth: 2 ** 50, codec: 255, size: 4 },
    ])
  })

  it('takes deletions anywhere, and nothing but deletions', () => {
    const text = records(500, 3)
    for (const versions of [
      [tombstone(1)],
      [tombstone(1), tombstone(2)],
      [tombstone(1), version(2, text), tombstone(3), version(4, text), tombstone(5)],
      [version(1, text), version(2, text)],
    ]) {
      const record = encodeChain(versions)
      expectSame(readChain(record), versions)
      expectSame(
        versions.map(({ birth }) => readChainAt(record, birth) as ChainVersion),
        versions,
      )
    }
  })

  it('tells equal payloads of different codecs apart', () => {
    const versions = [1, 2, 1, 3, 2, 1].map((codec, i) => version(i, 'same bytes', codec))
    expectSame(readChain(encodeChain(versions)), versions)
  })

  it('returns to values long gone', () => {
    const values = Array.from({ length: 40 }, (_, i) => records(300, i))
    const order = [...values.keys(), ...values.keys(), 3, 30, 3, 17]
    const versions = order.map((value, i) => version(i, values[value] as Buffer))
    expectSame(readChain(encodeChain(versions)), versions)
  })

  it('reads an old version of a long chain about as fast as one of a short chain', () => {
    const chainOf = (length: number): ReturnType<typeof openChain> => {
      const text = records(100, 5)
      const versions = Array.from({ length }, (_, i) => {
        text.write(String(i).padStart(6, '0'), (i * 7) % 90)
        return version(i, Buffer.from(text))
      })
      const chain = openChain(encodeChain(versions))
      expect(Buffer.compare(chain.payload(1), (versions[1] as ChainVersion).payload)).toBe(0)
      return chain
    }
    const cost = (chain: ReturnType<typeof openChain>): number => {
      const times = [1, 2, 3, 4, 5].map(() => {
        const start = process.hrtime.bigint()
        for (let i = 0; i < 200; i++) chain.payload(1 + (i % 30))
        return Number(process.hrtime.bigint() - start)
      })
      return Math.min(...times)
    }
    // Were all scripts one upon the other, the long chain would take some fifty times as long.
    expect(cost(chainOf(8_000))).toBeLessThan(cost(chainOf(40)) * 8)
  })

  it('takes large values with several edits', () => {
    let bytes = noise(1_000_000, 1)
    const versions = Array.from({ length: 24 }, (_, i) => {
      bytes = scatterEdits(bytes, 20, i)
      return version(i, bytes)
    })
    const record = encodeChain(versions)
    expect(record.length).toBeLessThan(1_000_000 + 24 * 1_000)
    expectSame(readChain(record), versions)
    expect(
      Buffer.compare(readChainAt(record, 0)?.payload as Uint8Array, (versions[0] as ChainVersion).payload),
    ).toBe(0)
  })

  it('gives payloads that are the caller’s own', () => {
    const chain = openChain(encodeChain(edited(5)))
    chain.payload(2).fill(0)
    expectSame([version(0, chain.payload(2))], [version(0, (edited(5)[2] as ChainVersion).payload)])
  })

  it('refuses what is no chain', () => {
    expect(() => encodeChain([])).toThrow(InvalidArgumentError)
    expect(() => encodeChain([version(2, 'a'), version(2, 'b')])).toThrow(/must ascend/)
    expect(() => encodeChain([version(3, 'a'), version(2, 'b')])).toThrow(/must ascend/)
    for (const birth of [-1, 0.5, Number.NaN, 2 ** 53]) {
      expect(() => encodeChain([version(birth, 'a')])).toThrow(InvalidArgumentError)
    }
    expect(() => encodeChain([version(1, 'a', 256)])).toThrow(InvalidArgumentError)
    expect(() => encodeChain([version(1, 'a', 0)])).toThrow(/no payload/)
    expect(() => openChain(encodeChain([version(1, 'a')])).payload(1)).toThrow(InvalidArgumentError)
  })
})

describe('encodeChains', () => {
  const versions = edited(300)

  it('splits by number of versions, oldest record first', () => {
    const chains = encodeChains(versions, { maxVersions: 128 })
    expect(chains.map(({ record }) => readChain(record).length)).toEqual([44, 128, 128])
    expect(chains.map(({ firstBirth }) => firstBirth)).toEqual(
      chains.map(({ record }) => (readChain(record)[0] as ChainVersion).birth),
    )
    expectSame(
      chains.flatMap(({ record }) => readChain(record)),
      versions,
    )
  })

  it('splits by what a read decompresses', () => {
    const unrelated = Array.from({ length: 40 }, (_, i) => version(i, noise(5_000, i)))
    for (const { record } of encodeChains(unrelated, { maxEditBytes: 20_000 })) {
      const chain = openChain(record)
      expect(chain.births.length).toBeLessThanOrEqual(5)
      expect(record.length).toBeLessThan(5_000 + 20_000 + 100)
    }
    expectSame(
      encodeChains(unrelated, { maxEditBytes: 20_000 }).flatMap(({ record }) => readChain(record)),
      unrelated,
    )
  })

  it('splits by what taking a record apart costs, but lets two values meet', () => {
    const large = Array.from({ length: 9 }, (_, i) => version(i, scatterEdits(noise(100_000, 1), 3, i)))
    const lengths = (maxPayloadBytes: number): number[] =>
      encodeChains(large, { maxPayloadBytes }).map(({ record }) => readChain(record).length)
    expect(lengths(450_000)).toEqual([1, 4, 4])
    expect(lengths(1)).toEqual([1, 2, 2, 2, 2])
  })

  it('gives no record for no versions, and refuses bad bounds', () => {
    expect(encodeChains([])).toEqual([])
    expect(() => encodeChains(versions, { maxVersions: 0 })).toThrow(InvalidArgumentError)
    expect(() => encodeChains(versions, { maxVersion: 3 } as object)).toThrow(/maxVersions/)
  })
})

describe('removeFromChain', () => {
  const versions = edited(60)
  const record = encodeChain(versions)

  it.each([
    ['the oldest', [0]],
    ['the newest', [59]],
    ['one in between', [30]],
    ['many', Array.from({ length: 50 }, (_, i) => i)],
  ])('keeps every other version readable without %s', (_, indexes) => {
    const births = indexes.map(i => (versions[i] as ChainVersion).birth)
    const rest = removeFromChain(record, births) as Uint8Array
    const kept = versions.filter(({ birth }) => !births.includes(birth))
    expectSame(readChain(rest), kept)
    expectSame(
      kept.map(({ birth }) => readChainAt(rest, birth) as ChainVersion),
      kept,
    )
  })

  it('leaves nothing when all go, and the record as it is when none does', () => {
    expect(
      removeFromChain(
        record,
        versions.map(({ birth }) => birth),
      ),
    ).toBeUndefined()
    expect(removeFromChain(record, [1, 2])).toBe(record)
  })
})

describe('a damaged chain record', () => {
  const small = encodeChain([...edited(6), tombstone(100), version(200, 'x', 7), version(2_000, 'xy')])
  const readAll = (record: Uint8Array): unknown => [
    decodeChainIndex(record),
    readChain(record),
    readChainAt(record, 100),
  ]

  it('is refused when truncated to any length, or longer', () => {
    for (let length = 0; length < small.length; length++) {
      expect(() => openChain(small.subarray(0, length))).toThrow(DataIntegrityError)
    }
    expect(() => openChain(Buffer.concat([small, Buffer.from([0])]))).toThrow(DataIntegrityError)
  })

  it('is refused for any flipped bit', () => {
    for (let bit = 0; bit < small.length * 8; bit++) {
      const damaged = Buffer.from(small)
      damaged[bit >>> 3] = (damaged[bit >>> 3] as number) ^ (1 << (bit & 7))
      expect(() => openChain(damaged)).toThrow(DataIntegrityError)
    }
  })

  it('never crashes or hangs, even with a checksum that fits', () => {
    for (let at = 0; at < small.length; at++) {
      for (const value of [0, 1, 0x7f, 0x80, 0xff, (small[at] as number) ^ 0x08]) {
        if (at >= 2 && at < 6) continue
        const damaged = forged(small, bytes => {
          bytes[at] = value
          return undefined
        })
        try {
          readAll(damaged)
        } catch (error) {
          expect(error).toBeInstanceOf(DataIntegrityError)
        }
      }
    }
  })

  it('takes no memory for what it only declares', () => {
    // Versions: 1; newest birth 0; codec 1; body of 2^30 bytes, of which 2^30 - 5 literals; row 0.
    const head = [1, 1, 0, 0, 0, 0, 1, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x04, 0xfb, 0xff, 0xff, 0xff, 0x03, 0]
    const bomb = forged(Buffer.from(head), bytes =>
      Buffer.concat([bytes, brotliCompressSync(Buffer.alloc(1_000))]),
    )
    const before = process.memoryUsage().arrayBuffers
    expect(openChain(bomb).births).toEqual([0])
    expect(() => readChain(bomb)).toThrow(DataIntegrityError)
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24)
    // 2^40 versions.
    const crowd = forged(
      Buffer.from([1, 0, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0, 1, 0, 0, 0]),
      () => undefined,
    )
    expect(() => openChain(crowd)).toThrow(DataIntegrityError)
  })

  // A keyframe of five bytes, and a version with one edit of it: copy, inserted bytes, growth (its sign folded in).
  it.each([
    ['copies from beyond its base', 'hello', [5, 1, 6, 0, 0]],
    ['goes on before its base', 'hello', [5, 1, 0, 0, 12]],
    ['goes on behind its base', 'hello', [5, 1, 3, 0, 5]],
    ['inserts what is not there', 'hello', [5, 1, 0, 1, 2]],
    ['leaves literals over', 'hello!', [5, 1, 0, 0, 1]],
    ['leaves numbers over', 'hello', [5, 1, 0, 0, 1, 0]],
    ['ends within an edit', 'hello', [5, 1, 0, 0]],
    ['has a keyframe longer than its literals', 'hello', [6, 1, 0, 0, 1]],
  ])('is refused when an edit %s', (_, literals, numbers) => {
    const body = [...Buffer.from(literals), ...numbers]
    // Format 1, stored; two versions, the newest of birth 9; codec 1; then rows of distance 0 and 1 with new values.
    const head = [1, 0, 0, 0, 0, 0, 2, 9, 1, body.length, literals.length, 0, 8]
    const record = forged(Buffer.from([...head, ...body]), () => undefined)
    expect(openChain(record).births).toEqual([8, 9])
    expect(() => readChain(record)).toThrow(DataIntegrityError)
    expect(() => readChainAt(record, 9)).toThrow(DataIntegrityError)
  })

  it('is refused when its values grow without bound', () => {
    // Each of 40 versions is its base twice: copy all, then go back to the start.
    const rows = [0, ...Array.from({ length: 40 }, () => 8)]
    const numbers: number[] = [64]
    for (let i = 0, length = 64; i < 40; i++, length *= 2) {
      numbers.push(1, ...varint(length), 0, ...varint(length * 2))
    }
    const body = [...Buffer.alloc(64, 'x'), ...numbers]
    const head = [1, 0, 0, 0, 0, 0, 41, 50, 1, ...varint(body.length), 64]
    const record = forged(Buffer.from([...head, ...rows, ...body]), () => undefined)
    expect(() => readChainAt(record, 49)).toThrow(DataIntegrityError)
  })

  it('is refused when of a later format', () => {
    const later = forged(small, bytes => {
      bytes[0] = 2
      return undefined
    })
    expect(() => openChain(later)).toThrow(/format is 2/)
  })
})
