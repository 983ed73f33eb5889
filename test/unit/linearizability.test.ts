import { describe, expect, it } from 'vitest'
import { type Call, checkLinearizable, type SequentialModel } from '../support/linearizability.ts'
import { seededRandom } from '../support/random.ts'

type Input = { readonly set: number } | 'get'

/** A register: answers of `set` are `null`. */
const register: SequentialModel<number, Input, number | null> = {
  initial: 0,
  step(state, input, output) {
    if (input !== 'get') return input.set
    return output === undefined || output === state ? state : undefined
  },
  digest: String,
}

function set(value: number, from: number, to?: number): Call<Input, number | null> {
  return {
    input: { set: value },
    invoked: from,
    response: to === undefined ? undefined : { at: to, output: null },
  }
}

function get(value: number, from: number, to: number): Call<Input, number | null> {
  return { input: 'get', invoked: from, response: { at: to, output: value } }
}

function isLinearizable(calls: readonly Call<Input, number | null>[]): boolean {
  return checkLinearizable(calls, register).linearizable
}

describe('the checker of linearizability', () => {
  it.each<[string, readonly Call<Input, number | null>[]]>([
    ['no calls', []],
    ['one after the other', [set(1, 0, 1), get(1, 2, 3)]],
    ['a read that overlaps a write, before it', [set(1, 0, 3), get(0, 1, 2)]],
    ['a read that overlaps a write, after it', [set(1, 0, 3), get(1, 1, 2)]],
    ['two writes at once, and readers that agree', [set(1, 0, 9), set(2, 0, 9), get(2, 1, 2), get(1, 3, 4)]],
    ['a write without an answer that happened', [set(1, 0), get(1, 5, 6)]],
    ['a write without an answer that did not', [set(1, 0), get(0, 5, 6), get(0, 7, 8)]],
    ['a write without an answer that happened late', [set(1, 0), get(0, 5, 6), get(1, 7, 8)]],
    ['calls that meet at one instant', [set(1, 0, 1), get(0, 1, 2)]],
  ])('takes %s', (_, calls) => {
    expect(isLinearizable(calls)).toBe(true)
  })

  it.each<[string, readonly Call<Input, number | null>[]]>([
    ['a stale read', [set(1, 0, 1), get(0, 2, 3)]],
    ['a lost write', [set(1, 0, 1), set(2, 2, 3), get(1, 4, 5)]],
    ['a value that nobody wrote', [set(1, 0, 1), get(7, 2, 3)]],
    [
      'readers that saw two writes in two orders',
      [set(1, 0, 9), set(2, 0, 9), get(1, 1, 2), get(2, 3, 4), get(1, 5, 6)],
    ],
    ['a value seen before it was written', [get(1, 0, 1), set(1, 2, 3)]],
    ['a write that came and went', [set(1, 0), get(1, 1, 2), get(0, 3, 4)]],
    // Herlihy and Wing's example of what sequential consistency would allow.
    ['a reader that goes back', [set(1, 0, 10), get(1, 1, 2), get(0, 3, 4)]],
  ])('refuses %s', (_, calls) => {
    expect(isLinearizable(calls)).toBe(false)
  })

  it('agrees with trying every order, on random histories', () => {
    const random = seededRandom(3)
    let [yes, no] = [0, 0]
    for (let round = 0; round < 3000; round++) {
      const calls = Array.from({ length: 1 + random.below(5) }, () => {
        const from = random.below(8)
        const to = from + 1 + random.below(6)
        if (random.chance(0.5)) return get(random.below(3), from, to)
        return set(1 + random.below(2), from, random.chance(0.2) ? undefined : to)
      })
      const expected = orders(calls).some(explains)
      expect(isLinearizable(calls), JSON.stringify(calls)).toBe(expected)
      if (expected) yes++
      else no++
    }
    expect(Math.min(yes, no)).toBeGreaterThan(500)
  })

  it('is quick with many calls at once', () => {
    // Seven writers and seven readers, all at once, with an answer that does not fit at the very end.
    const many = Array.from({ length: 7 }, (_, i) => set(i + 1, 0, 100))
    const reads = Array.from({ length: 7 }, (_, i) => get(i + 1, 0, 100))
    expect(isLinearizable([...many, ...reads, get(7, 101, 102)])).toBe(true)
    expect(isLinearizable([...many, ...reads, get(8, 101, 102)])).toBe(false)
  })

  it('takes a history of any length, beside a call that was never answered', () => {
    const long = Array.from({ length: 10_000 }, (_, i) => [
      set(i, 4 * i, 4 * i + 1),
      get(i, 4 * i + 2, 4 * i + 3),
    ])
    expect(isLinearizable([set(-1, -1), ...long.flat()])).toBe(true)
  })
})

type Calls = readonly Call<Input, number | null>[]

/** All orders of all calls with an answer and some of those without. */
function orders(calls: Calls): Calls[] {
  if (calls.every(({ response }) => response === undefined)) return [[], ...extended(calls)]
  return extended(calls)
}

function extended(calls: Calls): Calls[] {
  return calls.flatMap((call, i) => {
    const rest = calls.filter((_, j) => j !== i)
    // None of the others may have ended before this one began.
    if (rest.some(({ response }) => response !== undefined && response.at < call.invoked)) return []
    return orders(rest).map(order => [call, ...order])
  })
}

function explains(order: Calls): boolean {
  let state: number | undefined = register.initial
  for (const { input, response } of order) {
    state = register.step(state, input, response?.output)
    if (state === undefined) return false
  }
  return true
}
