// @ts-check
import { interleave } from './interleave.js'
import { progress } from './progress.js'

/**
 * Runs sides in turns; see `interleave()`. A full run keeps so many `rounds` after those of the warm-up, which is one
 * where nothing else is said; a quick run has two, and no warm-up.
 *
 * @typedef {<Name extends string, Sample>(
 *   what: string,
 *   rounds: number,
 *   sides: Record<Name, (round: number) => Promise<Sample>>,
 *   warmUp?: number,
 * ) => Promise<Record<Name, Sample[]>>} Turns
 */

/**
 * @param {boolean} quick
 * @returns {Turns}
 */
export function turnsOf(quick) {
  return (what, fullRounds, sides, fullWarmUp = 1) => {
    const [rounds, warmUp] = quick ? [2, 0] : [fullRounds, fullWarmUp]
    return interleave({ rounds, warmUp, sides, onRound: progress(what, warmUp + rounds) })
  }
}
