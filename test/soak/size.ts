/** How much a soak is to do, and from which numbers: `scripts/soak.js` says so, and else it is a quick run. */
export interface SoakSize {
  readonly inputs: number
  readonly seed: number
  /** Whether it is more than the quick run that belongs to all tests. */
  readonly isSoak: boolean
}

export function soakSize(quick: number): SoakSize {
  const { VARVE_SOAK_INPUTS: inputs, VARVE_SOAK_SEED: seed } = process.env
  return {
    inputs: inputs === undefined ? quick : Number(inputs),
    seed: seed === undefined ? 1 : Number(seed),
    isSoak: inputs !== undefined,
  }
}

/** Time for one thing, and for so many. */
export function timeFor(inputs: number, each: number): number {
  return 60_000 + inputs * each
}
