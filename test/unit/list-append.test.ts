import { describe, expect, it } from 'vitest'
import { type AppendTransaction, findAnomalies, type Step } from '../support/list-append.ts'

const append = (to: string, value: string): Step => ({ append: value, to })
const read = (key: string, ...found: string[]): Step => ({ read: key, found })

function transaction(name: string, from: number, to: number, ...steps: Step[]): AppendTransaction {
  return { name, invoked: from, answered: to, steps }
}

describe('the checker of transactions', () => {
  it.each<[string, readonly AppendTransaction[]]>([
    ['none', []],
    [
      'one after the other',
      [
        transaction('t1', 0, 1, append('x', '1'), append('y', '2')),
        transaction('t2', 2, 3, read('x', '1'), read('y', '2'), append('x', '3'), read('x', '1', '3')),
        transaction('t3', 4, 5, read('x', '1', '3')),
      ],
    ],
    [
      'at the same time, in an order that explains them',
      [
        transaction('t1', 0, 9, read('x'), append('y', '1')),
        transaction('t2', 0, 9, read('y', '1'), append('x', '2')),
        transaction('t3', 0, 9, read('x', '2')),
      ],
    ],
    [
      'with an append of which nobody knows whether it was made',
      [
        { name: 't1', invoked: 0, answered: undefined, steps: [append('x', '1')] },
        transaction('t2', 2, 3, read('x')),
        transaction('t3', 4, 5, read('x', '1')),
      ],
    ],
  ])('takes transactions %s', (_, transactions) => {
    expect(findAnomalies(transactions)).toEqual([])
  })

  it.each<[string, RegExp, readonly AppendTransaction[]]>([
    [
      'write skew (G2)',
      /cycle: .*rw/,
      [
        transaction('t1', 0, 9, read('x'), append('y', '1')),
        transaction('t2', 0, 9, read('y'), append('x', '2')),
        transaction('t3', 10, 11, read('x', '2'), read('y', '1')),
      ],
    ],
    [
      'a fractured read (G-single)',
      /cycle: .*rw/,
      [
        transaction('t1', 0, 9, append('x', '1'), append('y', '2')),
        transaction('t2', 0, 9, read('x', '1'), read('y')),
        transaction('t3', 10, 11, read('x', '1'), read('y', '2')),
      ],
    ],
    [
      'writes in two orders (G0)',
      /cycle: .*ww/,
      [
        transaction('t1', 0, 9, append('x', '1'), append('y', '1y')),
        transaction('t2', 0, 9, append('x', '2'), append('y', '2y')),
        transaction('t3', 10, 11, read('x', '1', '2'), read('y', '2y', '1y')),
      ],
    ],
    [
      'information that flows in a circle (G1c)',
      /cycle: .*wr/,
      [
        transaction('t1', 0, 9, append('x', '1'), read('y', '2')),
        transaction('t2', 0, 9, append('y', '2'), read('x', '1')),
      ],
    ],
    [
      'a stale read',
      /lost append|cycle/,
      [transaction('t1', 0, 1, append('x', '1')), transaction('t2', 2, 3, read('x'))],
    ],
    [
      'a stale read of what others see',
      /cycle: .*time/,
      [
        transaction('t1', 0, 1, append('x', '1')),
        transaction('t2', 2, 3, read('x')),
        transaction('t3', 2, 9, read('x', '1')),
      ],
    ],
    [
      'a lost update',
      /incompatible orders|lost append/,
      [
        transaction('t1', 0, 1, read('x'), append('x', '1')),
        transaction('t2', 0, 1, read('x'), append('x', '2')),
        transaction('t3', 2, 3, read('x', '2')),
      ],
    ],
    [
      'lists that differ in their middle',
      /incompatible orders/,
      [
        transaction('t1', 0, 1, append('x', '1')),
        transaction('t2', 0, 1, append('x', '2')),
        transaction('t3', 2, 3, read('x', '1', '2')),
        transaction('t4', 2, 3, read('x', '2', '1')),
      ],
    ],
    ['values that nobody appended', /nobody appended/, [transaction('t1', 0, 1, read('x', '7'))]],
    [
      'values that are there twice',
      /duplicates/,
      [transaction('t1', 0, 1, append('x', '1')), transaction('t2', 2, 3, read('x', '1', '1'))],
    ],
    [
      'a transaction that does not see itself',
      /internal/,
      [transaction('t1', 0, 1, append('x', '1'), read('x'))],
    ],
    [
      'a transaction that sees a key change',
      /internal/,
      [transaction('t1', 0, 9, read('x'), read('x', '2')), transaction('t2', 1, 2, append('x', '2'))],
    ],
  ])('finds %s', (_, problem, transactions) => {
    expect(findAnomalies(transactions).join('\n')).toMatch(problem)
  })

  it('finds a read of what was rolled back (G1a)', () => {
    const transactions = [transaction('t1', 0, 1, read('x', '1'))]
    expect(findAnomalies(transactions, new Set(['1'])).join()).toMatch(/aborted read/)
  })
})
