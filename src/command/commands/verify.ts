import { EXIT, type ExitCode } from '../exit-code.ts'
import { counted, humanCount } from '../human-units.ts'
import { safeText } from '../safe-text.ts'
import type { Session } from '../session.ts'

/** `varve verify`: looks at every record of the store. */
export async function verify(session: Session): Promise<ExitCode> {
  const { output, signal } = session
  const verification = await session.withStore(async store => {
    const { storage } = await store.getMetrics()
    const total = Object.values(storage.tables).reduce((sum, { entries }) => sum + entries, 0)
    return session.withProgress('Verifying', humanCount, progress =>
      store.verify({ signal, onProgress: checked => progress.update(checked, total) }),
    )
  })
  const { ok, checked, problems } = verification
  await session.result(verification, async () => {
    for (const { table, key, message } of problems) {
      await output.line(
        `${output.style.red(table)}${key === undefined ? '' : ` ${safeText(key)}`}: ${message}`,
      )
    }
    const found = ok ? 'no problems' : counted(problems.length, 'problem')
    await output.line(`${counted(checked, 'record')} checked, ${found}`)
  })
  return ok ? EXIT.done : EXIT.damaged
}
