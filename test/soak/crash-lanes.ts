import { join } from 'node:path'
import { type CrashOptions, crashStore, type Tally } from './crash-store.ts'

/** How many stores are put to the test, and how. */
export interface LaneOptions extends Pick<CrashOptions, 'rounds' | 'folder' | 'program' | 'files'> {
  /** Begin no store once there have been so many kills. */
  readonly kills: number
  /** Of the first store; each further one has the next. */
  readonly firstSeed: number
  /** How many stores are written to at a time. */
  readonly atOnce: number
  /** Begin no round after this moment, in milliseconds of `performance.now()`. */
  readonly deadline?: number
  /** Told of each store that has passed. */
  readonly onStore?: (seed: number) => void
}

/**
 * Crashes store after store, several at a time, and resolves with the first seed that was not used. Where one fails, the
 * others end with the round that they are in: nothing is under way any more when this settles.
 *
 * @throws what the first that failed has thrown.
 */
export async function crashStores(options: LaneOptions, tally: Tally): Promise<number> {
  const { kills, atOnce, folder, deadline = Number.POSITIVE_INFINITY, onStore } = options
  let seed = options.firstSeed
  let failed = false
  const goesOn = (): boolean => !failed && performance.now() < deadline
  const lane = async (): Promise<void> => {
    while (tally.kills < kills && goesOn()) {
      const chosen = seed++
      await crashStore({ ...options, goesOn, seed: chosen, folder: join(folder, `seed-${chosen}`) }, tally)
      onStore?.(chosen)
    }
  }
  const lanes = Array.from({ length: atOnce }, () =>
    lane().catch((error: unknown) => {
      failed = true
      throw error
    }),
  )
  await Promise.allSettled(lanes)
  await Promise.all(lanes)
  return seed
}
