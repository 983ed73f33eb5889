import type { Output } from './output.ts'
import { jsonText } from './safe-text.ts'

/**
 * Writes a JSON array as it comes, an element a line: one document for whoever reads all of it, and lines for
 * whoever reads on the way.
 */
export async function writeJsonList(
  output: Output,
  items: AsyncIterable<unknown> | Iterable<unknown>,
): Promise<void> {
  let opening = '['
  for await (const item of items) {
    await output.write(`${opening}\n${jsonText(item)}`)
    opening = ','
  }
  await output.line(opening === '[' ? '[]' : '\n]')
}
