import { toTypedJson } from '../../transfer/typed-json.ts'
import { EXIT, type ExitCode } from '../exit-code.ts'
import { readableAt } from '../readable-at.ts'
import { jsonText, safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'
import { valueBlock } from '../value-text.ts'

/** `varve get KEY`: the value of a key, now or at a version. */
export async function get(
  session: Session,
  [key]: readonly [string],
  flags: { readonly at: string; readonly string?: boolean },
): Promise<ExitCode> {
  return session.withStore(async store => {
    const { state, version } = await readableAt(store, flags.at)
    const value = await state.get(key)
    const found = value !== undefined
    const { output } = session
    if (session.json) {
      await output.line(jsonText({ key, version, found, ...(found && { value: toTypedJson(value) }) }))
    } else if (!found) {
      await session.note(
        `There is no key ${JSON.stringify(key)}${version === 'head' ? '' : ` at ${version}`}.`,
      )
    } else if (flags.string === true && typeof value === 'string') {
      // As it is, for whoever reads the output: on a terminal it may do what a terminal does.
      await output.write(output.isTerminal ? `${safeText(value)}\n` : value)
    } else {
      await output.line(valueBlock(value))
    }
    return found ? EXIT.done : EXIT.no
  })
}
