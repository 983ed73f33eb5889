import type { EvictionPolicy } from './eviction-policy.ts'
import { SlotLinks, SlotList } from './slot-list.ts'

/** First in, first out: the entry that was set longest ago goes. */
export function fifoPolicy(): EvictionPolicy {
  const links = new SlotLinks()
  const entries = new SlotList(links)
  return {
    grow: capacity => links.grow(capacity),
    insert: slot => entries.append(slot),
    hit() {},
    remove: slot => entries.remove(slot),
    victim: () => entries.first,
  }
}
