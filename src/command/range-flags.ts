import type { Range } from '../snapshot/key-range.ts'

/** The options of commands that take a range of keys. */
export interface RangeFlags {
  readonly from?: string
  readonly to?: string
  readonly limit?: number
  readonly reverse?: boolean
}

/** A prefix and the options beside it, as a range. */
export function rangeOf(prefix: string | undefined, { from, to, limit, reverse }: RangeFlags): Range {
  return {
    ...(prefix !== undefined && { prefix }),
    ...(from !== undefined && { gte: from }),
    ...(to !== undefined && { lt: to }),
    ...(limit !== undefined && { limit }),
    ...(reverse !== undefined && { reverse }),
  }
}
