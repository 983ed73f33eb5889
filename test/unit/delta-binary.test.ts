import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { DataIntegrityError, DeltaError } from '../../src/core/errors.ts'
import { applyBinaryDelta, encodeBinaryDelta } from '../../src/delta/binary-delta.ts'
import { noise, records, scatterEdits } from '../support/delta-samples.ts'

const base = records(20_000, 1)

function expectRoundTrip(from: Uint8Array, to: Uint8Array): { plain: number; compressed: number } {
  const plain = encodeBinaryDelta(from, to)
  const compressed = encodeBinaryDelta(from, to, { compress: true })
  expect(Buffer.compare(applyBinaryDelta(from, plain), to)).toBe(0)
  expect(Buffer.compare(applyBinaryDelta(from, compressed), to)).toBe(0)
  return { plain: plain.length, compressed: compressed.length }
}

describe('binary delta', () => {
  it('is small for one edit, wherever it is', () => {
    for (const at of [0, 1, 9_999, 19_998, 20_000]) {
      const inserted = Buffer.concat([base.subarray(0, at), Buffer.from('new'), base.subarray(at)])
      const removed = Buffer.concat([base.subarray(0, at), base.subarray(at + 5)])
      expect(expectRoundTrip(base, inserted).plain).toBeLessThan(40)
      expect(expectRoundTrip(base, removed).plain).toBeLessThan(40)
    }
  })

  it('is tiny for equal bytes', () => {
    expect(expectRoundTrip(base, Buffer.from(base)).plain).toBeLessThan(24)
  })

  it('stays small for many scattered edits', () => {
    const { plain } = expectRoundTrip(base, scatterEdits(base, 100, 2))
    expect(plain).toBeLessThan(100 * 14)
  })

  it('finds blocks that moved', () => {
    const moved = Buffer.concat([
      base.subarray(15_000),
      base.subarray(5_000, 15_000),
      base.subarray(0, 5_000),
    ])
    expect(expectRoundTrip(base, moved).plain).toBeLessThan(60)
    const noisy = noise(20_000, 3)
    const reversed = [3, 2, 1, 0].map(i => noisy.subarray(i * 5_000, (i + 1) * 5_000))
    expect(expectRoundTrip(noisy, Buffer.concat(reversed)).plain).toBeLessThan(60)
  })

  it('finds repetitions of what stayed in place', () => {
    const repeated = Buffer.concat([base, base.subarray(1_000, 4_000)])
    expect(expectRoundTrip(base, repeated).plain).toBeLessThan(50)
  })

  it('costs hardly more than the target where nothing is shared', () => {
    const { plain, compressed } = expectRoundTrip(noise(5_000, 4), noise(6_000, 5))
    expect(plain).toBeLessThan(6_050)
    expect(compressed).toBeLessThan(6_050)
    expect(expectRoundTrip(noise(5_000, 4), records(6_000, 5)).compressed).toBeLessThan(2_000)
  })

  it('takes empty and very short byte strings', () => {
    const strings = ['', 'a', 'b', 'aa', 'ab', 'aaaaaaaaaa'].map(text => Buffer.from(text))
    for (const from of strings) for (const to of strings) expectRoundTrip(from, to)
  })

  it('takes views of larger memory and plain Uint8Arrays', () => {
    const memory = new Uint8Array(64).map((_, i) => i)
    const from = memory.subarray(3, 40)
    const to = memory.subarray(7, 51)
    expect(Buffer.compare(applyBinaryDelta(from, encodeBinaryDelta(from, to)), to)).toBe(0)
  })

  it('works from 10 bytes to 50 MB', () => {
    const big = Buffer.concat([randomBytes(25_000_000), Buffer.alloc(25_000_000, 'some state ')])
    for (const size of [10, 1_000, 100_000, 50_000_000]) {
      const from = big.subarray(big.length - size)
      const to = Buffer.from(from)
      to[size >>> 1] = (to[size >>> 1] as number) ^ 1
      to[size - 1] = (to[size - 1] as number) ^ 1
      expect(expectRoundTrip(from, to).compressed).toBeLessThan(100)
    }
  })

  it('refuses another base', () => {
    const target = scatterEdits(base, 3, 6)
    for (const compress of [false, true]) {
      const delta = encodeBinaryDelta(base, target, { compress })
      const flipped = Buffer.from(base)
      flipped[100] = (flipped[100] as number) ^ 1
      for (const wrong of [flipped, target, base.subarray(1), Buffer.alloc(0)]) {
        expect(() => applyBinaryDelta(wrong, delta)).toThrow(DeltaError)
      }
    }
  })

  it.each([false, true])(
    'detects truncation at every length and every flipped bit (compress: %s)',
    compress => {
      const small = records(600, 7)
      // A run of equal bytes, where a misplaced insertion would give the right result after all.
      const from = Buffer.concat([small, Buffer.alloc(200, 'x')])
      const to = Buffer.concat([scatterEdits(small, 3, 8), Buffer.alloc(230, 'x'), noise(90, 2)])
      const delta = encodeBinaryDelta(from, to, { compress })
      const refused = (damaged: Uint8Array): void => {
        let error: unknown
        try {
          applyBinaryDelta(from, damaged)
        } catch (caught) {
          error = caught
        }
        expect(error instanceof DataIntegrityError || error instanceof DeltaError).toBe(true)
      }
      for (let length = 0; length < delta.length; length++) refused(delta.subarray(0, length))
      refused(Buffer.concat([delta, Buffer.from([0])]))
      for (let bit = 0; bit < delta.length * 8; bit++) {
        const damaged = Buffer.from(delta)
        damaged[bit >>> 3] = (damaged[bit >>> 3] as number) ^ (1 << (bit & 7))
        refused(damaged)
      }
    },
  )

  it('refuses a result longer than allowed before taking memory for it', () => {
    const delta = encodeBinaryDelta(base, scatterEdits(base, 3, 6))
    expect(() => applyBinaryDelta(base, delta, { maxBytes: 1_000 })).toThrow(/more than the 1000 allowed/)
    expect(() => applyBinaryDelta(Buffer.alloc(0), forge(2 ** 50, [0, 2, 0, 0]))).toThrow(DeltaError)
    const before = process.memoryUsage().arrayBuffers
    // A result of 512 MiB is allowed, but these edits do not make it; nor is there a script of 512 MiB in a few bytes.
    const bombs = [forge(2 ** 29, [0, 2, 0, 0]), forge(2 ** 29, [1, ...varint(2 ** 29), 0x0b, 0x80, 0x03])]
    for (const bomb of bombs) {
      expect(() => applyBinaryDelta(Buffer.alloc(0), bomb)).toThrow(DataIntegrityError)
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24)
  })

  it('stays linear for input made to mislead the search', () => {
    const inputs: ((length: number) => [Buffer, Buffer])[] = [
      // All bytes equal, but for the ends, which keeps prefix and suffix from settling it.
      length => [
        Buffer.concat([Buffer.from('a'), Buffer.alloc(length), Buffer.from('b')]),
        Buffer.concat([Buffer.from('c'), Buffer.alloc(length - 7), Buffer.from('d')]),
      ],
      // A short period, out of step in the target.
      length => [
        Buffer.alloc(length, 'abcdefghijklmnopq'),
        Buffer.concat([Buffer.from('?'), Buffer.alloc(length, 'abcdefghijklmnopqr'), Buffer.from('?')]),
      ],
      // Blocks that match just too briefly to be worth a copy, at every position.
      length => {
        const block = noise(20, 1)
        const piece = (seed: number): Buffer => Buffer.concat([block, noise(4, seed)])
        const pieces = (first: number): Buffer =>
          Buffer.concat(Array.from({ length: Math.floor(length / 24) }, (_, i) => piece(first + i)))
        return [pieces(1), pieces(1_000_000)]
      },
    ]
    for (const make of inputs) {
      const [small, large] = [1_000_000, 4_000_000].map(length => {
        const [from, to] = make(length)
        const times = [1, 2, 3].map(() => {
          const start = process.cpuUsage()
          encodeBinaryDelta(from, to)
          return process.cpuUsage(start).user
        })
        return Math.min(...times)
      }) as [number, number]
      // Four times the input; were the search quadratic, it would take sixteen times as long.
      expect(large).toBeLessThan(small * 10 + 50_000)
    }
  })
})

function varint(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest]
    bytes.push((rest % 128) + 128)
  }
}

/** A delta for an empty base, declared to make so long a result, with this body; its checksums fit. */
function forge(length: number, body: number[]): Buffer {
  const delta = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0, ...varint(0), ...varint(length), ...body])
  delta.writeUInt32LE(crc32(delta.subarray(9), crc32(delta.subarray(0, 5))), 5)
  return delta
}
