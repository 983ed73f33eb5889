import { ImportError } from '../../core/errors.ts'
import { fromTypedJson } from '../../transfer/typed-json.ts'
import { humanBytes, humanCount } from '../human-units.ts'
import { mapValues } from '../map-values.ts'
import { parseJson } from '../parse-json.ts'
import { nameOf, readText, STANDARD } from '../read-input.ts'
import type { Session } from '../session.ts'
import { writeSummary } from '../write-summary.ts'

/** `varve save [FILE]`: makes the whole state equal a JSON object. */
export async function save(
  session: Session,
  [file = STANDARD]: readonly [string?],
  flags: { readonly tagged?: boolean },
): Promise<void> {
  const summary = await session.withProgress('Reading', humanBytes, async progress => {
    const state = parseState(await readText(session, file, progress), file)
    const data = flags.tagged === true ? mapValues(state, value => fromTypedJson(value, { file })) : state
    progress.begin('Saving', humanCount)
    return session.withStore(store =>
      store.save(data, {
        signal: session.signal,
        onProgress: ({ entries, entriesTotal }) => progress.update(entries, entriesTotal),
      }),
    )
  })
  await session.result(summary, () => writeSummary(session.output, summary))
}

function parseState(text: string, file: string): Record<string, unknown> {
  const refuse = (reason: string, cause?: unknown): never => {
    throw new ImportError(`Cannot save ${nameOf(file)}: ${reason}. Nothing was changed.`, { file, cause })
  }
  let state: unknown
  try {
    state = parseJson(text, 'it')
  } catch (error) {
    refuse((error as Error).message, error)
  }
  if (typeof state !== 'object' || state === null || Array.isArray(state)) {
    refuse('a state is a JSON object, whose members are the keys')
  }
  return state as Record<string, unknown>
}
