/** Counts the bytes of the values that a call reads or writes. */
export interface ByteMeter {
  bytes: number
}
