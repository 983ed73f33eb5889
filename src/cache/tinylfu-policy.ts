import type { EvictionPolicy, SlotEntries } from './eviction-policy.ts'
import { FrequencySketch, MAX_FREQUENCY } from './frequency-sketch.ts'
import { enlarged, SlotLinks, SlotList } from './slot-list.ts'

/** The share of the entries that the window has at first. */
const FIRST_SHARE = 0.01
const MAX_SHARE = 0.95
/** The window is resized after so many uses for each entry, … */
const USES_PER_STEP = 10
/** … at first by this share of the entries, … */
const FIRST_STEP = 0.0625
/** … then by less and less, … */
const STEP_DECAY = 0.98
/** … until the hit ratio moves by so much, which tells that the pattern of use has changed. */
const RESTART_CHANGE = 0.05
/** Frequencies are halved after so many uses for each entry, so that the past is forgotten. */
const USES_PER_HALVING = 5
/** A newcomer must have been used more often than its opponent by more than this. */
const MARGIN = 1

const IN_MAIN = 1
const USED = 2

/**
 * Window-TinyLFU (Einziger, Eytan, Friedman and Manes, "Adaptive Software Cache Management", 2018), with queues in
 * which being used is only noted.
 *
 * A new entry comes into a small *window*, so that it can prove itself. Who leaves the window meets the entry that the
 * *main* part would lose, and the one that was used more often lately stays; what a sketch remembers of keys that are
 * not in the cache counts too. A scan, or a loop longer than the cache, thus passes through the window and leaves the
 * rest alone. How large the window should be depends on how much a recent use tells: it is found by hill climbing on
 * the hit ratio.
 *
 * What differs from the paper was chosen by measurement (`bench/cache/hit-ratio.js`):
 * - Both parts are queues with a second chance, as in CLOCK, instead of LRU lists: a hit sets a bit and counts, and
 *   moves nothing.
 * - The frequency of an entry in the cache is a number of its own; the sketch is asked and told of keys only as they
 *   come and go.
 * - A newcomer needs a margin. Which of two entries in a loop was counted before the last halving is chance, and the
 *   margin keeps chance from replacing one by the other.
 */
export function tinyLfuPolicy({ key: keyOf }: SlotEntries): EvictionPolicy {
  const links = new SlotLinks()
  const window = new SlotList(links)
  const main = new SlotList(links)
  let frequency = new Uint8Array(0)
  let flags = new Uint8Array(0)
  let sketch = new FrequencySketch(0)

  let share = FIRST_SHARE
  let step = -FIRST_STEP
  let lastHitRatio = 0
  let hits = 0
  let misses = 0
  /** Uses that had been counted when the frequencies were last halved. */
  let halvedAt = 0

  const partOf = (slot: number): SlotList => ((flags[slot] as number) & IN_MAIN ? main : window)

  /** The entry that a part would lose: the first that was not used since it was last looked at. */
  const tailOf = (part: SlotList): number => {
    for (;;) {
      const slot = part.first
      if (((flags[slot] as number) & USED) === 0) return slot
      flags[slot] = (flags[slot] as number) & ~USED
      part.remove(slot)
      part.append(slot)
    }
  }

  const moveToMain = (slot: number): void => {
    window.remove(slot)
    flags[slot] = IN_MAIN
    main.append(slot)
  }

  /** Of a key that the sketch has counted as often as others it collides with: those count for both sides. */
  const frequencyOf = (slot: number): number =>
    Math.max(frequency[slot] as number, sketch.estimate(keyOf(slot)))

  const age = (entries: number): void => {
    const uses = hits + misses
    if (uses - halvedAt >= USES_PER_HALVING * entries) {
      halvedAt = uses
      sketch.halve()
      for (let slot = 0; slot < frequency.length; slot++) frequency[slot] = (frequency[slot] as number) >>> 1
    }
    if (uses < USES_PER_STEP * entries) return
    const hitRatio = hits / uses
    const change = hitRatio - lastHitRatio
    const direction = change >= 0 ? step : -step
    share = Math.min(MAX_SHARE, Math.max(FIRST_SHARE, share + direction))
    step = Math.abs(change) >= RESTART_CHANGE ? Math.sign(direction) * FIRST_STEP : direction * STEP_DECAY
    lastHitRatio = hitRatio
    halvedAt -= uses
    hits = 0
    misses = 0
  }

  return {
    grow(capacity) {
      links.grow(capacity)
      frequency = enlarged(frequency, capacity)
      flags = enlarged(flags, capacity)
      sketch = new FrequencySketch(capacity)
    },

    insert(slot, key, renewed) {
      if (renewed) {
        frequency[slot] = Math.min(MAX_FREQUENCY, (frequency[slot] as number) + 1)
        flags[slot] = (flags[slot] as number) | USED
        partOf(slot).append(slot)
        return
      }
      misses++
      const seen = Math.min(MAX_FREQUENCY, sketch.estimate(key) + 1)
      sketch.raise(key, seen)
      frequency[slot] = seen
      flags[slot] = 0
      window.append(slot)
    },

    hit(slot) {
      hits++
      if ((frequency[slot] as number) < MAX_FREQUENCY) frequency[slot] = (frequency[slot] as number) + 1
      flags[slot] = (flags[slot] as number) | USED
    },

    remove(slot, key) {
      partOf(slot).remove(slot)
      sketch.raise(key, frequency[slot] as number)
    },

    victim() {
      const entries = window.length + main.length
      age(entries)
      const windowTarget = Math.max(1, Math.round(share * entries))
      // The entry that is about to come in belongs to the window.
      while (window.length >= windowTarget) {
        const candidate = tailOf(window)
        if (main.length < entries - windowTarget) {
          moveToMain(candidate)
          continue
        }
        if (main.length === 0) return candidate
        const opponent = tailOf(main)
        if (frequencyOf(candidate) <= frequencyOf(opponent) + MARGIN) return candidate
        moveToMain(candidate)
        return opponent
      }
      return tailOf(main)
    },
  }
}
