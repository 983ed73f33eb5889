import type { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'

/**
 * What a zlib stream makes of `chunks`, with back-pressure: it reads on only as its output is taken.
 *
 * An error of either side is thrown as it is. However the reading ends, `chunks` has been ended when it has.
 */
export async function* throughZlib(
  chunks: AsyncIterable<Uint8Array>,
  zlib: Transform,
): AsyncGenerator<Uint8Array> {
  const piped = pipeline(chunks, zlib)
  // Its error is thrown by the loop below; nobody else may be there to hear of it.
  piped.catch(() => {})
  try {
    yield* zlib
  } finally {
    await piped.catch(() => {})
  }
}
