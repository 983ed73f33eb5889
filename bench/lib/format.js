// @ts-check

/** @param {number} value in milliseconds */
export function milliseconds(value) {
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`
  return value >= 1 ? `${significant(value)} ms` : `${significant(value * 1000)} µs`
}

/** @param {readonly [number, number]} range in milliseconds */
export function millisecondRange([low, high]) {
  return `${milliseconds(low)} – ${milliseconds(high)}`
}

/** @param {number} value in bytes */
export function megabytes(value) {
  return `${significant(value / 1e6)} MB`
}

/** @param {number} value */
export function ratio(value) {
  return `${value.toFixed(2)}×`
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString('en-US')
}

/**
 * Three significant digits, without an exponent.
 *
 * @param {number} value
 */
function significant(value) {
  if (value >= 100) return count(Math.round(value))
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}
