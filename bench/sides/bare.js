// @ts-check
/** A process with nothing but Node.js and what lets it answer, to know what that takes. */
import { residentMemory } from '../lib/process-memory.js'

export function memory() {
  return residentMemory('self')?.anonymous ?? 0
}
