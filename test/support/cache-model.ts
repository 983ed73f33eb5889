import type { CachePolicy } from '../../src/cache/memory-cache.ts'

/** The time, as a test sets it. */
export interface FakeClock {
  time: number
  readonly now: () => number
}

export function fakeClock(): FakeClock {
  const clock = { time: 0, now: () => clock.time }
  return clock
}

/** One call of a cache, of few keys, sizes and times. */
export type CacheCall =
  | KeyCall<'get'>
  | KeyCall<'has'>
  | KeyCall<'delete'>
  | KeyCall<'metadata'>
  | { readonly call: 'set'; readonly key: string; readonly size: number; readonly ttl: number | undefined }
  | { readonly call: 'wait'; readonly milliseconds: number }
  | { readonly call: 'clear' }
  | { readonly call: 'purge' }
  | { readonly call: 'keys' }

interface KeyCall<Name> {
  readonly call: Name
  readonly key: string
}

const KEYS = 40
const MAX_SIZE = 30

/** The call that a number stands for: small numbers stand for simple calls. */
export function callOf(code: number): CacheCall {
  const rest = Math.floor(code / 100)
  const key = `key ${rest % KEYS}`
  const more = Math.floor(rest / KEYS)
  const kind = code % 100
  if (kind < 45) return { call: 'get', key }
  if (kind < 80) {
    const ttl = more % 3 === 0 ? (more % 50) + 1 : undefined
    return { call: 'set', key, size: more % MAX_SIZE, ttl }
  }
  if (kind < 85) return { call: 'has', key }
  if (kind < 89) return { call: 'delete', key }
  if (kind < 92) return { call: 'metadata', key }
  if (kind < 97) return { call: 'wait', milliseconds: rest % 10 }
  if (kind < 98) return { call: 'purge' }
  if (kind < 99) return { call: 'keys' }
  return rest % 50 === 0 ? { call: 'clear' } : { call: 'get', key }
}

interface ModelEntry {
  readonly value: string
  readonly bytes: number
  readonly expiresAt: number
  readonly setAt: number
  lastUse: number
  uses: number
}

/** The simplest cache there is: a map, and a search through all of it for whoever has to go. */
export class CacheModel {
  readonly entries = new Map<string, ModelEntry>()
  readonly #clock: FakeClock
  #turn = 0

  constructor(clock: FakeClock) {
    this.#clock = clock
  }

  get bytes(): number {
    return [...this.entries.values()].reduce((sum, { bytes }) => sum + bytes, 0)
  }

  isLive(key: string): boolean {
    const entry = this.entries.get(key)
    return entry !== undefined && this.#clock.time <= entry.expiresAt
  }

  get(key: string): string | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined) return undefined
    if (!this.isLive(key)) {
      this.entries.delete(key)
      return undefined
    }
    entry.lastUse = this.#turn++
    entry.uses++
    return entry.value
  }

  set(key: string, value: string, bytes: number, ttl: number | undefined): void {
    const uses = (this.entries.get(key)?.uses ?? 0) + 1
    this.entries.delete(key)
    const turn = this.#turn++
    const expiresAt = ttl === undefined ? Number.POSITIVE_INFINITY : this.#clock.time + ttl
    this.entries.set(key, { value, bytes, expiresAt, setAt: turn, lastUse: turn, uses })
  }

  purge(): void {
    for (const key of [...this.entries.keys()]) if (!this.isLive(key)) this.entries.delete(key)
  }

  /** Whom a policy that is a rule would let go, the key that is just being set apart. */
  victim(policy: Exclude<CachePolicy, 'tinylfu'>, except: string): string {
    const rank: Record<typeof policy, (entry: ModelEntry) => readonly [number, number]> = {
      lru: ({ lastUse }) => [lastUse, 0],
      lfu: ({ uses, lastUse }) => [uses, lastUse],
      fifo: ({ setAt }) => [setAt, 0],
      ttl: ({ expiresAt, setAt }) => [expiresAt, setAt],
    }
    let first: string | undefined
    for (const [key, entry] of this.entries) {
      if (key === except) continue
      const best = first === undefined ? undefined : rank[policy](this.entries.get(first) as ModelEntry)
      const own = rank[policy](entry)
      if (best === undefined || own[0] < best[0] || (own[0] === best[0] && own[1] < best[1])) first = key
    }
    return first as string
  }
}
