import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DeltaChain, DeltaCompressor, type DeltaStrategy } from '../../src/delta/index.ts'

const key = fc.constantFrom('a', 'b', 'c', '1', '2', '__proto__', 'a/b', '~')
const value = fc.oneof(
  fc
    .anything({
      key,
      maxDepth: 3,
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
    })
    .filter(candidate => isStorable(candidate)),
  fc.uint8Array({ maxLength: 60 }),
  fc.array(fc.record({ id: fc.nat(5), name: fc.string({ maxLength: 4 }) }, { noNullPrototype: true }), {
    maxLength: 20,
  }),
)
const strategy = fc.constantFrom<DeltaStrategy>('auto', 'dict', 'binary', 'compress', 'none')

/** Whether a value is one that can be stored, and equal to itself. */
function isStorable(candidate: unknown): boolean {
  if (!isDeepStrictEqual(candidate, candidate)) return false
  try {
    new DeltaChain().addState(candidate)
    return true
  } catch {
    return false
  }
}

describe('DeltaCompressor', () => {
  it('makes every state of the one before it, delta by delta, merged, and serialized', () => {
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 2, maxLength: 5 }),
        fc.array(strategy, { minLength: 4, maxLength: 4 }),
        (states, strategies) => {
          const deltas = states.slice(1).map((state, i) => {
            const compressor = new DeltaCompressor({ strategy: strategies[i] })
            const delta = compressor.calculateDelta(states[i], state)
            return compressor.deserializeDelta(compressor.serializeDelta(delta))
          })
          const compressor = new DeltaCompressor()
          let state = states[0]
          for (const [i, delta] of deltas.entries()) {
            state = compressor.applyDelta(state, delta)
            expect(isDeepStrictEqual(state, states[i + 1])).toBe(true)
          }
          const merged = compressor.mergeDeltas(deltas)
          const sent = compressor.deserializeDelta(compressor.serializeDelta(merged))
          expect(isDeepStrictEqual(compressor.applyDelta(states[0], sent), states.at(-1))).toBe(true)
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('DeltaChain', () => {
  it('behaves as the list of states added to it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ arbitrary: value, weight: 6 }, fc.constant('rebaseline' as const)), {
          maxLength: 20,
        }),
        strategy,
        fc.integer({ min: 1, max: 6 }),
        (commands, used, maxChainLength) => {
          const chain = new DeltaChain({ strategy: used, maxChainLength })
          const model: unknown[] = []
          for (const command of commands) {
            if (command !== 'rebaseline') expect(chain.addState(command)).toBe(model.push(command) - 1)
            else if (model.length > 0) expect(chain.rebaseline()).toBe(model.length - 1)
          }
          for (const [i, state] of model.entries()) {
            expect(isDeepStrictEqual(chain.getStateAt(i), state)).toBe(true)
          }
          const metrics = chain.getChainMetrics()
          expect(metrics.states).toBe(model.length)
          expect(metrics.longestChain).toBeLessThanOrEqual(maxChainLength)
        },
      ),
      { numRuns: 200 },
    )
  })
})
