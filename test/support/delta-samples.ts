/** Values for tests of deltas: repeatable, without `Math.random`. */

/** A source of numbers in [0, 1) that repeats for the same seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Bytes without any structure. */
export function noise(length: number, seed: number): Buffer {
  const random = seeded(seed)
  const bytes = Buffer.allocUnsafe(length)
  for (let i = 0; i < length; i++) bytes[i] = random() * 256
  return bytes
}

/** JSON text of records that resemble each other, as application state does. */
export function records(length: number, seed: number): Buffer {
  const random = seeded(seed)
  const words = [
    'snapshot',
    'layer',
    'engine',
    'table',
    'value',
    'commit',
    'reader',
    'history',
    'key',
    'page',
  ]
  const word = (): string => words[Math.floor(random() * words.length)] as string
  const parts: string[] = []
  for (let id = 1, size = 0; size < length; id++) {
    const record = JSON.stringify({
      id,
      name: `${word()} ${word()}`,
      count: Math.floor(random() * 1e6),
      tags: [word(), word()],
    })
    parts.push(record)
    size += record.length + 1
  }
  return Buffer.from(`[${parts.join(',')}]`).subarray(0, length)
}

/** `bytes` with `count` small changes spread over them: replaced, inserted and removed bytes. */
export function scatterEdits(bytes: Buffer, count: number, seed: number): Buffer {
  const random = seeded(seed)
  const parts: Buffer[] = []
  let at = 0
  for (let i = 0; i < count; i++) {
    const next = Math.floor(((i + random()) / count) * bytes.length)
    if (next < at) continue
    parts.push(bytes.subarray(at, next))
    at = next
    const inserted = Buffer.from(String(Math.floor(random() * 1e6)))
    const kind = Math.floor(random() * 3)
    if (kind !== 2) parts.push(inserted)
    if (kind !== 1) at = Math.min(bytes.length, at + inserted.length)
  }
  return Buffer.concat([...parts, bytes.subarray(at)])
}
