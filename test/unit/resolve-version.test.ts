import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createPersistence, type Persistence } from '../../src/index.ts'

let state: Persistence

/** Five snapshots at noon, local time, of the first days of 2026; the second and the fourth are tagged. */
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  state = await createPersistence()
  for (let day = 1; day <= 5; day++) {
    vi.setSystemTime(new Date(2026, 0, day, 12, 0, 30))
    await state.createSnapshot(day % 2 === 0 ? { tags: ['even', `day ${day}`] } : {})
  }
})

afterEach(async () => {
  vi.useRealTimers()
  await state.close()
})

describe('resolveVersion()', () => {
  it.each([
    ['head', 'head'],
    ['head~0', 'head'],
    ['head~1', 'v5'],
    ['head~', 'v5'],
    ['head~5', 'v1'],
    ['v3', 'v3'],
    ['v3~2', 'v1'],
    ['even', 'v4'],
    ['even~1', 'v3'],
    ['day 2', 'v2'],
    ['@2026-01-03', 'v3'],
    ['@2026-02-01', 'v5'],
    ['@2026-01-03~1', 'v2'],
    ['@2026-01-03T11:59', 'v2'],
    ['@2026-01-03T12:00', 'v3'],
    ['@2026-01-03T12:00:29', 'v2'],
    ['@2026-01-03T12:00:30', 'v3'],
    ['@2026-01-03T12:00:29.999', 'v2'],
  ])('%s is %s', async (name, version) => {
    expect(await state.resolveVersion(name)).toBe(version)
  })

  it('takes a moment of any offset', async () => {
    const taken = new Date(2026, 0, 3, 12, 0, 30).toISOString()
    expect(await state.resolveVersion(`@${taken}`)).toBe('v3')
    expect(await state.resolveVersion(`@${taken.slice(0, 16)}Z`)).toBe('v3')
  })

  it('prefers a version to a tag of the same name', async () => {
    await state.tagSnapshot('v1', ['v2', 'head'])
    expect(await state.resolveVersion('v2')).toBe('v2')
    expect(await state.resolveVersion('head')).toBe('head')
  })

  it('counts the snapshots there are, and not their numbers', async () => {
    await state.deleteSnapshot('v4')
    expect(await state.resolveVersion('head~2')).toBe('v3')
    expect(await state.resolveVersion('even')).toBe('v2')
  })

  it.each([
    ['v99', /"v99".*nearest is v5 \(2026-01-05\)/],
    ['7', /nearest is v5/],
    ['evne', /nearest is "even"/],
    ['HEAD', /nearest is "head"/],
    ['head~6', /nearest is the oldest, v1/],
    ['v1~1', /nearest is the oldest, v1/],
    ['@2025-12-31', /nearest is the oldest, v1/],
    [
      'something else',
      /Versions are written as v12, a tag, head, head~3 or @2026-01-31; there are v1 .* to v5/,
    ],
  ])('%s is not found, and the nearest are named', async (name, message) => {
    await expect(state.resolveVersion(name)).rejects.toMatchObject({
      code: 'SNAPSHOT_NOT_FOUND',
      message: expect.stringMatching(message),
    })
  })

  it('names the versions around one that is gone', async () => {
    await state.deleteSnapshot('v3')
    await expect(state.resolveVersion('v3')).rejects.toThrow(/nearest are v2 \(.*\) and v4 \(/)
  })

  it.each([
    '@',
    '@yesterday',
    '@2026-13-01',
    '@2026-01-32',
    '@2026-02-29',
    '@2026-02-31T10:00',
    '@2026',
    '@2026-1-1',
  ])('refuses %s', async name => {
    await expect(state.resolveVersion(name)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('says that there are no snapshots', async () => {
    await using empty = await createPersistence()
    await expect(empty.resolveVersion('v1')).rejects.toThrow('no snapshot has been taken yet')
    await expect(empty.resolveVersion('')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('an abort', () => {
  it('leaves the state as it was: restoreSnapshot() and save()', async () => {
    await state.save({ a: 1 })
    const version = await state.createSnapshot()
    await state.save({ a: 2, b: 3 })
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(state.restoreSnapshot(version, { signal })).rejects.toThrow('enough')
    await expect(state.save({ c: 4 }, { signal })).rejects.toThrow('enough')
    expect(await state.load()).toEqual({ a: 2, b: 3 })
  })
})
