import { toTypedJson } from '../../transfer/typed-json.ts'
import { type RangeFlags, rangeOf } from '../range-flags.ts'
import { jsonText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { valueLine } from '../value-text.ts'
import { writeMarked } from '../write-difference.ts'

/** `varve watch [PREFIX]`: the changes that anybody commits, as they come. */
export async function watch(
  session: Session,
  [prefix]: readonly [string?],
  flags: RangeFlags,
): Promise<void> {
  const { output, signal } = session
  await session.withStore(async store => {
    // An abort from before would not be told.
    signal.throwIfAborted()
    const changes = store.watch(rangeOf(prefix, flags))
    signal.addEventListener('abort', () => void changes.return?.())
    for await (const { key, type, value, sequence } of changes) {
      if (session.json) {
        const after = type === 'removed' || value === undefined ? {} : { value: toTypedJson(value) }
        await output.line(jsonText({ key, type, ...after, sequence }))
      } else {
        await writeMarked(
          output,
          type,
          key,
          type === 'removed' || value === undefined ? '' : valueLine(value),
        )
      }
      await output.flush()
    }
    signal.throwIfAborted()
  })
}
