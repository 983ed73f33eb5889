/** The bytes as a stream of one chunk, or cut at the offsets given. */
export async function* byteStream(
  content: string | Uint8Array,
  cuts: readonly number[] = [],
): AsyncGenerator<Uint8Array> {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content
  const sorted = [0, ...cuts, bytes.byteLength].sort((a, b) => a - b)
  for (let i = 1; i < sorted.length; i++) yield bytes.subarray(sorted[i - 1], sorted[i])
}

/** The bytes in chunks of one each, all in the same buffer, as a careless source would. */
export async function* singleBytes(content: string | Uint8Array): AsyncGenerator<Uint8Array> {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content
  const chunk = new Uint8Array(1)
  for (const byte of bytes) {
    chunk[0] = byte
    yield chunk
  }
}

/** All that a stream yields, after another. */
export async function collect<T>(stream: AsyncIterable<readonly T[]>): Promise<T[]> {
  const all: T[] = []
  for await (const batch of stream) all.push(...batch)
  return all
}

/** All bytes of a stream, as text. */
export async function collectText(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

/** What a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    value => {
      throw new Error(`resolved with ${String(value)} instead of rejecting`)
    },
    (error: unknown) => error,
  )
}
