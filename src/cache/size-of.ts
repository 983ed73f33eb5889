/** What a number, a boolean, a reference take. */
const WORD = 8
/** What an object takes beside its properties, an array or a string beside its elements: about so much in V8. */
const HEADER = 16

/**
 * About how many bytes of memory a value takes. Exact for binary data; for others an estimate that is right within a
 * small factor, and grows with what there is. A part that is met twice counts once.
 */
export function estimateSize(value: unknown): number {
  let bytes = 0
  const seen = new Set<object>()
  const rest: unknown[] = [value]
  while (rest.length > 0) {
    const part = rest.pop()
    if (typeof part === 'string') bytes += HEADER + part.length
    else if (typeof part !== 'object' || part === null) bytes += WORD
    else if (!seen.has(part)) {
      seen.add(part)
      bytes += HEADER
      if (ArrayBuffer.isView(part) || part instanceof ArrayBuffer) bytes += part.byteLength
      else if (part instanceof Map) for (const [key, item] of part) rest.push(key, item)
      else if (part instanceof Set) for (const item of part) rest.push(item)
      else {
        for (const name of Object.keys(part)) {
          bytes += WORD
          rest.push((part as Record<string, unknown>)[name])
        }
      }
    }
  }
  return bytes
}
