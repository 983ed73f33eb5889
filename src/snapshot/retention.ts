import { boolean, checkOptions, invalidOption, nonEmptyString, nonNegativeInteger } from '../core/options.ts'
import { parseVersion } from './version.ts'

/**
 * Which snapshots to keep, in the vocabulary of `restic forget`.
 *
 * The rules are a union: a snapshot stays if any of them keeps it. A rule that is left out, or 0, does not count;
 * where no rule keeps any snapshot at all, none is removed, so a policy never empties a store.
 *
 * Tagged snapshots are safe and apart: they are kept, and neither the counts nor `keepWithin` look at them, so
 * `keepLast: 5` means the five newest untagged ones. With `pruneTagged` a tag makes no difference, except to
 * `keepTags`.
 *
 * Hours, days, months and years are those of UTC; weeks are those of ISO 8601, from Monday. They count only where
 * they hold a snapshot: a day without one uses up nothing of `keepDaily`. Unlike restic, these rules do not keep
 * the oldest snapshot as well while they have counts left.
 *
 * @example
 * ```ts
 * import { createPersistence } from 'varve'
 *
 * await using state = await createPersistence({
 *   basePath: './state',
 *   retention: { keepLast: 10, keepDaily: 7, keepWeekly: 5, keepWithin: '2d12h' },
 * })
 * ```
 */
export interface RetentionPolicy {
  /** The newest so many. */
  readonly keepLast?: number | undefined
  /** The newest of each of the last so many hours that have one. */
  readonly keepHourly?: number | undefined
  /** The newest of each of the last so many days that have one. */
  readonly keepDaily?: number | undefined
  /** The newest of each of the last so many weeks that have one. */
  readonly keepWeekly?: number | undefined
  /** The newest of each of the last so many months that have one. */
  readonly keepMonthly?: number | undefined
  /** The newest of each of the last so many years that have one. */
  readonly keepYearly?: number | undefined
  /**
   * All that were made after the newest one's time less this duration: milliseconds, or words such as
   * `'1y2m3w4d5h'` (years, months, weeks, days, hours, in this order, each of them optional). Years and months are
   * the calendar's. The newest is that of the snapshots the policy looks at, those dated in the future left aside;
   * the latter are kept.
   */
  readonly keepWithin?: string | number | undefined
  /** All that carry at least one of these tags. As the only rule it removes every untagged snapshot. */
  readonly keepTags?: readonly string[] | undefined
  /** Whether tagged snapshots may be removed, and count, like untagged ones; by default they may not. */
  readonly pruneTagged?: boolean | undefined
}

/** What a policy needs to know of a snapshot. */
export interface RetentionCandidate {
  /** Its id. Of two snapshots of the same time, the one with the greater number in its id is the newer. */
  readonly version: string
  /** When it was made; a number is milliseconds since the epoch. */
  readonly createdAt: Date | number
  readonly tags: readonly string[]
}

/**
 * Why a snapshot is kept: the rule that keeps it; `tagged`, since tagged ones are not pruned; or `noMatch`, since no
 * rule keeps any snapshot and therefore none is removed.
 */
export type RetentionReason = CountRule | 'keepWithin' | 'keepTags' | 'tagged' | 'noMatch'

/** What a policy says of a list of snapshots. Both lists are newest first; together they are the candidates. */
export interface RetentionDecision<C> {
  readonly keep: readonly { readonly candidate: C; readonly reasons: readonly RetentionReason[] }[]
  readonly remove: readonly C[]
}

type CountRule = keyof typeof PERIODS

const HOUR = 3_600_000
const DAY = 24 * HOUR

/**
 * For each rule with a count, the number of the period that a time lies in. Only whether two are equal matters, so
 * weeks are counted from Monday 29 December 1969, three days before the epoch. `keepLast` has none: there each
 * snapshot is a period of its own.
 */
const PERIODS = {
  keepLast: undefined,
  keepHourly: (time: number) => Math.floor(time / HOUR),
  keepDaily: (time: number) => Math.floor(time / DAY),
  keepWeekly: (time: number) => Math.floor((time / DAY + 3) / 7),
  keepMonthly: (time: number) => new Date(time).getUTCFullYear() * 12 + new Date(time).getUTCMonth(),
  keepYearly: (time: number) => new Date(time).getUTCFullYear(),
} as const

const COUNT_RULES = Object.keys(PERIODS) as CountRule[]

/**
 * Divides snapshots into those that `policy` keeps and those that it removes.
 *
 * It is a pure function, and idempotent: applied to what it kept, it removes nothing.
 *
 * @param candidates All snapshots, in any order; at most one of each version.
 * @param policy A valid policy, see {@link validateRetention}.
 * @param now Milliseconds since the epoch; snapshots dated later are in the future, which matters to `keepWithin`.
 */
export function applyRetention<C extends RetentionCandidate>(
  candidates: readonly C[],
  policy: RetentionPolicy,
  now: number,
): RetentionDecision<C> {
  const all = candidates
    .map(candidate => ({
      candidate,
      time: Number(candidate.createdAt),
      reasons: [] as RetentionReason[],
    }))
    .sort((a, b) => b.time - a.time || parseVersion(b.candidate.version) - parseVersion(a.candidate.version))
  const counted = all.filter(({ candidate }) => policy.pruneTagged || candidate.tags.length === 0)

  for (const rule of COUNT_RULES) {
    const period = PERIODS[rule]
    let left = policy[rule] ?? 0
    let last: number | undefined
    for (const { time, reasons } of counted) {
      if (left === 0) break
      const current = period?.(time)
      if (current !== undefined && current === last) continue
      reasons.push(rule)
      last = current
      left--
    }
  }

  const within = parseDuration(policy.keepWithin ?? 0)
  if (within !== undefined && !isZero(within)) {
    const newest = counted.find(({ time }) => time <= now)
    const cutoff = newest === undefined ? Number.NEGATIVE_INFINITY : subtract(newest.time, within)
    for (const { time, reasons } of counted) if (time > cutoff) reasons.push('keepWithin')
  }

  const wanted = new Set(policy.keepTags)
  for (const { candidate, reasons } of all) {
    if (candidate.tags.some(tag => wanted.has(tag))) reasons.push('keepTags')
  }

  const matched = all.some(({ reasons }) => reasons.length > 0)
  for (const { candidate, reasons } of all) {
    if (candidate.tags.length > 0 && !policy.pruneTagged) reasons.push('tagged')
    else if (!matched) reasons.push('noMatch')
  }

  return {
    keep: all
      .filter(({ reasons }) => reasons.length > 0)
      .map(({ candidate, reasons }) => ({ candidate, reasons })),
    remove: all.filter(({ reasons }) => reasons.length === 0).map(({ candidate }) => candidate),
  }
}

/**
 * Checks what a caller gave as a policy, and returns a copy of it, without fields that are `undefined`.
 *
 * @param optionName What the caller knows it as, such as `retention`; messages name its fields `retention.keepLast`.
 * @throws {InvalidArgumentError} for an unknown field, a count that is negative or not whole, a duration that cannot
 * be read, an empty tag.
 */
export function validateRetention(policy: unknown, optionName: string): RetentionPolicy {
  return checkOptions<RetentionPolicy>(policy, CHECKS, optionName, `${optionName}.`)
}

const CHECKS = {
  keepLast: nonNegativeInteger,
  keepHourly: nonNegativeInteger,
  keepDaily: nonNegativeInteger,
  keepWeekly: nonNegativeInteger,
  keepMonthly: nonNegativeInteger,
  keepYearly: nonNegativeInteger,
  keepWithin: duration,
  keepTags: tagList,
  pruneTagged: boolean,
}

function duration(value: unknown, name: string): string | number {
  if (typeof value === 'number') return nonNegativeInteger(value, name)
  if (typeof value === 'string' && parseDuration(value) !== undefined) return value
  throw invalidOption(
    name,
    "milliseconds, or years, months, weeks, days and hours in this order, such as '1y6m' or '7d12h'",
    value,
  )
}

function tagList(value: unknown, name: string): readonly string[] {
  if (!Array.isArray(value)) throw invalidOption(name, 'an array of tags', value)
  return value.map((tag, index) => nonEmptyString(tag, `${name}[${index}]`))
}

interface Duration {
  readonly months: number
  readonly days: number
  readonly milliseconds: number
}

const DURATION_WORDS = /^(?:(\d+)y)?(?:(\d+)m)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?$/

function parseDuration(value: string | number): Duration | undefined {
  if (typeof value === 'number') return { months: 0, days: 0, milliseconds: value }
  const words = value === '' ? null : DURATION_WORDS.exec(value)
  if (words === null) return undefined
  const [years, months, weeks, days, hours] = words.slice(1).map(digits => Number(digits ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
  ]
  return { months: years * 12 + months, days: weeks * 7 + days, milliseconds: hours * HOUR }
}

function isZero({ months, days, milliseconds }: Duration): boolean {
  return months === 0 && days === 0 && milliseconds === 0
}

/** The calendar's date before `time`, in UTC; a day that a month does not have runs over into the next. */
function subtract(time: number, { months, days, milliseconds }: Duration): number {
  const date = new Date(time)
  date.setUTCMonth(date.getUTCMonth() - months, date.getUTCDate() - days)
  const before = date.getTime() - milliseconds
  // Before the first date that JavaScript can express: before everything.
  return Number.isNaN(before) ? Number.NEGATIVE_INFINITY : before
}
