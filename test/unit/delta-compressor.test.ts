import { isDeepStrictEqual } from 'node:util'
import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import {
  DataIntegrityError,
  DeltaError,
  InvalidArgumentError,
  UnserializableValueError,
} from '../../src/core/errors.ts'
import {
  applyBinaryDelta,
  type Delta,
  DeltaCompressor,
  type DeltaStrategy,
  encodeBinaryDelta,
} from '../../src/delta/index.ts'
import { noise, records, scatterEdits } from '../support/delta-samples.ts'

const STRATEGIES: DeltaStrategy[] = ['auto', 'dict', 'binary', 'compress', 'none']

const before = {
  user: { name: 'Ada', roles: ['reader', 'writer'] },
  visits: 1,
  notes: Array.from({ length: 40 }, (_, i) => ({ id: i, text: `note number ${i}`, done: i % 3 === 0 })),
}
const after = {
  visits: 2,
  user: { name: 'Ada', roles: ['reader'], email: 'ada@example.com' },
  notes: before.notes.with(20, { id: 20, text: 'changed', done: true }).toSpliced(5, 1),
}

function used(delta: Delta): string[] {
  return delta.steps.map(({ strategy }) => strategy)
}

/** The delta, through its serialized form. */
function viaBytes(delta: Delta): Delta {
  const compressor = new DeltaCompressor()
  return compressor.deserializeDelta(compressor.serializeDelta(delta))
}

describe.each(STRATEGIES)('DeltaCompressor with strategy %s', strategy => {
  const compressor = new DeltaCompressor({ strategy })

  it('makes the target of the base', () => {
    const pairs: [unknown, unknown][] = [
      [before, after],
      [after, before],
      [before, before],
      [before, 'something else'],
      [null, undefined],
      [1, 2],
      [new Map([['a', new Date(0)]]), new Map([['a', new Date(1)]])],
      [
        { big: 1n, list: [1.5, 2] },
        { big: 2n, list: [1.5, 2, -0] },
      ],
      [new Uint8Array([1, 2, 3]), new Uint8Array([1, 2, 3, 4])],
      [records(3_000, 1), scatterEdits(records(3_000, 1), 5, 2)],
      [Buffer.alloc(0), noise(100, 1)],
      [before, noise(100, 1)],
      [new Uint8Array(3), { not: 'bytes' }],
    ]
    for (const [base, target] of pairs) {
      const delta = compressor.calculateDelta(base, target)
      expect(isDeepStrictEqual(compressor.applyDelta(base, delta), target)).toBe(true)
      expect(isDeepStrictEqual(compressor.applyDelta(base, viaBytes(delta)), target)).toBe(true)
    }
  })

  it('keeps the order of properties, so that deltas can be applied in turn', () => {
    const states = [before, after, { ...before, z: 1 }, { z: 1, ...after }]
    const deltas = states.slice(1).map((state, i) => compressor.calculateDelta(states[i], state))
    let state: unknown = before
    for (const delta of deltas) state = compressor.applyDelta(state, delta)
    expect(JSON.stringify(state)).toBe(JSON.stringify(states.at(-1)))
  })

  it('gives results that share nothing with what went in', () => {
    const target = structuredClone(after)
    const delta = compressor.calculateDelta(before, target)
    target.user.name = 'changed later'
    const result = compressor.applyDelta(before, delta) as typeof after
    expect(result).toEqual(after)
    result.notes[0] = { id: -1, text: 'mine', done: true }
    expect(compressor.applyDelta(before, delta)).toEqual(after)
    expect(before.notes[0]).toEqual({ id: 0, text: 'note number 0', done: true })

    const bytes = noise(500, 1)
    const edited = scatterEdits(bytes, 2, 3)
    const copy = Buffer.from(edited)
    const byteDelta = compressor.calculateDelta(bytes, edited)
    edited.fill(0)
    expect(compressor.applyDelta(bytes, byteDelta)).toEqual(copy)
    ;(compressor.applyDelta(bytes, byteDelta) as Buffer).fill(1)
    expect(compressor.applyDelta(bytes, byteDelta)).toEqual(copy)
  })

  it('refuses another base', () => {
    const delta = compressor.calculateDelta(before, after)
    for (const wrong of [after, { ...before, visits: 3 }, {}, null, Buffer.from(JSON.stringify(before))]) {
      expect(() => compressor.applyDelta(wrong, delta)).toThrow(DeltaError)
    }
  })

  it('detects truncation at every length and every flipped bit of a serialized delta', () => {
    const bytes = compressor.serializeDelta(
      compressor.calculateDelta({ a: 1, b: ['x'] }, { a: 2, b: ['x', 'y'] }),
    )
    for (let length = 0; length < bytes.length; length++) {
      expect(() => compressor.deserializeDelta(bytes.subarray(0, length))).toThrow(DataIntegrityError)
    }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes)
      damaged[bit >>> 3] = (damaged[bit >>> 3] as number) ^ (1 << (bit & 7))
      expect(() => compressor.deserializeDelta(damaged)).toThrow(DataIntegrityError)
    }
  })

  it('never crashes on a damaged delta, even with a checksum that fits', () => {
    const base = { text: records(400, 1).toString() }
    const bytes = compressor.serializeDelta(
      compressor.calculateDelta(base, { text: records(500, 1).toString() }),
    )
    for (let at = 5; at < bytes.length; at++) {
      for (const value of [0, 0x80, 0xff, (bytes[at] as number) ^ 1]) {
        const damaged = Buffer.from(bytes)
        damaged[at] = value
        damaged.writeUInt32LE(crc32(damaged.subarray(5), crc32(damaged.subarray(0, 1))), 1)
        try {
          compressor.applyDelta(base, compressor.deserializeDelta(damaged))
        } catch (error) {
          expect(error instanceof DataIntegrityError || error instanceof DeltaError).toBe(true)
        }
      }
    }
  })

  it('merges successive deltas into one', () => {
    const states: unknown[] = [
      before,
      after,
      { ...after, visits: 3 },
      { ...after, visits: 4, last: true },
      { visits: 5 },
    ]
    const deltas = states.slice(1).map((state, i) => compressor.calculateDelta(states[i], state))
    const merged = compressor.mergeDeltas(deltas)
    expect(compressor.applyDelta(before, merged)).toEqual({ visits: 5 })
    expect(compressor.applyDelta(before, viaBytes(merged))).toEqual({ visits: 5 })
    expect(() => compressor.applyDelta(after, merged)).toThrow(DeltaError)
    expect(compressor.mergeDeltas([merged])).toEqual(merged)
  })
})

describe('DeltaCompressor', () => {
  const auto = new DeltaCompressor()

  it('works on 10 bytes and on 50 MB', () => {
    for (const size of [10, 50_000_000]) {
      const base = Buffer.alloc(size, 'a state of the application. ')
      const target = Buffer.from(base)
      target[size >>> 1] = (target[size >>> 1] as number) ^ 1
      const delta = auto.calculateDelta(base, target)
      expect(delta.size).toBeLessThan(40)
      expect(Buffer.compare(auto.applyDelta(base, delta) as Buffer, target)).toBe(0)
    }
  })

  it('chooses by itself what is small', () => {
    const text = { text: records(20_000, 1).toString() }
    const near = { text: scatterEdits(records(20_000, 1), 3, 2).toString() }
    const far = { text: records(20_000, 99).toString() }
    expect(used(auto.calculateDelta(text, near))).toEqual(['binary'])
    expect(auto.calculateDelta(text, near).size).toBeLessThan(100)
    expect(auto.calculateDelta(text, far).size).toBeLessThan(7_000)
    expect(used(auto.calculateDelta(text, 1))).toEqual(['none'])
    // Every number changed, each member in another place: by parts it is little, by bytes it is nearly all.
    const wide = (order: number): Record<string, unknown> =>
      Object.fromEntries(
        Array.from({ length: 200 }, (_, i) => [`${(i * order) % 199}k`, `${(i * order) % 199} is said here`]),
      )
    for (const strategy of ['dict', 'binary', 'compress', 'none'] as const) {
      const other = new DeltaCompressor({ strategy })
      for (const [a, b] of [
        [text, near],
        [text, far],
        [wide(1), wide(7)],
        [before, after],
      ] as const) {
        const smallest = auto.calculateDelta(a, b).size
        expect(smallest).toBeLessThanOrEqual(Math.max(128, other.calculateDelta(a, b).size))
      }
    }
  })

  it('says what the deltas amount to', () => {
    const compressor = new DeltaCompressor({ strategy: 'binary' })
    expect(compressor.getCompressionStats()).toMatchObject({
      deltas: 0,
      originalBytes: 0,
      deltaBytes: 0,
      ratio: 0,
    })
    const base = records(1_000, 1)
    const sizes = [1, 2, 3].map(seed => compressor.calculateDelta(base, scatterEdits(base, 2, seed)).size)
    const stats = compressor.getCompressionStats()
    const deltaBytes = sizes.reduce((sum, size) => sum + size, 0)
    expect(stats).toMatchObject({ deltas: 3, deltaBytes })
    expect(stats.ratio).toBeCloseTo(deltaBytes / stats.originalBytes)
    expect(stats.byStrategy.binary).toEqual({ deltas: 3, bytes: deltaBytes })
    expect(stats.byStrategy.dict).toEqual({ deltas: 0, bytes: 0 })
  })

  it('composes binary deltas without their base', () => {
    const compressor = new DeltaCompressor({ strategy: 'binary' })
    const states = [noise(20_000, 1)]
    for (let i = 1; i <= 10; i++) {
      const last = states[i - 1] as Buffer
      const edited = scatterEdits(last, 3, i)
      states.push(i % 4 === 0 ? Buffer.concat([edited.subarray(9_000), edited.subarray(0, 9_000)]) : edited)
    }
    const deltas = states.slice(1).map((state, i) => compressor.calculateDelta(states[i], state))
    const merged = compressor.mergeDeltas(deltas)
    expect(used(merged)).toEqual(['binary'])
    expect(merged.size).toBeLessThan(deltas.reduce((sum, { size }) => sum + size, 0))
    expect(compressor.applyDelta(states[0], merged)).toEqual(states.at(-1))
  })

  it('drops what comes before a state stored whole, and folds what comes after into it', () => {
    const [none, binary, dict] = (['none', 'binary', 'dict'] as const).map(
      strategy => new DeltaCompressor({ strategy }),
    )
    const states = [before, after, { ...before, more: 1 }, after] as const
    const deltas = [
      dict?.calculateDelta(states[0], states[1]),
      none?.calculateDelta(states[1], states[2]),
      binary?.calculateDelta(states[2], states[3]),
    ] as Delta[]
    const merged = auto.mergeDeltas(deltas)
    expect(used(merged)).toEqual(['compress'])
    expect(auto.applyDelta(before, merged)).toEqual(after)
  })

  it('keeps deltas without a common form as steps', () => {
    const [binary, dict] = (['binary', 'dict'] as const).map(strategy => new DeltaCompressor({ strategy }))
    const states = Array.from({ length: 40 }, (_, i) => ({ ...before, visits: i }))
    const deltas = states
      .slice(1)
      .map((state, i) => (i % 2 === 0 ? binary : dict)?.calculateDelta(states[i], state)) as Delta[]
    const merged = auto.mergeDeltas(deltas)
    expect(merged.steps).toHaveLength(39)
    expect(auto.applyDelta(before.visits === 0 ? before : states[0], viaBytes(merged))).toEqual(states.at(-1))
  })

  it('does not let composed deltas explode', () => {
    const compressor = new DeltaCompressor({ strategy: 'binary' })
    // The first cuts the base to pieces, the second repeats the result many times over.
    const base = noise(40_000, 1)
    const pieces = scatterEdits(base, 500, 2)
    const repeated = Buffer.concat(Array.from({ length: 60 }, () => pieces))
    const deltas = [compressor.calculateDelta(base, pieces), compressor.calculateDelta(pieces, repeated)]
    const merged = compressor.mergeDeltas(deltas)
    expect(merged.size).toBeLessThan(2 * deltas.reduce((sum, { size }) => sum + size, 0))
    expect(Buffer.compare(compressor.applyDelta(base, merged) as Buffer, repeated)).toBe(0)
  })

  it('refuses to merge none, or deltas that do not follow each other', () => {
    const delta = auto.calculateDelta(before, after)
    expect(() => auto.mergeDeltas([])).toThrow(InvalidArgumentError)
    expect(() => auto.mergeDeltas([delta, delta])).toThrow(/Delta 1 does not apply to the result of delta 0/)
  })

  it('refuses results longer than allowed before taking memory for them', () => {
    const strict = new DeltaCompressor({ maxBytes: 100 })
    const delta = auto.calculateDelta('a', 'b'.repeat(1_000))
    expect(() => strict.applyDelta('a', delta)).toThrow(/more than the 100 allowed/)
    const bomb: Delta = {
      ...delta,
      steps: [{ ...(delta.steps[0] as Delta['steps'][0]), end: { ...delta.result, size: 2 ** 29 } }],
    }
    const memory = process.memoryUsage().arrayBuffers
    expect(() => auto.applyDelta('a', bomb)).toThrow(DataIntegrityError)
    expect(process.memoryUsage().arrayBuffers - memory).toBeLessThan(2 ** 24)
  })

  it('refuses what is no delta, and what are no bytes', () => {
    const delta = auto.calculateDelta(before, after)
    const [step] = delta.steps
    const none = [
      undefined,
      null,
      5,
      'delta',
      {},
      [],
      { ...delta, steps: 1 },
      { ...delta, steps: [] },
      { ...delta, base: {} },
      { ...delta, steps: [{ ...step, body: 'text' }] },
      { ...delta, steps: [{ ...step, strategy: 'magic' }] },
      { ...delta, steps: [{ ...step, end: undefined }] },
      { ...delta, steps: [{ ...step, end: { ...step?.end, size: -1 } }] },
    ] as unknown as Delta[]
    for (const wrong of none) {
      expect(() => auto.applyDelta(before, wrong)).toThrow(InvalidArgumentError)
      expect(() => auto.serializeDelta(wrong)).toThrow(InvalidArgumentError)
      expect(() => auto.mergeDeltas([delta, wrong])).toThrow(InvalidArgumentError)
      expect(() => auto.mergeDeltas(wrong as never)).toThrow(InvalidArgumentError)
    }
    for (const wrong of [undefined, null, 'text', 5, [1, 2], new ArrayBuffer(9)] as unknown as Uint8Array[]) {
      expect(() => auto.deserializeDelta(wrong)).toThrow(InvalidArgumentError)
      expect(() => encodeBinaryDelta(wrong, Buffer.alloc(9))).toThrow(InvalidArgumentError)
      expect(() => encodeBinaryDelta(Buffer.alloc(9), wrong)).toThrow(InvalidArgumentError)
      expect(() => applyBinaryDelta(wrong, Buffer.alloc(9))).toThrow(InvalidArgumentError)
      expect(() => applyBinaryDelta(Buffer.alloc(9), wrong)).toThrow(InvalidArgumentError)
    }
  })

  it('refuses what cannot be stored, and unknown options', () => {
    expect(() => auto.calculateDelta(before, { call: () => 1 })).toThrow(UnserializableValueError)
    expect(() => new DeltaCompressor({ strategy: 'zip' as DeltaStrategy })).toThrow(InvalidArgumentError)
    expect(() => new DeltaCompressor({ stratgy: 'auto' } as object)).toThrow(/strategy/)
  })
})
