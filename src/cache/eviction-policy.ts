/**
 * Decides which entry goes. It knows entries as slots, small numbers that are used again; the store tells it of each
 * entry that comes, is used, and goes.
 */
export interface EvictionPolicy {
  /** There are slots below `capacity` from now on. Called before the first, and each time there are more. */
  grow(capacity: number): void
  /** An entry came in; `renewed` if its key was just removed, to be set anew. */
  insert(slot: number, key: string, renewed: boolean): void
  /** An entry was read. */
  hit(slot: number): void
  /** An entry goes, for whatever reason. */
  remove(slot: number, key: string): void
  /** Which entry should make room. Called only where there is one; the entry is then removed. */
  victim(): number
}

/** A policy of a cache that is not in the hands of a library. Makes one for a store that keeps keys and expiry times so. */
export type PolicyFactory = (entries: SlotEntries) => EvictionPolicy

/** What a policy may ask of the store. */
export interface SlotEntries {
  key(slot: number): string
  /** When the entry expires; infinity if it does not. */
  expiresAt(slot: number): number
}
