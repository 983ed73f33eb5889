// @ts-check

/**
 * The value below which a share of the samples lies, between two samples by linear interpolation.
 *
 * @param {readonly number[]} samples at least one
 * @param {number} share 0 to 1
 */
export function quantile(samples, share) {
  if (samples.length === 0) throw new RangeError('quantile() needs at least one sample')
  const sorted = [...samples].sort((a, b) => a - b)
  const position = share * (sorted.length - 1)
  const below = Math.floor(position)
  const low = /** @type {number} */ (sorted[below])
  const high = sorted[below + 1] ?? low
  return low + (high - low) * (position - below)
}

/** @param {readonly number[]} samples at least one */
export function median(samples) {
  return quantile(samples, 0.5)
}

/**
 * The middle half of the samples: from the first quartile to the third.
 *
 * @param {readonly number[]} samples at least one
 * @returns {[number, number]}
 */
export function middleHalf(samples) {
  return [quantile(samples, 0.25), quantile(samples, 0.75)]
}
