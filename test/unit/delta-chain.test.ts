import { describe, expect, it } from 'vitest'
import { InvalidArgumentError, UnserializableValueError } from '../../src/core/errors.ts'
import { DeltaChain, type DeltaStrategy } from '../../src/delta/index.ts'
import { noise, records, scatterEdits } from '../support/delta-samples.ts'

/** A state and 99 more, each a little different from the one before it. */
function states(): { text: string; visits: number }[] {
  let text = records(2_000, 1)
  return Array.from({ length: 100 }, (_, visits) => {
    text = scatterEdits(text, 1, visits)
    return { text: text.toString(), visits }
  })
}

describe('DeltaChain', () => {
  it.each<DeltaStrategy>(['auto', 'dict', 'binary', 'compress', 'none'])(
    'keeps every state readable (%s)',
    strategy => {
      const chain = new DeltaChain({ strategy, maxChainLength: 8 })
      const added = states()
      expect(added.map(state => chain.addState(state))).toEqual([...added.keys()])
      expect([...added.keys()].map(index => chain.getStateAt(index))).toEqual(added)
      expect(chain.getCurrentState()).toEqual(added.at(-1))
      expect(chain.length).toBe(100)
    },
  )

  it('bounds the differences that a read applies, and says so', () => {
    const chain = new DeltaChain({ maxChainLength: 10 })
    const added = states()
    for (const state of added) chain.addState(state)
    const metrics = chain.getChainMetrics()
    expect(metrics).toMatchObject({ states: 100, baselines: 10, deltas: 90, longestChain: 10 })
    expect(metrics.originalBytes).toBe(
      added.reduce((sum, state) => sum + Buffer.byteLength(JSON.stringify(state)), 0),
    )
    expect(metrics.ratio).toBeCloseTo(metrics.storedBytes / metrics.originalBytes)
    const longer = new DeltaChain({ maxChainLength: 50 })
    for (const state of added) longer.addState(state)
    expect(longer.getChainMetrics().storedBytes).toBeLessThan(metrics.storedBytes)
    expect(metrics.ratio).toBeLessThan(0.1)
  })

  it('makes the current state a baseline when asked to, and keeps the others', () => {
    const chain = new DeltaChain()
    const added = states().slice(0, 20)
    for (const [i, state] of added.entries()) {
      chain.addState(state)
      if (i % 5 === 4) expect(chain.rebaseline()).toBe(i)
    }
    expect(chain.getChainMetrics()).toMatchObject({ states: 20, baselines: 5, deltas: 15, longestChain: 4 })
    expect([...added.keys()].map(index => chain.getStateAt(index))).toEqual(added)
    const before = chain.getChainMetrics()
    expect(chain.rebaseline()).toBe(19)
    expect(chain.getChainMetrics()).toEqual(before)
  })

  it('shares no memory with what went in or came out', () => {
    const chain = new DeltaChain()
    const bytes = noise(100, 1)
    const first = Buffer.from(bytes)
    chain.addState(bytes)
    bytes[3] = (bytes[3] as number) ^ 1
    chain.addState(bytes)
    bytes.fill(0)
    expect(chain.getStateAt(0)).toEqual(first)
    const read = chain.getCurrentState() as Buffer
    const copy = Buffer.from(read)
    read.fill(0)
    expect(chain.getCurrentState()).toEqual(copy)
    expect(copy[3]).toBe((first[3] as number) ^ 1)
  })

  it('takes states of any kind, one after the other', () => {
    const chain = new DeltaChain({ maxChainLength: 3 })
    const added = [
      1,
      null,
      new Uint8Array([1]),
      'text',
      undefined,
      new Map([[1, new Set([2n])]]),
      Buffer.from('b'),
      [],
      {},
    ]
    for (const state of added) chain.addState(state)
    expect([...added.keys()].map(index => chain.getStateAt(index))).toEqual(added)
  })

  it('refuses indexes it does not have, bad options and what cannot be stored', () => {
    const chain = new DeltaChain()
    expect(() => chain.getCurrentState()).toThrow(/chain is empty/)
    expect(() => chain.rebaseline()).toThrow(InvalidArgumentError)
    chain.addState(1)
    for (const index of [-1, 1, 0.5, Number.NaN]) {
      expect(() => chain.getStateAt(index)).toThrow(InvalidArgumentError)
    }
    expect(() => chain.addState(() => 1)).toThrow(UnserializableValueError)
    expect(chain.length).toBe(1)
    expect(() => new DeltaChain({ maxChainLength: 0 })).toThrow(InvalidArgumentError)
  })
})
