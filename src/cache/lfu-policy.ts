import type { EvictionPolicy } from './eviction-policy.ts'
import { SlotHeap } from './slot-heap.ts'
import { enlarged } from './slot-list.ts'

/**
 * Least frequently used: the entry that was set and read least often goes, of several the one that was so longest ago.
 * What left the cache begins anew.
 */
export function lfuPolicy(): EvictionPolicy {
  let uses = new Float64Array(0)
  let lastUse = new Float64Array(0)
  let clock = 0
  const heap = new SlotHeap((a, b) => {
    const difference = (uses[a] as number) - (uses[b] as number)
    return difference === 0 ? (lastUse[a] as number) < (lastUse[b] as number) : difference < 0
  })
  const use = (slot: number, count: number): void => {
    uses[slot] = count
    lastUse[slot] = clock++
  }
  return {
    grow(capacity) {
      uses = enlarged(uses, capacity)
      lastUse = enlarged(lastUse, capacity)
      heap.grow(capacity)
    },
    insert(slot, _key, renewed) {
      use(slot, renewed ? (uses[slot] as number) + 1 : 1)
      heap.add(slot)
    },
    hit(slot) {
      use(slot, (uses[slot] as number) + 1)
      heap.delay(slot)
    },
    remove: slot => heap.remove(slot),
    victim: () => heap.first,
  }
}
