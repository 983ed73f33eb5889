import { describe, expect, it } from 'vitest'
import { InvalidArgumentError } from '../../src/core/errors.ts'
import {
  applyRetention,
  type RetentionCandidate,
  type RetentionPolicy,
  validateRetention,
} from '../../src/snapshot/retention.ts'

const NOW = Date.UTC(2030, 0, 1)

/** Snapshots `v1`, `v2`, … made at these times, each `'2024-05-01 10:00'` (UTC) or with tags after a `#`. */
function snapshots(...lines: string[]): RetentionCandidate[] {
  return lines.map((line, index) => {
    const [time = '', ...tags] = line.split('#').map(part => part.trim())
    return { version: `v${index + 1}`, createdAt: new Date(`${time.replace(' ', 'T')}Z`), tags }
  })
}

function kept(candidates: readonly RetentionCandidate[], policy: RetentionPolicy, now = NOW): string[] {
  return applyRetention(candidates, policy, now).keep.map(({ candidate }) => candidate.version)
}

const week = snapshots(
  '2024-05-01 10:05', // v1, a Wednesday
  '2024-05-01 10:55',
  '2024-05-01 11:00', // v3
  '2024-05-03 00:00', // v4
  '2024-05-05 23:59', // v5, Sunday
  '2024-05-06 00:00', // v6, Monday
)

describe('applyRetention', () => {
  it.each<[RetentionPolicy, string[]]>([
    [{ keepLast: 1 }, ['v6']],
    [{ keepLast: 4 }, ['v6', 'v5', 'v4', 'v3']],
    [{ keepLast: 100 }, ['v6', 'v5', 'v4', 'v3', 'v2', 'v1']],
    [{ keepHourly: 2 }, ['v6', 'v5']],
    [{ keepHourly: 100 }, ['v6', 'v5', 'v4', 'v3', 'v2']],
    [{ keepDaily: 3 }, ['v6', 'v5', 'v4']],
    [{ keepDaily: 100 }, ['v6', 'v5', 'v4', 'v3']],
    [{ keepWeekly: 1 }, ['v6']],
    [{ keepWeekly: 2 }, ['v6', 'v5']],
    [{ keepMonthly: 12 }, ['v6']],
    [{ keepYearly: 3 }, ['v6']],
    [{ keepLast: 1, keepWeekly: 2 }, ['v6', 'v5']],
    [{ keepLast: 2, keepDaily: 4 }, ['v6', 'v5', 'v4', 'v3']],
  ])('with %j keeps %j', (policy, expected) => {
    expect(kept(week, policy)).toEqual(expected)
  })

  it('counts only hours, days, … that have a snapshot', () => {
    const sparse = snapshots('2019-07-01 12:00', '2021-07-01 12:00', '2024-07-01 12:00', '2024-07-02 12:00')
    expect(kept(sparse, { keepYearly: 2 })).toEqual(['v4', 'v2'])
    expect(kept(sparse, { keepMonthly: 2 })).toEqual(['v4', 'v2'])
    expect(kept(sparse, { keepDaily: 3 })).toEqual(['v4', 'v3', 'v2'])
  })

  it('counts the weeks of ISO 8601, which cross the new year', () => {
    // 30 December 2024 to 5 January 2025 is week 1 of 2025.
    const newYear = snapshots('2024-12-29 23:59', '2024-12-30 00:00', '2025-01-01 12:00', '2025-01-05 23:59')
    expect(kept(newYear, { keepWeekly: 5 })).toEqual(['v4', 'v1'])
    expect(kept(newYear, { keepYearly: 5 })).toEqual(['v4', 'v2'])
  })

  it('counts periods before 1970 as well', () => {
    const early = snapshots('1969-12-28 23:59', '1969-12-29 00:00', '1969-12-31 23:59', '1970-01-01 00:00')
    expect(kept(early, { keepWeekly: 5 })).toEqual(['v4', 'v1'])
    expect(kept(early, { keepDaily: 5 })).toEqual(['v4', 'v3', 'v2', 'v1'])
    expect(kept(early, { keepMonthly: 5 })).toEqual(['v4', 'v3'])
  })

  describe('keepWithin', () => {
    const year = snapshots(
      '2023-03-01 12:00', // v1
      '2024-01-31 12:00', // v2
      '2024-02-29 12:00', // v3
      '2024-02-29 13:00', // v4
      '2024-03-30 12:00', // v5
      '2024-03-31 12:00', // v6
    )
    it.each<[string | number, string[]]>([
      [1, ['v6']],
      ['1h', ['v6']],
      ['24h', ['v6']],
      ['25h', ['v6', 'v5']],
      [25 * 3_600_000, ['v6', 'v5']],
      ['2d', ['v6', 'v5']],
      ['1w', ['v6', 'v5']],
      ['4w3d', ['v6', 'v5', 'v4']],
      ['4w3d1h', ['v6', 'v5', 'v4', 'v3']],
      ['2m', ['v6', 'v5', 'v4', 'v3']],
      ['2m1h', ['v6', 'v5', 'v4', 'v3', 'v2']],
      ['1y', ['v6', 'v5', 'v4', 'v3', 'v2']],
      ['1y1m', ['v6', 'v5', 'v4', 'v3', 'v2']],
      ['1y1m4w', ['v6', 'v5', 'v4', 'v3', 'v2', 'v1']],
      ['2000y', ['v6', 'v5', 'v4', 'v3', 'v2', 'v1']],
      ['99999999999y', ['v6', 'v5', 'v4', 'v3', 'v2', 'v1']],
    ])('%j keeps %j', (keepWithin, expected) => {
      expect(kept(year, { keepWithin, keepLast: 1 })).toEqual(expected)
    })

    it('of nothing is no rule', () => {
      for (const keepWithin of [0, '0h', '0y0d']) {
        expect(kept(year, { keepWithin, keepLast: 1 })).toEqual(['v6'])
        expect(kept(year, { keepWithin })).toHaveLength(year.length)
      }
    })

    it('looks back from the newest snapshot, not from now', () => {
      expect(kept(year, { keepWithin: '2d' }, Date.UTC(2100, 0))).toEqual(['v6', 'v5'])
    })

    it('looks back from the newest that is not in the future, and keeps those that are', () => {
      expect(kept(year, { keepWithin: '2d' }, Date.UTC(2024, 2, 1))).toEqual(['v6', 'v5', 'v4', 'v3'])
      expect(kept(year, { keepWithin: '1h' }, Date.UTC(2020, 0))).toHaveLength(year.length)
    })
  })

  describe('tags', () => {
    const tagged = snapshots(
      '2024-01-01 00:00 # release',
      '2024-01-02 00:00',
      '2024-01-03 00:00 # release # good',
      '2024-01-04 00:00 # draft',
      '2024-01-05 00:00',
      '2024-01-06 00:00',
      '2024-01-07 00:00 # draft',
    )

    it('protect a snapshot, and it counts towards no rule', () => {
      expect(kept(tagged, { keepLast: 2 })).toEqual(['v7', 'v6', 'v5', 'v4', 'v3', 'v1'])
      expect(kept(tagged, { keepMonthly: 1 })).toEqual(['v7', 'v6', 'v4', 'v3', 'v1'])
      expect(kept(tagged, { keepWithin: '25h' })).toEqual(['v7', 'v6', 'v5', 'v4', 'v3', 'v1'])
    })

    it('make no difference with pruneTagged', () => {
      expect(kept(tagged, { keepLast: 2, pruneTagged: true })).toEqual(['v7', 'v6'])
    })

    it('named in keepTags keep a snapshot beside what the counts keep', () => {
      const policy = { keepLast: 1, keepTags: ['release', 'good'], pruneTagged: true }
      expect(kept(tagged, policy)).toEqual(['v7', 'v3', 'v1'])
    })

    it('named in keepTags as the only rule leave nothing untagged', () => {
      expect(kept(tagged, { keepTags: ['good'] })).toEqual(['v7', 'v4', 'v3', 'v1'])
      expect(kept(tagged, { keepTags: ['good'], pruneTagged: true })).toEqual(['v3'])
    })

    it('named in keepTags that nothing carries remove nothing', () => {
      expect(kept(tagged, { keepTags: ['typo'] })).toHaveLength(tagged.length)
      expect(kept(tagged, { keepTags: ['typo'], pruneTagged: true })).toHaveLength(tagged.length)
      expect(kept(tagged, { keepTags: ['typo'], keepLast: 1, pruneTagged: true })).toEqual(['v7'])
    })
  })

  it.each<RetentionPolicy>([
    {},
    { keepLast: 0 },
    { keepLast: undefined, keepDaily: 0, keepWithin: 0, keepTags: [] },
    { pruneTagged: true },
  ])('removes nothing by the empty policy %j', policy => {
    const decision = applyRetention([...week, ...snapshots('2024-01-01 00:00 # tag')], policy, NOW)
    expect(decision.remove).toEqual([])
    expect(decision.keep).toHaveLength(7)
  })

  it('takes a list of none', () => {
    const nothing = { keep: [], remove: [] }
    expect(applyRetention([], { keepLast: 3, keepWithin: '1d' }, NOW)).toEqual(nothing)
    expect(applyRetention([], {}, NOW)).toEqual(nothing)
  })

  it('of the same time, takes the greater version for the newer', () => {
    const same = ['v9', 'v11', 'v10', 'v2', 'v100'].map(version => ({ version, createdAt: 5, tags: [] }))
    expect(kept(same, { keepLast: 3 })).toEqual(['v100', 'v11', 'v10'])
    expect(kept(same, { keepHourly: 3 })).toEqual(['v100'])
  })

  it('gives the candidates themselves, newest first, and leaves the list alone', () => {
    const list = [week[3], week[0], week[5], week[2]] as RetentionCandidate[]
    const before = [...list]
    const { keep, remove } = applyRetention(list, { keepLast: 2 }, NOW)
    expect(keep.map(({ candidate }) => candidate)).toEqual([week[5], week[3]])
    expect(remove[0]).toBe(week[2])
    expect(remove[1]).toBe(week[0])
    expect(list).toEqual(before)
  })

  it('says which rules keep a snapshot', () => {
    const list = snapshots('2024-01-01 00:00 # a', '2024-01-02 00:00', '2024-01-02 01:00', '2024-01-02 02:00')
    const policy = { keepLast: 2, keepHourly: 3, keepDaily: 1, keepWithin: 1, keepTags: ['a'] }
    const reasons = Object.fromEntries(
      applyRetention(list, policy, NOW).keep.map(kept => [kept.candidate.version, kept.reasons]),
    )
    expect(reasons).toEqual({
      v4: ['keepLast', 'keepHourly', 'keepDaily', 'keepWithin'],
      v3: ['keepLast', 'keepHourly'],
      v2: ['keepHourly'],
      v1: ['keepTags', 'tagged'],
    })
    const spared = applyRetention(list, {}, NOW).keep.map(kept => kept.reasons)
    expect(spared).toEqual([['noMatch'], ['noMatch'], ['noMatch'], ['tagged']])
  })
})

describe('validateRetention', () => {
  it('returns a copy without undefined fields', () => {
    const policy = { keepLast: 5, keepWithin: '1y2m3w4d5h', keepTags: ['a'], pruneTagged: false }
    expect(validateRetention({ ...policy, keepDaily: undefined }, 'retention')).toStrictEqual(policy)
    expect(validateRetention(policy, 'retention').keepTags).not.toBe(policy.keepTags)
    expect(validateRetention({}, 'retention')).toStrictEqual({})
    expect(validateRetention({ keepWithin: 3_600_000, keepYearly: 0 }, 'retention')).toStrictEqual({
      keepWithin: 3_600_000,
      keepYearly: 0,
    })
  })

  it.each([
    [{ keepLatest: 1 }, 'Unknown option "keepLatest" of retention. Did you mean "keepLast"?'],
    [{ keepWeakly: 1 }, 'Unknown option "keepWeakly" of retention. Did you mean "keepWeekly"?'],
    [{ maxAge: 1 }, 'Unknown option "maxAge" of retention. The known ones are keepLast, '],
    [{ keepLast: -1 }, 'Option "retention.keepLast" must be a whole number, 0 or more, not -1.'],
    [{ keepDaily: 1.5 }, 'Option "retention.keepDaily" must be a whole number, 0 or more, not 1.5.'],
    [{ keepYearly: Number.NaN }, 'Option "retention.keepYearly" must be a whole number, 0 or more, not NaN.'],
    [{ keepWithin: -1 }, 'Option "retention.keepWithin" must be a whole number, 0 or more, not -1.'],
    [{ keepWithin: '' }, 'Option "retention.keepWithin" must be milliseconds, or years'],
    [{ keepWithin: '7' }, "such as '1y6m' or '7d12h', not '7'."],
    [{ keepWithin: '1h1d' }, "not '1h1d'."],
    [{ keepWithin: '1.5d' }, "not '1.5d'."],
    [{ keepWithin: '-1d' }, "not '-1d'."],
    [{ keepWithin: '1d ' }, "not '1d '."],
    [{ keepWithin: '90min' }, "not '90min'."],
    [{ keepWithin: null }, 'not null.'],
    [{ keepTags: 'release' }, `Option "retention.keepTags" must be an array of tags, not 'release'.`],
    [{ keepTags: ['a', ''] }, `Option "retention.keepTags[1]" must be a non-empty string, not ''.`],
    [{ keepTags: [1] }, 'Option "retention.keepTags[0]" must be a non-empty string, not 1.'],
    [{ pruneTagged: 'yes' }, `Option "retention.pruneTagged" must be true or false, not 'yes'.`],
    [5, 'The options of retention must be an object, not 5.'],
  ])('refuses %o', (policy, message) => {
    expect(() => validateRetention(policy, 'retention')).toThrow(InvalidArgumentError)
    expect(() => validateRetention(policy, 'retention')).toThrow(message)
  })
})
