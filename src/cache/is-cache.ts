import type { Cache } from './cache.ts'

const METHODS = ['get', 'set', 'has', 'delete', 'clear', 'stats', 'on', 'close'] as const

/** Whether a value has what {@link Cache} promises. */
export function isCache(value: unknown): value is Cache {
  if (typeof value !== 'object' || value === null) return false
  return METHODS.every(method => typeof (value as Record<string, unknown>)[method] === 'function')
}
