/**
 * How many of the indices from 0 to below `length` come before a point: `isBefore` is true of those and of none after
 * them. Found by halves.
 */
export function partitionPoint(length: number, isBefore: (index: number) => boolean): number {
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBefore(middle)) low = middle + 1
    else high = middle
  }
  return low
}
