import { toTypedJson } from '../../transfer/typed-json.ts'
import { cut } from '../display-width.ts'
import { writeJsonList } from '../json-list.ts'
import { type RangeFlags, rangeOf } from '../range-flags.ts'
import { readableAt } from '../readable-at.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { valueLine } from '../value-text.ts'

/** `varve list [PREFIX]`: the keys, or with `--values` the entries, of a range. */
export async function list(
  session: Session,
  [prefix]: readonly [string?],
  flags: RangeFlags & { readonly at: string; readonly values?: boolean },
): Promise<void> {
  const range = rangeOf(prefix, flags)
  const { output, signal } = session
  await session.withStore(async store => {
    const { state } = await readableAt(store, flags.at)
    const withValues = flags.values === true
    const entries = withValues ? state.entries(range) : state.keys(range)
    if (session.json) {
      await writeJsonList(output, jsonEntries(entries, signal))
      return
    }
    for await (const entry of entries) {
      signal.throwIfAborted()
      if (typeof entry === 'string') await output.line(safeText(entry))
      else await output.line(cut(`${safeText(entry[0])}  ${valueLine(entry[1])}`, output.columns))
    }
  })
}

async function* jsonEntries(
  entries: AsyncIterable<string | [string, unknown]>,
  signal: AbortSignal,
): AsyncGenerator<object> {
  for await (const entry of entries) {
    signal.throwIfAborted()
    yield typeof entry === 'string' ? { key: entry } : { key: entry[0], value: toTypedJson(entry[1]) }
  }
}
