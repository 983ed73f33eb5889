import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  applyRetention,
  type RetentionCandidate,
  type RetentionPolicy,
  validateRetention,
} from '../../src/snapshot/retention.ts'

const NOW = Date.UTC(2025, 5, 15)
const HOUR = 3_600_000

const COUNT_RULES = [
  'keepLast',
  'keepHourly',
  'keepDaily',
  'keepWeekly',
  'keepMonthly',
  'keepYearly',
] as const

/** Times in clusters, so that hours, days and weeks hold several snapshots, some of the very same time. */
const time = fc.oneof(
  fc.integer({ min: 0, max: 400 }).map(minutes => NOW - minutes * 10 * 60_000),
  fc.integer({ min: -48, max: 24 * 90 }).map(hours => NOW - hours * HOUR),
  fc.integer({ min: Date.UTC(1965, 0), max: Date.UTC(2040, 0) }),
)

const candidates: fc.Arbitrary<RetentionCandidate[]> = fc
  .array(fc.record({ time, tags: fc.subarray(['a', 'b', 'c']), tagged: fc.boolean(), date: fc.boolean() }), {
    maxLength: 40,
  })
  .map(list =>
    list.map(({ time, tags, tagged, date }, index) => ({
      version: `v${index + 1}`,
      createdAt: date ? new Date(time) : time,
      tags: tagged ? tags : [],
    })),
  )

const count = fc.integer({ min: 0, max: 12 })
const words = fc
  .tuple(...(['y', 'm', 'w', 'd', 'h'] as const).map(unit => fc.nat(40).map(n => `${n}${unit}`)))
  .chain(parts => fc.subarray(parts, { minLength: 1 }))
  .map(parts => parts.join(''))
const keepWithin = fc.oneof(words, fc.nat(100 * 24 * HOUR))

const policy: fc.Arbitrary<RetentionPolicy> = fc.record(
  {
    keepLast: count,
    keepHourly: count,
    keepDaily: count,
    keepWeekly: count,
    keepMonthly: count,
    keepYearly: count,
    keepWithin,
    keepTags: fc.subarray(['a', 'b', 'z']),
    pruneTagged: fc.boolean(),
  },
  { requiredKeys: [] },
)

const keptBy = (list: readonly RetentionCandidate[], rules: RetentionPolicy): Set<string> =>
  new Set(applyRetention(list, rules, NOW).keep.map(({ candidate }) => candidate.version))

/** The year and number of the ISO 8601 week, by its definition: the week belongs to the year of its Thursday. */
function isoWeek(date: Date): string {
  const thursday = new Date(date)
  thursday.setUTCDate(date.getUTCDate() + 4 - (date.getUTCDay() || 7))
  const newYear = Date.UTC(thursday.getUTCFullYear(), 0, 1)
  const dayOfYear = Math.floor((thursday.getTime() - newYear) / (24 * HOUR))
  return `${thursday.getUTCFullYear()}-W${Math.floor(dayOfYear / 7) + 1}`
}

const PERIOD_NAMES: Record<(typeof COUNT_RULES)[number], (date: Date, version: string) => string> = {
  keepLast: (_, version) => version,
  keepHourly: date => date.toISOString().slice(0, 13),
  keepDaily: date => date.toISOString().slice(0, 10),
  keepWeekly: isoWeek,
  keepMonthly: date => date.toISOString().slice(0, 7),
  keepYearly: date => date.toISOString().slice(0, 4),
}

/** One rule alone, the obvious way: group by the name of the period, sort the groups, take the newest of the first. */
function model(list: readonly RetentionCandidate[], rule: (typeof COUNT_RULES)[number], n: number): string[] {
  const ordered = [...list].sort(
    (a, b) =>
      Number(b.createdAt) - Number(a.createdAt) || Number(b.version.slice(1)) - Number(a.version.slice(1)),
  )
  const groups = new Map<string, string>()
  for (const { version, createdAt } of ordered) {
    const name = PERIOD_NAMES[rule](new Date(createdAt), version)
    if (!groups.has(name)) groups.set(name, version)
  }
  return [...groups.values()].slice(0, n)
}

describe('applyRetention', () => {
  it('divides the candidates: each is kept, for a reason, or removed; newest first', () => {
    fc.assert(
      fc.property(candidates, policy, (list, rules) => {
        const { keep, remove } = applyRetention(list, rules, NOW)
        expect(new Set([...keep.map(({ candidate }) => candidate), ...remove])).toEqual(new Set(list))
        expect(keep.length + remove.length).toBe(list.length)
        for (const part of [keep.map(({ candidate }) => candidate), remove]) {
          const times = part.map(({ createdAt }) => Number(createdAt))
          expect(times).toEqual(times.toSorted((a, b) => b - a))
        }
        for (const { reasons } of keep) {
          expect(reasons.length).toBeGreaterThan(0)
          expect(new Set(reasons).size).toBe(reasons.length)
        }
      }),
    )
  })

  it('keeps by each count what the obvious model keeps', () => {
    fc.assert(
      fc.property(candidates, fc.constantFrom(...COUNT_RULES), count, (list, rule, n) => {
        const expected = n === 0 ? list.map(({ version }) => version) : model(list, rule, n)
        expect(keptBy(list, { [rule]: n, pruneTagged: true })).toEqual(new Set(expected))
      }),
    )
  })

  it('is a union: a snapshot is kept exactly if some rule alone keeps it', () => {
    fc.assert(
      fc.property(candidates, policy, (list, { pruneTagged, ...rules }) => {
        const all = applyRetention(list, { ...rules, pruneTagged }, NOW)
        const alone = Object.entries(rules).flatMap(([name, value]) => {
          const { keep } = applyRetention(list, { [name]: value, pruneTagged }, NOW)
          return keep.filter(({ reasons }) => !reasons.includes('noMatch'))
        })
        if (all.keep.some(({ reasons }) => reasons.includes('noMatch'))) {
          expect(all.remove).toEqual([])
        } else {
          const tagged = list.filter(({ tags }) => tags.length > 0 && !pruneTagged)
          expect(new Set(all.keep.map(({ candidate }) => candidate))).toEqual(
            new Set([...alone.map(({ candidate }) => candidate), ...tagged]),
          )
        }
      }),
    )
  })

  it('is idempotent: of what it kept it removes nothing', () => {
    fc.assert(
      fc.property(candidates, policy, (list, rules) => {
        const survivors = applyRetention(list, rules, NOW).keep.map(({ candidate }) => candidate)
        expect(applyRetention(survivors, rules, NOW).remove).toEqual([])
      }),
    )
  })

  it('keeps a superset for a larger count', () => {
    fc.assert(
      fc.property(
        candidates,
        policy,
        fc.constantFrom(...COUNT_RULES),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 12 }),
        (list, rules, rule, n, more) => {
          const fewer = keptBy(list, { ...rules, [rule]: n })
          const larger = keptBy(list, { ...rules, [rule]: n + more })
          expect([...fewer].filter(version => !larger.has(version))).toEqual([])
        },
      ),
    )
  })

  it('keeps a superset for a longer keepWithin', () => {
    fc.assert(
      fc.property(candidates, fc.nat(30), fc.nat(30), fc.constantFrom(...'ymwdh'), (list, n, more, unit) => {
        const shorter = keptBy(list, { keepWithin: `${n + 1}${unit}` })
        const longer = keptBy(list, { keepWithin: `${n + 1 + more}${unit}` })
        expect([...shorter].filter(version => !longer.has(version))).toEqual([])
      }),
    )
  })

  it('without pruneTagged keeps the tagged, and treats the untagged as if those were not there', () => {
    fc.assert(
      fc.property(candidates, policy, (list, { pruneTagged: _, keepTags: __, ...rules }) => {
        const untagged = list.filter(({ tags }) => tags.length === 0)
        const tagged = list.filter(({ tags }) => tags.length > 0).map(({ version }) => version)
        expect(keptBy(list, rules)).toEqual(new Set([...keptBy(untagged, rules), ...tagged]))
      }),
    )
  })

  it('does not depend on the order of the candidates', () => {
    fc.assert(
      fc.property(
        candidates.chain(list =>
          fc.tuple(
            fc.constant(list),
            fc.shuffledSubarray(list, { minLength: list.length, maxLength: list.length }),
          ),
        ),
        policy,
        ([list, shuffled], rules) => {
          expect(applyRetention(shuffled, rules, NOW)).toEqual(applyRetention(list, rules, NOW))
        },
      ),
    )
  })

  it('never empties a list', () => {
    fc.assert(
      fc.property(candidates, policy, (list, rules) => {
        expect(keptBy(list, rules).size > 0).toBe(list.length > 0)
      }),
    )
  })
})

describe('validateRetention', () => {
  it('accepts every valid policy, which means the same afterwards', () => {
    fc.assert(
      fc.property(candidates, policy, (list, rules) => {
        expect(validateRetention(rules, 'retention')).toEqual(rules)
        expect(keptBy(list, validateRetention(rules, 'retention'))).toEqual(keptBy(list, rules))
      }),
    )
  })
})
