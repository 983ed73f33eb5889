import type { EvictionPolicy, SlotEntries } from './eviction-policy.ts'
import { SlotHeap } from './slot-heap.ts'
import { enlarged } from './slot-list.ts'

/** The entry that would expire first goes, of several the one set longest ago; those that do not expire go last. */
export function ttlPolicy({ expiresAt }: SlotEntries): EvictionPolicy {
  let setAt = new Float64Array(0)
  let clock = 0
  const heap = new SlotHeap((a, b) => {
    const [first, second] = [expiresAt(a), expiresAt(b)]
    return first === second ? (setAt[a] as number) < (setAt[b] as number) : first < second
  })
  return {
    grow(capacity) {
      setAt = enlarged(setAt, capacity)
      heap.grow(capacity)
    },
    insert(slot) {
      setAt[slot] = clock++
      heap.add(slot)
    },
    hit() {},
    remove: slot => heap.remove(slot),
    victim: () => heap.first,
  }
}
