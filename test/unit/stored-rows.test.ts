import { describe, expect, it } from 'vitest'
import type { View } from '../../src/engine/engine.ts'
import { encodePayload, encodeRecord } from '../../src/history/record.ts'
import { StoredRows } from '../../src/persistence/stored-rows.ts'

/** A view that shows so many rows of small values, in pages, and each of them in the same buffers. */
function viewOf(count: number): View {
  const shownKey = Buffer.alloc(15)
  const shownRecord = Buffer.alloc(64)
  return {
    visit(_table, { gt, gte }, visit) {
      const start = gte !== undefined ? indexOf(gte) : gt !== undefined ? indexOf(gt) + 1 : 0
      const end = Math.min(count, start + 500)
      for (let i = start; i < end; i++) {
        shownKey.set(keyOf(i))
        const record = encodeRecord(keyOf(i), 300, encodePayload(i, true))
        shownRecord.set(record)
        visit(shownKey, shownRecord, record.byteLength)
      }
      return end < count
    },
  } as Partial<View> as View
}

/** In order, with an end that is as good as random: the hashes of numbers alone are all different. */
function keyOf(index: number): Buffer {
  const end = Math.imul(index * index + 1, 0x9e3779b1) ^ Math.imul(index % 9973, 0x85ebca6b)
  return Buffer.from(`${String(index).padStart(8, '0')}${(end >>> 0).toString(36).padStart(7, '0')}`)
}

function indexOf(key: Uint8Array): number {
  return Number(Buffer.from(key).toString().slice(0, 8))
}

/** Looks for keys as they come, and tells which are found with the value that they have, and no other. */
function findAmong(rows: StoredRows, indices: readonly number[]): number[] {
  const hashes = Int32Array.from(indices, index => rows.hashOf(keyOf(index).toString()))
  const likely = new Int32Array(indices.length)
  rows.lookUp(hashes, indices.length, likely)
  return indices.filter((index, i) => {
    if ((likely[i] as number) < 0) return false
    const row = rows.find(keyOf(index).toString(), hashes[i] as number, likely[i] as number)
    if (row < 0) return false
    return rows.matchedBytes(row, index) === String(index).length && rows.matchedBytes(row, index + 1) === -1
  })
}

describe('StoredRows', () => {
  it('finds every row of many, of which some have keys of the same hash', () => {
    const count = 250_000
    const rows = new StoredRows(count)
    expect(rows.take(viewOf(count), {}, 2 * count).rest).toBeUndefined()
    const all = Array.from({ length: count }, (_, i) => count - 1 - i)
    expect(findAmong(rows, all)).toStrictEqual(all)
    expect([...rows.unfound()]).toStrictEqual([])
    expect(findAmong(rows, [count, count + 1])).toStrictEqual([])
  })

  it('takes in what it has room for, and then the rest, in its place', () => {
    const rows = new StoredRows(1000)
    const view = viewOf(2300)
    const sought = Array.from({ length: 2300 }, (_, i) => i).filter(i => i % 7 !== 0)
    let range: Parameters<StoredRows['take']>[1] | undefined = {}
    for (const [from, to] of [[0, 1000] as const, [1000, 2000] as const, [2000, 2300] as const]) {
      expect(range).toBeDefined()
      const taken = rows.take(view, range ?? {}, sought.length)
      range = taken.rest
      expect(findAmong(rows, sought)).toStrictEqual(sought.filter(i => i >= from && i < to))
      const others = Array.from({ length: to - from }, (_, i) => from + i).filter(i => i % 7 === 0)
      expect([...rows.unfound()].map(indexOf)).toStrictEqual(others)
    }
    expect(range).toBeUndefined()
  })

  it('knows nothing of rows whose memory it has been left', () => {
    const first = new StoredRows(1000)
    const sought = Array.from({ length: 1000 }, (_, i) => i)
    const hashes = Int32Array.from(sought, index => first.hashOf(keyOf(index).toString()))
    first.take(viewOf(1000), {}, 1000)
    first.release()
    const second = new StoredRows(900)
    second.take(viewOf(50), {}, 1000)
    // By the hashes that the first had them under, too.
    const rows = new Int32Array(1000)
    second.lookUp(hashes, 1000, rows)
    expect([...rows].filter(row => row >= 0).length).toBeLessThan(5)
    expect(findAmong(second, sought)).toStrictEqual(sought.slice(0, 50))
    expect([...second.unfound()]).toStrictEqual([])
    second.release()
  })

  it('has its memory for itself until it leaves it', () => {
    const left = new StoredRows(1000)
    left.release()
    const [first, second] = [new StoredRows(1000), new StoredRows(1000)]
    first.take(viewOf(1000), {}, 1000)
    second.take(viewOf(50), {}, 1000)
    const sought = Array.from({ length: 1000 }, (_, i) => i)
    expect(findAmong(first, sought)).toStrictEqual(sought)
    expect([...first.unfound()]).toStrictEqual([])
    expect(findAmong(second, sought)).toStrictEqual(sought.slice(0, 50))
    first.release()
    second.release()
  })
})
