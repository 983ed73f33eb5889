/*
 * Chain record, format 1: the versions of one key in one self-contained record.
 *
 *   byte    format (1)
 *   byte    compression of the body in the low four bits; the others are reserved and zero
 *   uint32  CRC-32 of every other byte of the record
 *   varint  versions
 *   varint  birth of the newest version
 *   byte    codec of the first value
 *   varint  length of the body before compression
 *   varint  bytes of literals at the start of the body
 *   table   the versions, newest first
 *   body    literals, then numbers
 *
 * A row of the table is a byte: the low three bits say where the payload comes from (see ROW), the high five how many
 * epochs the version is older than the one before it (1 to 31; 0: a varint with that distance follows the byte; the
 * first row has none). A payload that occurs again is not stored again. The values, which are the distinct payloads, are
 * numbered as they first appear; the values that the last rows named, most recent first, make up the recent ones,
 * RECENT of them at most.
 *
 * In the body each value has its numbers, in order: the first its length, all others how many edits make it of its
 * base and the numbers of these edits. The first value is a keyframe, all literals: so the newest version is read
 * without applying anything. Numbers come after the literals, where they disturb a compressor's statistics less.
 */

/** The format this code writes, and the only one so far. */
export const CHAIN_FORMAT = 1
/** The most bytes of a payload, and of a body: a record that declares more is damaged, and takes no memory. */
export const MAX_LENGTH = 2 ** 30

/** Where the checksum is. */
export const CHECKSUM_AT = 2
/** Where what comes after the checksum begins. */
export const AFTER_CHECKSUM = 6

/** Where the payload of a version comes from: the low three bits of its row. */
export const ROW = {
  /** A new value: edits of the most recent one; this number plus one and two: of those after it. Same codec as the base. */
  edited: 0,
  /** The second most recent value again; this number plus one and two: those after it. */
  repeated: 3,
  /** None: the key was deleted. */
  tombstone: 6,
  /**
   * A varint follows: twice the number of a value, plus 1 if the version is a new value with that base, in which case
   * a byte follows with its codec; else it is that value again.
   */
  named: 7,
} as const

/** How many of the recent values the short rows of {@link ROW} can name as a base. */
export const EDITED_RANKS = 3
/** The ranks among the recent values that the short rows can name as repeated. */
export const REPEATED_RANKS = { first: 1, last: 3 } as const

/** How many values are remembered as recent. */
const RECENT = 4

/** Makes `value` the most recent one. */
export function touchRecent(recent: number[], value: number): void {
  // Those before it move back by one, and take its place or, if it is new, that of the last.
  let moved = value
  for (let rank = 0; rank < RECENT; rank++) {
    const here = recent[rank]
    recent[rank] = moved
    if (here === undefined || here === value) return
    moved = here
  }
}
