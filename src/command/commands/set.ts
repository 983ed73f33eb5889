import { parseValue, readText, STANDARD } from '../read-input.ts'
import type { Session } from '../session.ts'

/** `varve set KEY [VALUE]`: sets a key to a value in JSON. Without one, or with `-`, it is read from standard input. */
export async function set(
  session: Session,
  [key, given = STANDARD]: readonly [string, string?],
  flags: { readonly string?: boolean; readonly tagged?: boolean },
): Promise<void> {
  const text = given === STANDARD ? await readText(session, STANDARD) : given
  const value = flags.string === true ? text : parseValue(text, flags.tagged === true)
  await session.withStore(store => store.set(key, value))
  await session.result({ key }, async () => undefined)
}
