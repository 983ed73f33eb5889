import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DataIntegrityError, DeltaError } from '../../src/core/errors.ts'
import { binaryBodyLength, encodeBinaryBody } from '../../src/delta/binary-body.ts'
import { applyBinaryDelta, encodeBinaryDelta } from '../../src/delta/binary-delta.ts'
import { noise, records } from '../support/delta-samples.ts'

/** Pieces of a few sources, so that two strings of them share much, in any order and repetition. */
const piece = fc
  .tuple(fc.constantFrom(noise(400, 1), records(400, 2), Buffer.alloc(400, 7)), fc.nat(399), fc.nat(200))
  .map(([source, start, length]) => source.subarray(start, start + length))
const bytes = fc.oneof(
  fc.array(piece, { maxLength: 8 }).map(pieces => Buffer.concat(pieces)),
  fc.uint8Array({ maxLength: 40 }).map(array => Buffer.from(array)),
)

describe('binary delta', () => {
  it('is known to be as long as it is', () => {
    fc.assert(
      fc.property(bytes, bytes, (base, target) => {
        expect(binaryBodyLength(base, target)).toBe(encodeBinaryBody(base, target, 'alone').length)
      }),
      { numRuns: 1_000 },
    )
  })

  it('makes the target of the base, whatever they are', () => {
    fc.assert(
      fc.property(bytes, bytes, fc.boolean(), (base, target, compress) => {
        const delta = encodeBinaryDelta(base, target, { compress })
        expect(Buffer.compare(applyBinaryDelta(base, delta), target)).toBe(0)
        expect(delta.length).toBeLessThan(target.length + 40)
      }),
      { numRuns: 1_000 },
    )
  })

  it('gives an error, and only of its own kinds, for whatever else is applied', () => {
    fc.assert(
      fc.property(bytes, bytes, bytes, fc.nat(), fc.nat(255), (base, target, other, where, value) => {
        const delta = Buffer.from(encodeBinaryDelta(base, target, { compress: true }))
        delta[where % delta.length] = value
        for (const [from, made] of [
          [base, delta],
          [base, other],
          [other, delta],
        ] as const) {
          try {
            expect(Buffer.compare(applyBinaryDelta(from, made), target)).toBe(0)
          } catch (error) {
            expect(error instanceof DataIntegrityError || error instanceof DeltaError).toBe(true)
          }
        }
      }),
      { numRuns: 500 },
    )
  })
})
