// @ts-check

/**
 * Measures several sides in turns, so that whatever else the machine does meanwhile hits all of them alike. Each round
 * runs every side once; the side that goes first changes from round to round.
 *
 * @template {string} Name
 * @template Sample
 * @param {object} plan
 * @param {number} plan.rounds how many samples of each side are kept
 * @param {number} [plan.warmUp] rounds before those, which are not kept
 * @param {Record<Name, (round: number) => Promise<Sample>>} plan.sides each returns its sample
 * @param {(round: number) => void} [plan.onRound] called after each round, those of the warm-up included
 * @returns {Promise<Record<Name, Sample[]>>}
 */
export async function interleave({ rounds, warmUp = 0, sides, onRound }) {
  const names = /** @type {Name[]} */ (Object.keys(sides))
  const samples = /** @type {Record<Name, Sample[]>} */ ({})
  for (const name of names) samples[name] = []
  for (let round = 0; round < warmUp + rounds; round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = /** @type {Name} */ (names[(round + turn) % names.length])
      const sample = await sides[name](round)
      if (round >= warmUp) samples[name].push(sample)
    }
    onRound?.(round + 1)
  }
  return samples
}

/**
 * How long a call takes, in milliseconds.
 *
 * @param {() => Promise<unknown>} call
 */
export async function timed(call) {
  const start = performance.now()
  await call()
  return performance.now() - start
}
