import type { RetentionPolicy } from '../snapshot/retention.ts'

/** The options that say which snapshots to keep. */
export type RetentionFlags = {
  readonly [K in Exclude<keyof RetentionPolicy, 'keepTags'>]?: Exclude<RetentionPolicy[K], undefined>
} & { readonly keepTag?: readonly string[] }

const RULES = [
  'keepLast',
  'keepHourly',
  'keepDaily',
  'keepWeekly',
  'keepMonthly',
  'keepYearly',
  'keepWithin',
  'pruneTagged',
] as const

/** The policy that the options make; `undefined` if none of them was given. */
export function retentionOf(flags: RetentionFlags): RetentionPolicy | undefined {
  const given = RULES.filter(rule => flags[rule] !== undefined).map(rule => [rule, flags[rule]] as const)
  const policy: RetentionPolicy = {
    ...Object.fromEntries(given),
    ...(flags.keepTag !== undefined && { keepTags: flags.keepTag }),
  }
  return Object.keys(policy).length === 0 ? undefined : policy
}
